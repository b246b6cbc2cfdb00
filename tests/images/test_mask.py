"""Regions of interest."""

from pathlib import Path

import numpy as np
import pytest

import matphase as mp
from matphase.images.mask import masked, region_of, unmasked
from matphase.support.errors import FormatError, InputError
from samples import Counted

VOLUME = mp.Volume.from_array(np.zeros((5, 8, 10), np.float32), voxel_size=0.5, unit="um")


def test_a_mask_in_the_shape_of_the_volume_is_true_where_it_is_not_zero(tmp_path: Path) -> None:
    given = np.random.default_rng(0).integers(0, 3, VOLUME.shape).astype(np.uint8)
    mp.save(tmp_path / "mask.tif", mp.Volume.from_array(given))
    region = region_of(tmp_path / "mask.tif", VOLUME)
    assert region.dtype == bool
    assert (region.voxel_size, region.unit) == (VOLUME.voxel_size, VOLUME.unit)
    np.testing.assert_array_equal(region.to_array(), given != 0)
    part = slice(1, 4), slice(2, 5), slice(3, 9)
    np.testing.assert_array_equal(region.block(*part), given[part] != 0)


@pytest.mark.parametrize("shape", [(8, 10), (1, 8, 10)])
def test_one_slice_holds_for_all(shape: tuple[int, ...]) -> None:
    plane = np.random.default_rng(1).random(shape) > 0.5
    region = region_of(plane, VOLUME)
    assert region.shape == VOLUME.shape
    for z in range(5):
        np.testing.assert_array_equal(region.slice(z), plane.reshape(8, 10))
    part = slice(3, 5), slice(0, 7), slice(9, 10)
    np.testing.assert_array_equal(region[part], np.broadcast_to(plane, (5, 8, 10))[part])


@pytest.mark.parametrize("shape", [(4, 40, 40), (2, 31, 44), (33, 32)])
def test_the_circle_touches_the_borders_of_each_slice(shape: tuple[int, ...]) -> None:
    volume = mp.Volume.from_array(np.zeros(shape))
    region = region_of("circle", volume)
    assert region.shape == shape
    plane = region.slice(region.n_slices - 1)
    side = min(shape[-2:])
    for axis in (0, 1):  # one more or less where one side is odd and the other even
        assert abs(int(plane.any(axis=axis).sum()) - side) <= (sum(shape[-2:]) % 2)
    np.testing.assert_array_equal(plane, plane[::-1, ::-1])
    assert plane.sum() == pytest.approx(np.pi * side**2 / 4, rel=0.03)
    part = slice(0, 1), slice(3, 20), slice(1, 9)
    np.testing.assert_array_equal(region.block(*part)[0], plane[part[1:]])


def test_nan_in_a_mask_is_outside() -> None:
    plane = np.ones((8, 10), np.float32)
    plane[:, :4] = np.nan
    assert region_of(plane, VOLUME).to_array().sum() == 5 * 8 * 6


def test_a_mask_is_read_a_part_at_a_time() -> None:
    given = Counted(np.ones(VOLUME.shape, np.uint8))
    region = region_of(given, VOLUME)
    given.read.clear()
    region.block(slice(2, 3), slice(0, 4), slice(0, 4))
    assert given.read == [2]


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.ones((8, 9)), "has shape 8 x 9 but array has 5 x 8 x 10"),
        (np.ones((4, 8, 10)), "one slice of 8 x 10 for all slices"),
        (np.zeros((8, 10)), "zero everywhere"),
        (True, "0 dimensions"),
        (np.full((8, 10), "in"), "values"),
        ({"circle": 1}, "type dict"),
    ],
)
def test_what_is_no_mask_is_refused(mask: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        region_of(mask, VOLUME)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FormatError, match=r"no_such\.tif"):
        region_of("no_such.tif", VOLUME)


def test_a_masked_volume_is_nan_outside() -> None:
    grey = np.random.default_rng(0).integers(0, 200, VOLUME.shape).astype(np.uint8)
    inside = grey > 90
    inside[2] = False
    source = Counted(grey)
    volume = mp.Volume.from_array(source, voxel_size=0.5, unit="um", name="scan")
    found = masked(volume, inside)
    assert (found.dtype, found.name, found.voxel_size) == (np.float32, "scan", (0.5,) * 3)
    np.testing.assert_array_equal(found.to_array(), np.where(inside, grey, np.nan))
    source.read.clear()
    assert np.isnan(found.block(slice(2, 3), slice(0, 8), slice(0, 4))).all()
    assert source.read == []  # what is outside need not be read
    assert unmasked(found) is volume
    assert masked(volume, None) is volume
