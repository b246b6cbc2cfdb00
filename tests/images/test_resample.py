"""Volumes at another voxel size, and maps brought back from there."""

import pickle

import numpy as np
import pytest

from matphase.images.resample import (
    Factors,
    Resampling,
    brought_back,
    needed_window,
    resampled,
    resampled_shape,
    resampling_of,
)
from matphase.images.tiles import tiles
from matphase.images.volume import Volume
from matphase.images.voxel_checks import voxel_record
from matphase.support.errors import InputError

SHAPE = (5, 40, 46)
FACTORS: list[Factors] = [(1, 2, 2), (1, 0.5, 0.5), (2.5, 0.4, 1.3), (0.5, 0.99, 1)]


def smooth() -> np.ndarray:
    """Waves of wavelengths that all these grids can show."""
    z, y, x = np.mgrid[:5, :40, :46]
    return (np.sin(y / 6) + np.cos(x / 7) + z / 9).astype(np.float32)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("hole", [False, True])
def test_a_block_is_that_of_the_whole_to_the_last_bit(factors: Factors, hole: bool) -> None:
    grey = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    if hole:
        grey[:, 10:30, 5:20] = np.nan
    volume = pickle.loads(pickle.dumps(resampled(Volume.from_array(grey), factors)))
    whole = volume.to_array()
    assert whole.shape == resampled_shape(SHAPE, factors)
    assert np.isnan(whole).any() == hole
    for tile in tiles(whole.shape, (2, 13, 17)):
        np.testing.assert_array_equal(volume.block(*tile.core), whole[tile.core])
    plane = resampled(Volume.from_array(grey[0]), factors)
    assert plane.shape == whole.shape[1:]
    assert plane[3:5, 2].shape == (2,)


@pytest.mark.parametrize("factors", FACTORS)
def test_what_both_grids_can_show_comes_back(factors: Factors) -> None:
    grey = smooth()
    there = resampled(Volume.from_array(grey), factors)
    back = np.empty_like(grey)
    for tile in tiles(SHAPE, (2, 15, 20)):
        window = needed_window(tile.core, SHAPE, factors)
        back[tile.core] = brought_back(there.block(*window), None, tile.core, SHAPE, factors)
    assert np.abs(back - grey)[1:-1, 4:-4, 4:-4].max() < 0.12
    flat = resampled(Volume.from_array(np.full(SHAPE, 7, np.uint8)), factors)
    np.testing.assert_allclose(flat.to_array(), 7, rtol=1e-6)


def test_larger_voxels_hold_the_mean_of_what_they_cover() -> None:
    noise = np.random.default_rng(0).normal(size=(1, 240, 240)).astype(np.float32)
    found = resampled(Volume.from_array(noise), (1, 0.25, 0.25)).to_array()
    assert found.shape == (1, 60, 60)
    assert found.std() < 0.3  # of single voxels it is 1
    assert found.mean() == pytest.approx(noise.mean(), abs=0.02)


@pytest.mark.parametrize("factor", [0.4, 0.5, 1.7, 3])
def test_outside_does_not_spread(factor: float) -> None:
    inside = np.random.default_rng(0).random(SHAPE) > 0.6
    inside[:, :20] = False
    grey = np.where(inside, np.float32(5), np.nan)
    factors = (1.0, factor, factor)
    found = resampled(Volume.from_array(grey), factors).to_array()
    np.testing.assert_allclose(found[~np.isnan(found)], 5, rtol=1e-5)
    assert np.isnan(found[:, : int(14 * factor)]).all()
    core = slice(0, 5), slice(0, 40), slice(0, 46)
    back = brought_back(found, ~np.isnan(found), core, SHAPE, factors)
    np.testing.assert_allclose(back[inside], 5, rtol=1e-5)  # whatever was inside has a value


def volume(size: object, unit: str | None = "um", name: str = "scan") -> Volume:
    return Volume.from_array(np.zeros(SHAPE), "zyx", size, unit, name)  # type: ignore[arg-type]


def test_factors_follow_from_both_voxel_sizes() -> None:
    record = voxel_record(volume((0.4, 0.2, 0.2)))
    assert resampling_of(record, volume(100, "nm"), slices=1) == Resampling((1, 0.5, 0.5), SHAPE)
    found = resampling_of(record, volume((0.2, 0.4, 0.2)), slices=5)
    assert found == Resampling((0.5, 2, 1), SHAPE)
    assert resampling_of(record, volume(0.2), slices=1) is None
    size = resampled(volume((0.4, 0.1, 0.1)), (1, 0.5, 0.5)).voxel_size
    assert size == (0.4, 0.2, 0.2)


@pytest.mark.parametrize(
    ("record", "of", "says"),
    [
        ({}, volume(0.2), "does not record the voxel size"),
        (voxel_record(volume(0.2)), volume(None, None), "voxel size of scan is not known"),
        (voxel_record(volume(0.2)), volume((None, 0.1, 0.1)), "slice spacing of scan"),
        (voxel_record(volume(0.2)), volume(0.2, "mm"), "by more than a factor of 16"),
    ],
)
def test_voxel_sizes_that_are_no_help_are_refused(
    record: dict[str, object], of: Volume, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        resampling_of(record, of, slices=5)
