"""Parts of volumes."""

from typing import Any

import numpy as np
import pytest
import zarr

from matphase.images.crop import crop_windows, cropped
from matphase.images.volume import Volume
from matphase.support.errors import InputError
from samples import Counted

VALUES = np.random.default_rng(0).integers(0, 255, (9, 12, 14)).astype(np.uint8)


@pytest.mark.parametrize(
    "crop",
    [
        np.s_[2:7, 3:4, 0:14],
        np.s_[:, 5:, :-3],
        np.s_[-4:, -9:-2, :],
        [(0, 3), (None, 12), (np.int64(4), None)],
    ],
)
def test_a_part_is_what_pythons_slices_give(crop: Any) -> None:
    stored = zarr.create_array({}, shape=VALUES.shape, chunks=(4, 5, 5), dtype=np.uint8)
    stored[:] = VALUES
    expected = VALUES[tuple(one if isinstance(one, slice) else slice(*one) for one in crop)]
    for data in (VALUES, stored):
        volume = Volume.from_array(data, voxel_size=0.5, unit="um", name="scan")
        part = cropped(volume, crop_windows(crop, volume))
        assert (part.shape, part.dtype) == (expected.shape, np.uint8)
        assert (part.voxel_size, part.unit, part.name) == (volume.voxel_size, "um", "scan")
        np.testing.assert_array_equal(part.to_array(), expected)
        np.testing.assert_array_equal(part[-1, ::2], expected[-1, ::2])
        np.testing.assert_array_equal(list(part.slices()), expected)


def test_only_the_part_is_read() -> None:
    counted = Counted(VALUES)
    part = cropped(Volume.from_array(counted), np.s_[2:4, 0:12, 3:9])
    assert counted.read == []
    part.to_array()
    assert set(counted.read) == {2, 3}


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        (np.s_[:, :], "2 parts but scan has the axes z, y, x"),
        (np.s_[:], "1 part but"),
        (np.s_[0:10, :, :], "along z is 0:10, but scan has the voxels 0 to 8 there"),
        (np.s_[:, -13:, :], "along y is -13:"),
        (np.s_[:, 4:4, :], "along y is 4:4"),
        (np.s_[:, :, 5:2], "along x is 5:2"),
        (np.s_[:, :, ::2], "without a step"),
        ([3, (0, 2), (0, 2)], "along z is 3; give START:STOP"),
        ([(0, 2), (0, 2.5), (0, 2)], "whole numbers"),
        ([(0, 2), (0, True), (0, 2)], "whole numbers"),
        ([(0, 1, 2, 3), (0, 2), (0, 2)], "along z"),
    ],
)
def test_what_is_no_part_of_the_volume_is_refused(crop: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        crop_windows(crop, Volume.from_array(VALUES, name="scan"))
