import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from skimage.transform import iradon

from matphase.virtual.projection import Geometry, back_project, centred, project, ramp_filter


def sinogram(values, shape, geometry):
    y, x = (grid.ravel() for grid in centred(shape))
    values = values.reshape(y.size, -1)
    return np.concatenate([project(values, y, x, geometry, block) for block in geometry.blocks])


def disc(shape, radius, oversampling=8):
    """Share of each pixel that lies in a disc about the middle."""
    y, x = centred(tuple(n * oversampling for n in shape))
    fine = (np.hypot(y, x) < radius * oversampling).astype(float)
    return fine.reshape(shape[0], oversampling, shape[1], oversampling).mean(axis=(1, 3))


@hypothesis_settings(deadline=None, max_examples=30)
@given(angle=st.floats(-10, 10), seed=st.integers(0, 99))
def test_no_mass_is_lost_at_any_angle(angle, seed):
    values = np.random.default_rng(seed).random((12, 9))
    projection = sinogram(values, values.shape, Geometry(np.array([angle]), 20))
    assert projection.sum() == pytest.approx(values.sum(), rel=1e-12)
    assert projection.min() >= -1e-12


def test_along_an_axis_the_projection_is_a_sum():
    values = np.random.default_rng(0).random((6, 7))
    along_y, along_x = sinogram(values, (6, 7), Geometry(np.array([0.0, math.pi / 2]), 7))
    assert along_y[:, 0] == pytest.approx(values.sum(axis=0), abs=1e-4)
    # at a right angle x runs with y; six rows fall between seven columns, half and half
    rows = values.sum(axis=1)
    between = (np.append(rows, 0) + np.append(0, rows)) / 2
    assert along_x[:, 0] == pytest.approx(between, abs=1e-4)


def test_a_disc_projects_to_its_chord():
    radius = 25.0
    values = disc((64, 64), radius)
    projection = sinogram(values, (64, 64), Geometry.half_turn(20, 81))[:, :, 0]
    place = np.arange(81) - 40.0
    chord = 2 * np.sqrt(np.maximum(radius**2 - place**2, 0))
    inside = np.abs(place) < 0.9 * radius
    assert np.abs(projection - chord)[:, inside].max() < 0.02 * 2 * radius
    assert projection[:, np.abs(place) > radius + 1.5].max() == 0


def test_what_lies_beside_the_detector_is_not_seen_and_changes_nothing():
    values = np.random.default_rng(1).random((30, 30))
    whole = sinogram(values, (30, 30), Geometry.half_turn(9, 50))
    part = sinogram(values, (30, 30), Geometry.half_turn(9, 20))
    assert part == pytest.approx(whole[:, 15:35], abs=1e-12)


def test_slices_do_not_mix():
    values = np.random.default_rng(2).random((10, 10, 3))
    geometry = Geometry.half_turn(11, 16)
    together = sinogram(values, (10, 10), geometry)
    for n in range(3):
        assert np.array_equal(
            together[..., n], sinogram(values[..., n], (10, 10), geometry)[..., 0]
        )


@pytest.mark.parametrize("name", ["ramp", "shepp-logan", "cosine", "hamming", "hann"])
def test_a_disc_comes_back_with_its_value(name):
    values = disc((64, 64), 24)
    geometry = Geometry.half_turn(100, 96)
    filtered = ramp_filter(96, name, extend=False)(sinogram(values, (64, 64), geometry))
    y, x = centred((64, 64))
    slices = back_project(filtered, y.ravel(), x.ravel(), geometry).reshape(64, 64)
    radius = np.hypot(y, x)
    assert slices[radius < 21].mean() == pytest.approx(1, abs=0.005)
    assert np.abs(slices[radius < 21] - 1).max() < 0.05
    assert abs(slices[(radius > 27) & (radius < 31)].mean()) < 0.005


def test_scikit_image_reconstructs_the_same_slice():
    rng = np.random.default_rng(3)
    values = sum(
        weight * np.roll(disc((81, 81), radius), shift, (0, 1))
        for weight, radius, shift in zip(
            (1.0, 0.5, -0.3), (20, 9, 6), rng.integers(-12, 12, (3, 2)), strict=True
        )
    )
    geometry = Geometry.half_turn(180, 121)
    projections = sinogram(values, (81, 81), geometry)
    y, x = centred((81, 81))
    filtered = ramp_filter(121, "ramp", extend=False)(projections)
    ours = back_project(filtered, y.ravel(), x.ravel(), geometry).reshape(81, 81)
    # its angles turn the other way
    degrees = -np.degrees(geometry.angles)
    theirs = iradon(projections[:, :, 0].T, degrees, 81, "shepp-logan", circle=False)
    same = iradon(projections[:, :, 0].T, degrees, 81, "ramp", circle=False)

    assert np.abs(ours - theirs).mean() < 0.01
    assert np.abs(ours - same).max() < 1e-3


def test_a_truncated_scan_of_a_wide_sample_is_flat_when_extended():
    values = disc((160, 160), 79, oversampling=4)
    geometry = Geometry.half_turn(160, 70)
    projections = sinogram(values, (160, 160), geometry)
    y, x = centred((40, 40))
    rims = {}
    for extend in (True, False):
        filtered = ramp_filter(70, "ramp", extend=extend)(projections)
        slices = back_project(filtered, y.ravel(), x.ravel(), geometry).reshape(40, 40)
        rims[extend] = slices[20, [0, -1]].mean() - slices[15:25, 15:25].mean()
    assert abs(rims[True]) < 0.1
    assert rims[False] > 2 * abs(rims[True])
