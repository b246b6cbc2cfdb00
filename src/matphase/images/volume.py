"""A slice or a stack of slices, with what its numbers mean: axes, voxel size and unit.

The pixels stay where they are until a block is asked for, so a volume may be larger than memory.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError

VoxelSize: TypeAlias = tuple[float | None, ...]
"""Length of a voxel along each axis, in axes order; only z may be None, for not known."""

Window: TypeAlias = slice
"""Part of an axis, `slice(start, stop)` with 0 <= start < stop and no step."""

MIN_SIDE = 32
"""Shortest side, in pixels, of an image that the networks take."""

_UNITS = {
    "m": ("m", "meter", "metre", "meters", "metres"),
    "cm": ("cm", "centimeter", "centimetre", "centimeters", "centimetres"),
    "mm": ("mm", "millimeter", "millimetre", "millimeters", "millimetres"),
    # \u00b5 is the micro sign and \u03bc the Greek letter: both are in use and look alike.
    "um": (
        "um",
        "\u00b5m",
        "\u03bcm",
        "micron",
        "microns",
        "micrometer",
        "micrometre",
        "micrometers",
        "micrometres",
    ),
    "nm": ("nm", "nanometer", "nanometre", "nanometers", "nanometres"),
}
_UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings}
_NO_UNIT = {"", "px", "pixel", "pixels", "voxel", "voxels"}

SLAB_BYTES = 2**28
"""Most that is read or written at once where a file stores several slices together."""

_POWERS = {"m": 0, "cm": -2, "mm": -3, "um": -6, "nm": -9}  # of ten, in metres


class VoxelSource(Protocol):
    """Where the voxels of a volume come from: memory, or a file that is read block by block."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x), or (z, y, x)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""

    @property
    def chunk_depth(self) -> int:
        """Number of slices that are stored together, so that reading one decodes them all."""

    def read_block(self, z: slice, rows: slice, columns: slice) -> NDArray[Any]:
        """Read a block (dz, dy, dx) of a window inside `shape`; a 2D source has z = 0 only."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Voxels in memory: an array of shape (y, x) or (z, y, x)."""

    array: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array."""
        return self.array.dtype

    @property
    def chunk_depth(self) -> int:
        """1: nothing is decoded."""
        return 1

    def read_block(self, z: slice, rows: slice, columns: slice) -> NDArray[Any]:
        """Give a block, a view into the array."""
        stack = self.array if self.array.ndim == 3 else self.array[np.newaxis]
        return stack[z, rows, columns]


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Grey values or labels, 2D or 3D, read when asked for. Make it by `matphase.open`.

    `from_array` and `from_source` check what they are given; the bare constructor does not.

    Attributes:
        data: where the voxels come from.
        axes: "yx" or "zyx".
        voxel_size: one length per axis, in axes order and in `unit`, or None where it is not
            known. In a stack whose files record the pixel size but not the distance of the
            slices, the entry of z is None: a length that nobody measured is never filled in.
        unit: "nm", "um", "mm", "cm" or "m"; None exactly where `voxel_size` is None.
        name: where the volume came from, for messages.
    """

    data: VoxelSource
    axes: str
    voxel_size: VoxelSize | None
    unit: str | None
    name: str

    @classmethod
    def from_source(
        cls,
        source: VoxelSource,
        axes: str | None = None,
        voxel_size: float | Sequence[float | None] | None = None,
        unit: str | None = None,
        name: str = "array",
    ) -> "Volume":
        """Make a volume of the voxels of `source`.

        Args:
            source: a slice (y, x) or a stack (z, y, x).
            axes: "yx" or "zyx"; None takes the one that fits the number of dimensions.
            voxel_size: one length for all axes, or one per axis in axes order, in `unit`.
            unit: name of the unit of length, in any common spelling.
            name: what to call the volume in messages.

        Raises:
            InputError: not a 2D or 3D array of real numbers, axes that do not fit it, a voxel
                size that is not positive and finite or comes without its unit, or an RGB picture.
        """
        shape = source.shape
        if len(shape) not in (2, 3):
            raise InputError(
                f"{name} has {len(shape)} dimensions; give one slice (y, x) or a stack (z, y, x)"
            )
        if source.dtype.kind not in "biuf" or source.dtype.itemsize > 8:
            raise InputError(
                f"{name} holds {source.dtype} values; convert it to grey values or labels of an "
                "integer or float type"
            )
        if 0 in shape:
            raise InputError(f"{name} is empty (shape {_times(shape)}); give at least one pixel")
        if axes is None and len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4:
            raise InputError(
                f"{name} of shape {_times(shape)} looks like an RGB picture; convert it to grey, "
                "or pass axes='zyx' if it is a stack"
            )
        expected = "zyx"[-len(shape) :]
        if axes not in (None, expected):
            raise InputError(
                f"axes {axes!r} do not fit {name} of shape {_times(shape)}; pass {expected!r}"
            )
        size, unit = checked_voxel_size(voxel_size, unit, expected, name)
        return cls(source, expected, size, unit, name)

    @classmethod
    def from_array(
        cls,
        array: NDArray[Any],
        axes: str | None = None,
        voxel_size: float | Sequence[float | None] | None = None,
        unit: str | None = None,
        name: str = "array",
    ) -> "Volume":
        """Make a volume of an array in memory, which is not copied; see `from_source`."""
        return cls.from_source(ArraySource(np.asarray(array)), axes, voxel_size, unit, name)

    def with_array(self, array: NDArray[Any]) -> "Volume":
        """Put other values at the same place: `array` with this volume's axes, voxel size and unit.

        Raises:
            InputError: the shape of `array` is not that of this volume.
        """
        if array.shape != self.shape:
            raise InputError(
                f"an array of shape {_times(array.shape)} does not fit on {self.name} of shape "
                f"{_times(self.shape)}; give one value per voxel"
            )
        return Volume.from_array(array, self.axes, self.voxel_size, self.unit, self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x) or (z, y, x), in voxels."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def n_slices(self) -> int:
        """Number of slices along z; 1 for a 2D volume."""
        return self.shape[0] if self.ndim == 3 else 1

    @property
    def nbytes(self) -> int:
        """Bytes that the voxels take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def slice(self, z: int) -> NDArray[Any]:
        """Read slice `z` (from 0) as an array (y, x).

        Raises:
            InputError: there is no slice `z`.
            FormatError: the file cannot be read there.
        """
        if not 0 <= z < self.n_slices:
            raise InputError(f"{self.name} has slices 0 to {self.n_slices - 1}, so no slice {z}")
        plane: NDArray[Any] = self._slab(z, z + 1)[0]
        return plane

    def block(self, z: Window, rows: Window, columns: Window) -> NDArray[Any]:
        """Read a block as an array (dz, dy, dx), and of the file only what the block covers.

        Args:
            z: slices, `slice(start, stop)` with 0 <= start < stop; `slice(0, 1)` of a 2D volume.
            rows: the same along y.
            columns: the same along x.

        Raises:
            InputError: a window that is empty, not inside the volume, or has steps.
            FormatError: the file cannot be read there.
        """
        sides = (self.n_slices, *self.shape[-2:])
        for axis, window, side in zip("zyx", (z, rows, columns), sides, strict=True):
            bounds = window.start, window.stop
            if not all(isinstance(bound, int | np.integer) for bound in bounds) or (
                window.step not in (None, 1) or not 0 <= window.start < window.stop <= side
            ):
                raise InputError(
                    f"{self.name} has no block {window.start}:{window.stop} along {axis}; give "
                    f"whole numbers with 0 <= start < stop <= {side} and no step"
                )
        return self.data.read_block(z, rows, columns)

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[Any]]:
        """Read slices in order, few in memory at a time: those that are stored together.

        Args:
            start: the first.
            stop: the one to end before; None reads to the last.
        """
        for _, slab in self._slabs(start, self.n_slices if stop is None else stop):
            for plane in slab:
                yield plane
            del plane, slab  # before the next slab is read, which would be beside it

    def to_array(self) -> NDArray[Any]:
        """Read all voxels into memory, of shape `shape`; an array there already is not copied."""
        if isinstance(self.data, ArraySource):
            return self.data.array
        if self.ndim == 2:
            return self.slice(0)
        array = np.empty(self.shape, self.dtype)
        for z, slab in self._slabs(0, self.n_slices):
            array[z : z + len(slab)] = slab
        return array

    def _slabs(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read slices in order, as slabs (dz, y, x) with the number of their first slice.

        A slab ends where chunks end, so that no chunk is decoded twice unless a layer of chunks
        is larger than `SLAB_BYTES`.
        """
        depth = self.data.chunk_depth
        most = max(SLAB_BYTES // max(self.nbytes // self.n_slices, 1), 1)
        while start < stop:
            end = min(start - start % depth + depth, start + most, stop)
            yield start, self._slab(start, end)
            start = end

    def _slab(self, start: int, stop: int) -> NDArray[Any]:
        height, width = self.shape[-2:]
        return self.data.read_block(slice(start, stop), slice(0, height), slice(0, width))

    def __repr__(self) -> str:
        return (
            f"Volume({self.name!r}, {self.axes} {_times(self.shape)}, {self.dtype}, "
            f"{self._voxel_text()}, {self.nbytes / 1e6:.1f} MB)"
        )

    def _voxel_text(self) -> str:
        if self.voxel_size is None:
            return "voxel size unknown"
        lengths = ("unknown" if length is None else f"{length:g}" for length in self.voxel_size)
        return f"voxel size {_times(lengths)} {self.unit}"


def normalised_unit(unit: str | None) -> str | None:
    """Give a unit of length its one ASCII name; None for pixels and for unknown names."""
    return None if unit is None else _UNIT_OF.get(unit.strip().lower())


def converted(length: float, unit: str, to: str) -> float:
    """Give a length in another unit; both by their ASCII names."""
    power = _POWERS[unit] - _POWERS[to]
    # Dividing by a power of ten is exact where multiplying by its inverse is not.
    return length * 10.0**power if power >= 0 else length / 10.0**-power


def checked_voxel_size(
    voxel_size: float | Sequence[float | None] | None, unit: str | None, axes: str, name: str
) -> tuple[VoxelSize | None, str | None]:
    """Give one positive length per axis and the ASCII name of their unit, or (None, None).

    A size without a unit, or a unit without a size, is refused: neither can be guessed. A unit
    of pixels says that no size is known.

    Raises:
        InputError: the size and the unit do not make a voxel size for `axes`; it names `name`.
    """
    if unit is not None and unit.strip().lower() in _NO_UNIT:
        return None, None
    if voxel_size is None:
        if unit is not None:
            raise InputError(f"unit {unit!r} of {name} comes without a voxel size; give both")
        return None, None
    given = tuple(voxel_size) if isinstance(voxel_size, Iterable) else (voxel_size,) * len(axes)
    if len(given) != len(axes):
        raise InputError(
            f"the voxel size of {name} has {len(given)} lengths for the {len(axes)} axes {axes}; "
            "give one length, or one per axis"
        )
    for axis, length in zip(axes, given, strict=True):
        if length is None and axis == "z":
            continue
        if length is None or not math.isfinite(length) or length <= 0:
            raise InputError(
                f"the voxel size of {name} along {axis} is {length}; give a length above zero"
            )
    if unit is None:
        raise InputError(f"the voxel size of {name} comes without a unit; give the unit too")
    known = normalised_unit(unit)
    if known is None:
        raise InputError(f"unit {unit!r} of {name} is not known; use one of {', '.join(_UNITS)}")
    return tuple(None if length is None else float(length) for length in given), known


def checked_slice(volume: Volume, z: int) -> NDArray[np.float32]:
    """Read slice `z` as a network takes it: float32, finite, of shape (y, x).

    Raises:
        InputError: a side shorter than 32 px, or a pixel that is NaN or infinite.
    """
    height, width = volume.shape[-2:]
    plane: NDArray[np.float32] = checked_block(
        volume, slice(z, z + 1), slice(0, height), slice(0, width)
    )[0]
    return plane


def checked_block(volume: Volume, z: Window, rows: Window, columns: Window) -> NDArray[np.float32]:
    """Read a block as a network takes it: float32, finite, of shape (dz, dy, dx).

    Raises:
        InputError: slices with a side shorter than 32 px, or a pixel that is NaN or infinite.
    """
    return _checked(volume, volume.block(z, rows, columns), z.start)


def checked_slices(volume: Volume) -> Iterator[NDArray[np.float32]]:
    """Read all slices in order, each as `checked_slice` does; those stored together at once."""
    for z, plane in enumerate(volume.slices()):
        yield _checked(volume, plane[np.newaxis], z)[0]


def _checked(volume: Volume, read: NDArray[Any], first: int) -> NDArray[np.float32]:
    """What was read of the volume, from slice `first` on, as a network takes it."""
    height, width = volume.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"{volume.name} is {height} x {width} px; images need at least {MIN_SIDE} px a side"
        )
    # A float64 value beyond the range of float32 becomes infinite here, and is refused as such.
    with np.errstate(over="ignore"):
        block = read.astype(np.float32)
    for number, plane in enumerate(block, first):
        bad = plane.size - np.count_nonzero(np.isfinite(plane))
        if bad:
            raise InputError(
                f"{volume.name} has {bad} NaN or infinite pixel{'s' if bad > 1 else ''} in slice "
                f"{number}; replace them by finite grey values"
            )
    return block


def check_not_constant(volume: Volume, z: int | None = None) -> None:
    """Refuse an image in which nothing can be told apart: all of its pixels have one value.

    Args:
        volume: the image or stack; it is read only as far as the second value.
        z: look at this slice only; None looks at the whole volume.

    Raises:
        InputError: there is one value only.
    """
    planes = volume.slices() if z is None else iter((volume.slice(z),))
    first: Any = None
    for plane in planes:
        if first is None:
            first = plane.flat[0]
        if np.any(plane != first):
            return
    where = volume.name if z is None else f"slice {z} of {volume.name}"
    raise InputError(f"all pixels of {where} have the value {first}; give an image with contrast")


def _times(parts: Iterator[str] | tuple[int, ...]) -> str:
    return " x ".join(str(part) for part in parts)
