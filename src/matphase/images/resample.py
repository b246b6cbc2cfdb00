"""Volumes at another voxel size, computed where they are read, and maps brought back from there.

Both grids cover the same space: the centre of voxel `i` of the volume lies at
`(i + 1/2) f - 1/2` of the resampled one, with `f` resampled voxels to a voxel of the volume.
Positions are those in the whole grids, so a block has the values that it has in the whole.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from matphase.images.tiles import Halo, Shape, Tile, Window, tile_of
from matphase.images.volume import Volume
from matphase.images.voxel_checks import differ, recorded_voxel_size
from matphase.images.voxel_size import converted
from matphase.support.errors import InputError

Factors = tuple[float, float, float]
"""Resampled voxels to a voxel of the volume, along z, y and x."""

MAX_FACTOR = 16
"""Largest ratio of voxel sizes. Beyond it, one of both is wrong."""
TRUNCATE = 3.0
"""Reach of the low-pass filter, in standard deviations."""


@dataclass(frozen=True)
class Resampling:
    """How a volume is brought to another voxel size.

    Attributes:
        factors: see `Factors`.
        shape: (z, y, x) of the volume, on its own grid.
    """

    factors: Factors
    shape: Shape

    def tile(self, block: Tile, halo: Halo) -> Tile:
        """Tile of the resampled volume from which a block of the volume is brought back.

        Args:
            block: block of the volume.
            halo: halo of the tile, on the resampled grid.
        """
        core = needed_window(block.core, self.shape, self.factors)
        return tile_of(core, resampled_shape(self.shape, self.factors), halo)

    def brought_back(
        self, values: NDArray[Any], inside: NDArray[np.bool_] | None, core: Window
    ) -> NDArray[np.float32]:
        """Linear interpolation of values on the resampled grid; see `brought_back`."""
        return brought_back(values, inside, core, self.shape, self.factors)


def resampling_of(record: Mapping[str, Any], volume: Volume, *, slices: int) -> Resampling | None:
    """How a volume is brought to the voxel size at which a model was trained.

    Args:
        record: of the training, with what `voxel_record` gave.
        volume: grey values.
        slices: number of slices that the model sees at once; for one, slices stay as they are.

    Returns:
        the resampling, or None if the voxel sizes are the same.

    Raises:
        InputError: a voxel size is not known, or they are too far apart.
    """
    size, unit = recorded_voxel_size(record)
    if size is None or unit is None:
        raise InputError(
            "the model does not record the voxel size that it was trained at, so no volume can be "
            "brought to it; train it again with the voxel size (voxel_size= and unit=), or leave "
            "out resample=True"
        )
    if volume.voxel_size is None or volume.unit is None:
        raise InputError(
            f"the voxel size of {volume.name} is not known, so it cannot be brought to that of the "
            "model; give it (voxel_size= and unit=)"
        )
    if not differ(size, unit, volume.voxel_size, volume.unit, 2 if slices == 1 else 3):
        return None
    own = (None, *volume.voxel_size)[-3:]
    wanted = [1.0]
    if slices > 1 and volume.n_slices > 1 and size[0] is not None:
        if own[0] is None:
            raise InputError(
                f"the slice spacing of {volume.name} is not known, and the model sees {slices} "
                "slices at once; give the voxel size along all axes (voxel_size= and unit=)"
            )
        wanted = []
    pairs = list(zip(own, size, strict=True))[len(wanted) :]
    for mine, theirs in pairs:
        assert mine is not None
        assert theirs is not None
        wanted.append(converted(mine, volume.unit, unit) / theirs)
    if not all(1 / MAX_FACTOR <= factor <= MAX_FACTOR for factor in wanted):
        raise InputError(
            f"the voxel sizes of {volume.name} and of the model differ by more than a factor of "
            f"{MAX_FACTOR}; check them, and their units"
        )
    z, y, x = wanted
    return Resampling((z, y, x), volume.stack_shape)


def resampled(volume: Volume, factors: Factors) -> Volume:
    """The volume at another voxel size, which is computed where it is read.

    Where voxels get larger, a Gaussian first removes what they cannot show; values between voxels
    are interpolated linearly. NaN, outside of the sample, does not spread and adds nothing.
    """
    size = None
    if volume.voxel_size is not None:
        pairs = zip(volume.voxel_size, factors[-volume.ndim :], strict=True)
        size = tuple(None if length is None else length / factor for length, factor in pairs)
    return Volume(Resampled(volume, factors), volume.axes, size, volume.unit, volume.name)


def resampled_shape(shape: Shape, factors: Factors) -> Shape:
    """Shape (z, y, x) of the resampled volume, which covers the whole volume."""
    z, y, x = (
        max(1, math.ceil(side * factor - 1e-6)) for side, factor in zip(shape, factors, strict=True)
    )
    return z, y, x


@dataclass(frozen=True, eq=False)
class Resampled:
    """A volume at another voxel size, as an array of float32.

    Attributes:
        volume: grey values.
        factors: see `Factors`.
    """

    volume: Volume
    factors: Factors

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x) or (z, y, x)."""
        return resampled_shape(self.volume.stack_shape, self.factors)[-self.volume.ndim :]

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the voxels."""
        return np.dtype(np.float32)

    @property
    def parts(self) -> tuple[Volume, ...]:
        """The volume that is read."""
        return (self.volume,)

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[np.float32]:
        """Compute a block, given by one `slice(start, stop)` per axis."""
        whole = (slice(0, 1), *windows)[-3:]
        sides = self.volume.stack_shape
        places, sources = [], []
        for window, side, factor in zip(whole, sides, self.factors, strict=True):
            place = (np.arange(window.start, window.stop) + 0.5) / factor - 0.5
            place = place.clip(0, side - 1)
            beyond = _radius(factor)
            first = max(0, math.floor(place[0]) - beyond)
            sources.append(slice(first, min(side, math.ceil(place[-1]) + beyond + 1)))
            places.append(place - first)
        grey = self.volume.block(*sources).astype(np.float32)
        inside = ~np.isnan(grey)
        if not inside.any():
            empty: NDArray[np.float32] = np.full(list(map(len, places)), np.nan, np.float32)
            return empty[0] if len(windows) == 2 else empty
        value, weight = np.where(inside, grey, 0), inside.astype(np.float32)
        for axis, (place, factor) in enumerate(zip(places, self.factors, strict=True)):
            if factor < 1:
                value, weight = (_smoothed(part, axis, factor) for part in (value, weight))
            value, weight = (_interpolated(part, axis, place) for part in (value, weight))
        block = _ratio(value, weight)
        return block[0] if len(windows) == 2 else block


def needed_window(core: Window, shape: Shape, factors: Factors) -> Window:
    """Part of the resampled grid from which the maps of a part of the volume are interpolated.

    Args:
        core: (z, rows, columns) of the volume.
        shape: (z, y, x) of the volume.
        factors: see `Factors`.
    """
    found = []
    for part, side, factor in zip(core, resampled_shape(shape, factors), factors, strict=True):
        place = _places(part, side, factor)
        found.append(slice(math.floor(place[0]), math.ceil(place[-1]) + 1))
    return found[0], found[1], found[2]


def brought_back(
    values: NDArray[Any],
    inside: NDArray[np.bool_] | None,
    core: Window,
    shape: Shape,
    factors: Factors,
) -> NDArray[np.float32]:
    """Linear interpolation of values on the resampled grid at the voxels of the volume.

    Args:
        values: (..., z, y, x) in `needed_window(core, shape, factors)`.
        inside: (z, y, x) the values that count; None: all.
        core: (z, rows, columns) of the volume.
        shape: (z, y, x) of the volume.
        factors: see `Factors`.

    Returns:
        (..., z, y, x) float32 of the core; NaN where no value counts.
    """
    value = values.astype(np.float32)
    weight = np.ones(values.shape[-3:], np.float32)
    if inside is not None:
        value, weight = np.where(inside, value, 0), inside.astype(np.float32)
    window = needed_window(core, shape, factors)
    sides = resampled_shape(shape, factors)
    for axis, (part, start, side, factor) in enumerate(
        zip(core, window, sides, factors, strict=True), -3
    ):
        place = _places(part, side, factor) - start.start
        value, weight = (_interpolated(one, axis, place) for one in (value, weight))
    return _ratio(value, weight)


def _places(part: slice, side: int, factor: float) -> NDArray[np.float64]:
    """Places of voxels of the volume in the resampled grid, along one axis of length `side`."""
    place: NDArray[np.float64] = (np.arange(part.start, part.stop) + 0.5) * factor - 0.5
    return place.clip(0, side - 1)


def _interpolated(
    block: NDArray[np.float32], axis: int, place: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Values between the voxels of a block, along one axis."""
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, block.shape[axis] - 1)
    share = (place - below).astype(np.float32)
    if not share.any():
        nearest: NDArray[np.float32] = np.take(block, below, axis)
        return nearest
    share = share.reshape([-1 if one == axis % block.ndim else 1 for one in range(block.ndim)])
    lower, upper = np.take(block, below, axis), np.take(block, above, axis)
    result: NDArray[np.float32] = lower * (1 - share) + upper * share
    return result


def _smoothed(block: NDArray[np.float32], axis: int, factor: float) -> NDArray[np.float32]:
    """Low-pass filter along one axis, before it is sampled at larger voxels; 0 beyond the block."""
    smooth: NDArray[np.float32] = gaussian_filter1d(
        block, _sigma(factor), axis, mode="constant", radius=_radius(factor)
    )
    return smooth


def _sigma(factor: float) -> float:
    """Standard deviation of the filter, in voxels of the volume, as of `skimage.transform`."""
    return max(0.0, (1 / factor - 1) / 2)


def _radius(factor: float) -> int:
    return math.ceil(TRUNCATE * _sigma(factor))


def _ratio(value: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    weight = np.broadcast_to(weight, value.shape)
    empty = np.full(value.shape, np.nan, np.float32)
    return np.divide(value, weight, out=empty, where=weight > 0)
