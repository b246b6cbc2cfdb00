"""Regions of interest: which voxels of a volume belong to the sample.

A region is a `Volume` of bools in the shape of the volume that it belongs to, true inside. It is
read a part at a time, like any volume.

Grey values outside are NaN: those of a file of floats as they are, and those of any volume with a
mask by `masked`. So whatever reads grey values has one rule to follow.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.volume import Volume
from matphase.support.errors import InputError
from matphase.support.text import times

Mask: TypeAlias = Any
"""A region as a user gives it: "circle", or what `matphase.open` takes, non-zero inside."""

CIRCLE = "circle"
"""The word for a round field of view: the inscribed circle of each slice."""


def region_of(mask: Mask, volume: Volume) -> Volume:
    """Region of interest of a volume, which is read a part at a time.

    Args:
        mask: "circle" for the inscribed circle of each slice; else a path, volume or array that
            is non-zero inside (NaN is outside), in the shape of the volume, or one slice (y, x)
            that holds for all slices.
        volume: the volume that the region belongs to.

    Returns:
        a volume of bools in the shape and with the voxel size of `volume`, true inside.

    Raises:
        InputError: the mask has another shape, is no array of numbers, or has nothing inside.
        FormatError: its file cannot be read.
    """
    if isinstance(mask, str) and mask == CIRCLE:
        return Volume(
            Circle(volume.shape), volume.axes, volume.voxel_size, volume.unit, f"mask {CIRCLE!r}"
        )
    given = formats.open(mask, name="mask")
    planes = (1, volume.n_slices)
    if given.shape[-2:] != volume.shape[-2:] or given.n_slices not in planes:
        raise InputError(
            f"the mask {given.name} has shape {times(given.shape)} but {volume.name} has "
            f"{times(volume.shape)}; give a mask of that shape, or one slice of "
            f"{times(volume.shape[-2:])} for all slices (mask=)"
        )
    if not any(_is_inside(plane).any() for plane in given.slices()):
        raise InputError(
            f"the mask {given.name} is zero everywhere, so nothing of {volume.name} is inside; "
            "give a mask that is not zero inside (mask=)"
        )
    inside = NonZero(given, volume.shape)
    return Volume(inside, volume.axes, volume.voxel_size, volume.unit, given.name)


def masked(volume: Volume, mask: Mask | None) -> Volume:
    """Volume whose grey values outside of a mask are NaN; the volume itself without a mask.

    Args:
        volume: grey values.
        mask: see `region_of`; None: no mask.

    Raises:
        InputError: the mask cannot be used.
        FormatError: its file cannot be read.
    """
    if mask is None:
        return volume
    grey = Masked(volume, region_of(mask, volume))
    return Volume(grey, volume.axes, volume.voxel_size, volume.unit, volume.name)


def unmasked(volume: Volume) -> Volume:
    """The volume that `masked` was given."""
    return volume.data.volume if isinstance(volume.data, Masked) else volume


def parts_of(volume: Volume) -> tuple[Volume, ...]:
    """The volumes that are read for a volume: grey values, and the mask unless it is computed."""
    return volume.data.parts if isinstance(volume.data, Masked) else (volume,)


def mask_name(volume: Volume) -> str | None:
    """Name of the mask of a volume that `masked` made; None without one."""
    return volume.data.region.name if isinstance(volume.data, Masked) else None


def mask_checksum(volume: Volume) -> str | None:
    """Checksum of the mask of a volume that `masked` made, all of which is read; None without."""
    if not isinstance(volume.data, Masked):
        return None
    data = volume.data.region.data
    if isinstance(data, Circle):
        return CIRCLE
    assert isinstance(data, NonZero)
    checksum = blake2b(digest_size=16)
    for plane in data.given.slices():
        checksum.update(np.packbits(_is_inside(plane)).data)
    return checksum.hexdigest()


def outside_of(volume: Volume, z: int) -> NDArray[np.bool_] | None:
    """Pixels (y, x) of slice `z` that are outside of the sample; None where none can be."""
    return np.isnan(volume.slice(z)) if volume.dtype.kind == "f" else None


@dataclass(frozen=True, eq=False)
class Masked:
    """Grey values that are NaN outside of a region, as an array of floats.

    Attributes:
        volume: grey values.
        region: of the same shape, true inside.
    """

    volume: Volume
    region: Volume

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x) or (z, y, x)."""
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels: a float type that holds the grey values."""
        return np.result_type(self.volume.dtype, np.float32)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the chunks in which the grey values are stored; None where there are none."""
        return self.volume.chunks

    @property
    def parts(self) -> tuple[Volume, ...]:
        """Volumes that are read: grey values, and the mask unless it is computed."""
        data = self.region.data
        return (self.volume, data.given) if isinstance(data, NonZero) else (self.volume,)

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block, given by one `slice(start, stop)` per axis."""
        inside = self.region[windows]
        if not inside.any():  # what is outside need not be read
            return np.full(inside.shape, np.nan, self.dtype)
        grey: NDArray[Any] = np.where(inside, self.volume[windows], self.dtype.type(np.nan))
        return grey


@dataclass(frozen=True)
class Circle:
    """The inscribed circle of each slice, as an array of bools that is computed when read.

    A pixel is inside if its centre is; the circle touches the borders of the slice.

    Attributes:
        shape: (y, x) or (z, y, x).
    """

    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.bool_]:
        """Type of the voxels."""
        return np.dtype(np.bool_)

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[np.bool_]:
        """Compute a block, given by one `slice(start, stop)` per axis."""
        rows, columns = (
            (np.arange(side)[window] - (side - 1) / 2) ** 2
            for side, window in zip(self.shape[-2:], windows[-2:], strict=True)
        )
        radius = min(self.shape[-2:]) / 2
        return _repeated(rows[:, np.newaxis] + columns <= radius**2, windows)


@dataclass(frozen=True, eq=False)
class NonZero:
    """Where a mask of the user is not zero, as an array of bools.

    Attributes:
        given: the mask: one slice, which holds for all, or as many as `shape` has.
        shape: (y, x) or (z, y, x).
    """

    given: Volume
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[np.bool_]:
        """Type of the voxels."""
        return np.dtype(np.bool_)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the chunks in which the mask is stored; None where there are none."""
        return self.given.chunks if self.given.shape == self.shape else None

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[np.bool_]:
        """Read a block, given by one `slice(start, stop)` per axis."""
        several = self.given.n_slices > 1
        z = windows[0] if several else slice(0, 1)
        inside = _is_inside(self.given.block(z, windows[-2], windows[-1]))
        return inside if several else _repeated(inside[0], windows)


def _is_inside(values: NDArray[Any]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = values != 0
    if values.dtype.kind == "f":
        inside &= ~np.isnan(values)
    return inside


def _repeated(plane: NDArray[np.bool_], windows: tuple[slice, ...]) -> NDArray[np.bool_]:
    """The plane (y, x), as often as the windows have slices; without z for a 2D volume."""
    slices = [window.stop - window.start for window in windows[:-2]]
    return np.broadcast_to(plane, (*slices, *plane.shape))
