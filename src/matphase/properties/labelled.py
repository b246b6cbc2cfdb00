"""Phase indices of a volume with their voxel size, on which every property is measured."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume
from matphase.images.voxel_size import converted
from matphase.support.errors import InputError

Indices: TypeAlias = NDArray[np.uint8]
"""Phase indices 0..n-1, and `IGNORE_INDEX` where a voxel does not count; (y, x) or (z, y, x)."""

Spacing: TypeAlias = tuple[float, ...]
"""Length of a voxel along each axis, in axes order."""

SLAB_VOXELS = 64 * 10**6
"""Approximate number of voxels in memory where a property is summed over slabs."""

SHORTEST, LONGEST = 1e-15, 1e3
"""Least and greatest length of a voxel in metres; numbers far beyond overflow."""
MOST_STRETCHED = 1e4
"""Greatest ratio of two lengths of a voxel; directions that surfaces need then coincide."""


@dataclass(frozen=True, eq=False)
class Slab:
    """Consecutive slices of a volume.

    Attributes:
        indices: (slices, y, x).
        repeated: number of leading slices that the slab before had, too.
    """

    indices: Indices
    repeated: int


@dataclass(frozen=True)
class Labelled:
    """Labelled volume from any source, read slab by slab along z.

    Attributes:
        volume: label values with axes, voxel size and unit.
        phases: their meaning.
        region: bools of the same shape, true in the region of interest; None where all is in it.
            Voxels outside of it are ignored, whatever their values.
    """

    volume: Volume
    phases: PhaseTable
    region: Volume | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x) or (z, y, x), in voxels."""
        return self.volume.shape

    @property
    def axes(self) -> str:
        """Names of the axes, "yx" or "zyx"."""
        return self.volume.axes

    @property
    def spacing(self) -> Spacing | None:
        """Length of a voxel along each axis in `unit`; None where one of them is not known."""
        size = self.volume.voxel_size
        if size is None:
            return None
        known = tuple(length for length in size if length is not None)
        return known if len(known) == len(size) else None

    @property
    def unit(self) -> str | None:
        """Unit of length, or None where the voxel size is not known."""
        return None if self.spacing is None else self.volume.unit

    def check_spacing(self) -> None:
        """Refuse voxels that no scan has, of which numbers would overflow or mean nothing.

        Raises:
            InputError: a length outside of 1e-15 m to 1 km, or lengths that differ by more than
                a factor of 10^4.
        """
        if self.spacing is None or self.unit is None:
            return
        for axis, length in zip(self.axes, self.spacing, strict=True):
            if not SHORTEST <= converted(length, self.unit, "m") <= LONGEST:
                raise InputError(
                    f"a voxel of {self.volume.name} is {length:g} {self.unit} long along {axis}, "
                    "which no scan has; check voxel_size= and unit="
                )
        longest, shortest = max(self.spacing), min(self.spacing)
        if longest > MOST_STRETCHED * shortest:
            one, other = (self.axes[self.spacing.index(length)] for length in (longest, shortest))
            raise InputError(
                f"a voxel of {self.volume.name} is {longest / shortest:.3g} times as long along "
                f"{one} as along {other}, so its slices are no volume to measure; check "
                "voxel_size=, or measure slices one by one"
            )

    def axis(self, name: str) -> int:
        """Number of the axis with this name.

        Raises:
            InputError: the volume has no such axis.
        """
        if name not in tuple(self.axes):
            raise InputError(
                f"{self.volume.name} has no axis {name!r}; choose from {', '.join(self.axes)}"
            )
        return self.axes.index(name)

    def read(self, first: int, last: int) -> Indices:
        """Slices `first` to `last` - 1, of shape (last - first, y, x).

        Raises:
            InputError: a value that belongs to no phase.
        """
        out = np.empty((last - first, *self.shape[-2:]), np.uint8)
        planes = self.volume.slices(first, last)
        regions = itertools.repeat(None) if self.region is None else self.region.slices(first, last)
        for place, (plane, inside) in enumerate(zip(planes, regions, strict=False)):
            out[place] = self._encode(plane, inside, first + place)
        return out

    def whole(self) -> Indices:
        """All voxels in memory, of shape `shape`."""
        return self.read(0, self.volume.n_slices).reshape(self.shape)

    @property
    def fits(self) -> bool:
        """Whether the volume is one slab."""
        return math.prod(self.shape) <= SLAB_VOXELS

    def slabs(self, overlap: int = 0, first: int = 0, stop: int | None = None) -> Iterator[Slab]:
        """The volume in pieces of about `SLAB_VOXELS` voxels, their overlap left out.

        Args:
            overlap: slices that a slab repeats of the ones before, as far as there are any.
            first: slice to begin with.
            stop: slice to end before; the last one by default.
        """
        end = self.volume.n_slices if stop is None else stop
        step = max(1, SLAB_VOXELS // math.prod(self.shape[-2:]))
        for place in range(first, end, step):
            last = min(place + step, end)
            begin = max(first, place - overlap)
            yield Slab(self.read(begin, last), place - begin)

    def _encode(self, plane: NDArray[Any], inside: NDArray[np.bool_] | None, z: int) -> Indices:
        where = self.volume.name if self.volume.ndim == 2 else f"slice {z} of {self.volume.name}"
        if plane.dtype.kind == "f" and (nan := np.isnan(plane)).any():
            inside = ~nan if inside is None else inside & ~nan
        if inside is None:
            return self.phases.encode(plane, where=where)
        indices = np.full(plane.shape, IGNORE_INDEX, np.uint8)
        indices[inside] = self.phases.encode(plane[inside], where=where)
        return indices
