import math
import re

import numpy as np
import pytest
from scipy import ndimage, stats

from matphase.errors import InputError
from matphase.virtual import Imaging, Microstructure
from matphase.virtual.imaging import image_of, measured_labels
from matphase.virtual.microstructure import CARBON, NICKEL, PORE, grow

CLEAN = {"noise": 0.0, "rings": 0.0, "cupping": 0.0}


@pytest.fixture(scope="module")
def labels():
    return grow(Microstructure(shape=(40, 128, 128)), seed=8)


@pytest.fixture
def half():
    """Carbon on the left, pore in the middle, nickel on the right."""
    volume = np.full((9, 40, 60), PORE, np.uint8)
    volume[:, :, :20] = CARBON
    volume[:, :, 40:] = NICKEL
    return volume


def test_grey_values_inside_phases_are_their_contrasts(half):
    image = image_of(half, Imaging(contrast=0.07, **CLEAN), seed=0)

    assert image.dtype == np.float32
    assert image.shape == half.shape
    assert image[4, 20, 10] == pytest.approx(0.07, abs=1e-4)
    assert image[4, 20, 30] == pytest.approx(0.0, abs=1e-4)
    assert image[4, 20, 50] == pytest.approx(1.0, abs=1e-4)


def test_fringes_are_dark_outside_an_edge_bright_inside_and_shift_no_grey(half):
    flat = image_of(half, Imaging(fringe=0.0, **CLEAN), seed=0)[4, 20]
    sharp = image_of(half, Imaging(fringe=1.0, **CLEAN), seed=0)[4, 20]

    assert flat.min() >= 0
    assert flat.max() <= 1
    assert sharp[37:40].min() < -0.02
    assert sharp[40:43].max() > 1.02
    assert sharp[25:55].sum() == pytest.approx(flat[25:55].sum(), abs=1e-3)
    # Binder refracts more than pore: its edge shows even without any contrast in attenuation.
    blind = image_of(half, Imaging(contrast=0.0, fringe=1.0, **CLEAN), seed=0)[4, 20]
    assert blind[17:20].max() > 0.005
    assert blind[20:23].min() < -0.005


def test_noise_has_its_deviation_and_rises_with_frequency():
    empty = np.zeros((8, 128, 96), np.uint8)
    noise = image_of(empty, Imaging(**(CLEAN | {"noise": 0.2})), seed=3)

    assert noise.std() == pytest.approx(0.2, rel=0.02)
    assert noise.mean() == pytest.approx(0.0, abs=1e-4)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    # A ramp at low frequencies: power proportional to frequency.
    assert power[8, 0] / power[2, 0] == pytest.approx(4, rel=0.6)
    # Slices are reconstructed one by one.
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05


def test_rings_are_concentric():
    empty = np.zeros((6, 101, 101), np.uint8)
    image = image_of(empty, Imaging(noise=0, cupping=0, rings=0.1), seed=3)

    y, x = np.indices((101, 101)) - 50
    radius = np.hypot(y, x)
    for distance in (5, 20, 50):
        ring = image[0][np.isclose(radius, distance)]
        assert len(ring) >= 4
        assert np.ptp(ring) < 1e-6
    assert image[0, 50].std() == pytest.approx(0.1, rel=0.5)


def test_cupping_darkens_the_middle():
    solid = np.full((1, 65, 65), NICKEL, np.uint8)
    image = image_of(solid, Imaging(noise=0, rings=0, cupping=0.2), seed=0)[0]

    assert image[32, 32] == pytest.approx(0.8, abs=1e-3)
    assert image[0, 0] == pytest.approx(1.0, abs=1e-3)


def test_carbon_is_told_from_pore_by_context_not_by_brightness(labels):
    image = image_of(labels, Imaging(), seed=1)

    def auc(grey):
        pore, carbon = grey[labels == PORE], grey[labels == CARBON]
        return stats.mannwhitneyu(carbon, pore).statistic / (len(pore) * len(carbon))

    assert 0.55 < auc(image) < 0.70
    # Averaged over a void's neighbourhood the phases come apart.
    void = (labels != NICKEL).astype(np.float32)
    mean = ndimage.gaussian_filter(image * void, 2) / (ndimage.gaussian_filter(void, 2) + 1e-6)
    assert auc(mean) > auc(image) + 0.05
    # Active material stands out: the middle between the steps finds it.
    assert np.mean((image > 0.5) == (labels == NICKEL)) > 0.95


def test_same_seed_same_image(labels):
    first, again, other = (image_of(labels[:3], Imaging(), seed) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"noise": -1}, "noise: "),
        ({"blur": math.inf}, "blur: "),
        ({"cupping": 1.0}, "cupping: "),
        ({"photons": 10}, "has no setting 'photons'"),
    ],
)
def test_impossible_imaging_is_refused(wrong, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Imaging(**wrong)


def test_measured_labels_are_misplaced_by_the_stated_deviation():
    # Every pixel is labelled with its column, so that the label says where it came from.
    columns = np.broadcast_to(np.arange(200, dtype=np.uint8), (20, 160, 200))

    def misplacement(**amounts):
        moved = measured_labels(columns, seed=0, **amounts).astype(int) - columns
        return moved[:, :, 20:-20]

    smooth = misplacement(shift=1.0, roughness=0.0)
    # Rounding to whole pixels adds a twelfth.
    assert smooth.std() == pytest.approx(math.sqrt(1 + 1 / 12), rel=0.1)
    assert np.abs(np.diff(smooth, axis=2)).mean() < 0.1
    rough = misplacement(shift=0.0, roughness=1.0)
    assert rough.std() == pytest.approx(math.sqrt(1 + 1 / 12), rel=0.1)
    assert np.abs(np.diff(rough, axis=2)).mean() > 0.3
    assert not misplacement(shift=0.0, roughness=0.0).any()


def test_measured_labels_differ_only_near_boundaries_and_keep_the_fractions(labels):
    measured = measured_labels(labels, seed=0)

    assert measured.dtype == np.uint8
    wrong = measured != labels
    assert 0.02 < wrong.mean() < 0.10
    edge = ndimage.maximum_filter(labels, (1, 7, 7)) != ndimage.minimum_filter(labels, (1, 7, 7))
    assert np.mean(edge[wrong]) > 0.98
    np.testing.assert_allclose(
        np.bincount(measured.ravel()) / measured.size, [0.14, 0.26, 0.60], atol=5e-3
    )
