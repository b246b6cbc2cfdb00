import numpy as np
import pytest
from scipy import ndimage

from matphase.virtual.materials import active_material, attenuation, refraction
from matphase.virtual.propagation import halo, mirrored, propagate, retrieve, wavelength

PIXEL = 2e-7
NMC = active_material("NMC811", 4.75)
MU, DELTA = 100 * attenuation(NMC, 20), refraction(NMC, 20)


def thickness(size=96, radius=6e-6, blur=2.0):
    """A ball's, m; blurred, so that the grid holds its fringes."""
    place = (np.arange(size) - size / 2) * PIXEL
    square = radius**2 - place[:, None] ** 2 - place**2
    return ndimage.gaussian_filter(2 * np.sqrt(np.maximum(square, 0)), blur)


def test_wavelength_of_20_kev():
    assert wavelength(20) == pytest.approx(0.6199e-10, rel=1e-4)


def test_propagation_conserves_intensity():
    ball = thickness()
    contact = propagate(MU * ball, DELTA * ball, 20, 0.0, PIXEL)
    far = propagate(MU * ball, DELTA * ball, 20, 3e-4, PIXEL)
    assert contact == pytest.approx(np.exp(-MU * ball))
    assert np.abs(far - contact).max() > 0.004
    assert far.sum() == pytest.approx(contact.sum(), rel=1e-12)


def test_a_flat_sample_makes_no_fringes():
    flat = np.full((40, 50), 2e-5)
    image = propagate(MU * flat, DELTA * flat, 20, 1e-3, PIXEL)
    assert image == pytest.approx(np.exp(-MU * flat))


def test_over_a_short_distance_intensity_follows_the_transport_equation():
    ball, distance = thickness(blur=4.0), 1e-5
    image = propagate(np.zeros_like(ball), DELTA * ball, 20, distance, PIXEL)
    frequency = np.fft.fftfreq(len(ball), PIXEL)
    square = frequency[:, None] ** 2 + frequency**2
    laplacian = np.fft.ifft2(-4 * np.pi**2 * square * np.fft.fft2(DELTA * ball)).real
    expected = distance * laplacian
    assert np.abs(image - 1 - expected).max() < 0.03 * np.abs(expected).max()


def test_an_edge_is_brighter_outside_and_darker_inside():
    step = np.zeros((8, 64))
    step[:, 16:48] = 2e-6
    step = ndimage.gaussian_filter1d(step, 1.0, axis=1, mode="wrap")
    row = propagate(np.zeros_like(step), DELTA * step, 20, 2e-4, PIXEL)[4]
    assert row[12:16].max() > 1.001
    assert row[16:20].min() < 0.999


@pytest.mark.parametrize("distance", [5e-5, 2e-4])
def test_paganin_recovers_a_homogeneous_object(distance):
    ball = thickness()
    image = propagate(MU * ball, DELTA * ball, 20, distance, PIXEL)
    contact = retrieve(image, distance, DELTA / MU, PIXEL)
    found = -np.log(contact) / MU
    assert np.abs(found - ball).max() < 0.02 * ball.max()
    raw = -np.log(image) / MU
    assert np.abs(raw - ball).max() > 5 * np.abs(found - ball).max()


def test_the_halo_grows_with_the_distance_and_is_none_without():
    assert halo(20, 0.0, PIXEL) == 0
    assert 4 < halo(20, 2e-4, PIXEL) < halo(20, 2e-3, PIXEL)


def test_a_mirrored_field_keeps_its_middle():
    field = np.arange(12.0).reshape(3, 4)
    wide = mirrored(field, 3, 2)
    assert wide.shape == (9, 8)
    assert np.array_equal(wide[3:-3, 2:-2], field)
    assert np.array_equal(wide[2, 2:-2], field[0])
