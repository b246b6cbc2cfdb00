"""Slices and stacks of slices with their axes, voxel size and unit.

The voxels stay where they are until a part is asked for, so a volume may be larger than memory.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from matphase.images.arrays import (
    ArrayLike,
    Window,
    array_like,
    chunks_of,
    completed,
    read,
    read_windows,
)
from matphase.images.voxel_size import VoxelSize, checked_voxel_size, coordinate_spacing
from matphase.support.errors import InputError
from matphase.support.text import times

if TYPE_CHECKING:
    import dask.array
    import xarray

MIN_SIDE = 32
"""Shortest side, in pixels, of an image that the networks take."""
ROWS = 64
"""Rows that are read at a time to look for contrast, which the first ones nearly always have."""

SLAB_BYTES = 2**28
"""Most that is read or written at once where a file stores several slices together."""


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Grey values or labels, 2D or 3D, that are read when asked for. Made by `matphase.open`.

    A volume is an array: it has `shape`, `dtype` and `chunks`; `volume[3]` or
    `volume[10:20, ::2, -1]` read only that part, and `np.asarray(volume)` reads all of it. Two
    volumes are equal only if they are the same object.

    `from_array` checks what it is given; the bare constructor does not.

    Attributes:
        data: the array that holds the voxels, in memory or in a file.
        axes: "yx" or "zyx".
        voxel_size: one length per axis, in axes order and in `unit`; None where it is not known.
            In a stack whose files record the pixel size but not the slice spacing, the entry of z
            is None: a length that nobody measured is never filled in.
        unit: "nm", "um", "mm", "cm" or "m"; None exactly where `voxel_size` is None.
        name: where the volume came from, for messages.
    """

    data: ArrayLike
    axes: str
    voxel_size: VoxelSize | None
    unit: str | None
    name: str

    @classmethod
    def from_array(
        cls,
        array: Any,
        axes: str | None = None,
        voxel_size: float | Sequence[float | None] | None = None,
        unit: str | None = None,
        name: str = "array",
    ) -> "Volume":
        """Make a volume of any array, which is neither copied nor loaded.

        Args:
            array: a slice (y, x) or a stack (z, y, x): NumPy, zarr, Dask, xarray, h5py, anything
                else with `shape`, `dtype` and slices, or nested lists.
            axes: "yx" or "zyx"; None takes the one that fits the number of dimensions.
            voxel_size: one length for all axes, or one per axis in axes order, in `unit`; by
                default that of an xarray array whose coordinates are regular and have `units`.
            unit: unit of length, in any common spelling.
            name: what to call the volume in messages.

        Raises:
            InputError: not a 2D or 3D array of real numbers, axes that do not fit it, a voxel
                size that is not positive and finite or comes without its unit, or an RGB picture.
        """
        data = array_like(array, name)
        shape, dtype = tuple(data.shape), np.dtype(data.dtype)
        if len(shape) not in (2, 3):
            raise InputError(
                f"{name} has {len(shape)} dimensions; give one slice (y, x) or a stack (z, y, x)"
            )
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            raise InputError(
                f"{name} holds {dtype} values; convert it to grey values or labels of an integer "
                "or float type"
            )
        if 0 in shape:
            raise InputError(f"{name} is empty (shape {times(shape)}); give at least one pixel")
        if axes is None and len(shape) == 3:
            check_not_colour(shape, name)
        expected = "zyx"[-len(shape) :]
        if axes not in (None, expected):
            raise InputError(
                f"axes {axes!r} do not fit {name} of shape {times(shape)}; pass {expected!r}"
            )
        if voxel_size is None and unit is None:
            voxel_size, unit = coordinate_spacing(data)
        size, unit = checked_voxel_size(voxel_size, unit, expected, name)
        return cls(data, expected, size, unit, name)

    def with_array(self, array: Any) -> "Volume":
        """Give `array` the axes, voxel size, unit and name of this volume.

        Raises:
            InputError: the shape of `array` is not that of this volume.
        """
        other = Volume.from_array(array, self.axes, name=self.name)
        if other.shape != self.shape:
            raise InputError(
                f"an array of shape {times(other.shape)} does not fit {self.name} of shape "
                f"{times(self.shape)}; give one value per voxel"
            )
        return replace(other, voxel_size=self.voxel_size, unit=self.unit)

    # --- as an array ------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x) or (z, y, x), in voxels."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels, in the byte order of this machine."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype).newbyteorder("=")
        return dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the chunks in which the voxels are stored; None where there are none.

        To read one voxel of a chunk, all of it is decoded.
        """
        return chunks_of(self.data)

    @property
    def ndim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the voxels take in memory."""
        return self.size * self.dtype.itemsize

    @property
    def n_slices(self) -> int:
        """Number of slices along z; 1 for a 2D volume."""
        return self.shape[0] if self.ndim == 3 else 1

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """(z, y, x), with z = 1 for a 2D volume."""
        height, width = self.shape[-2:]
        return self.n_slices, height, width

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Read a part, and of a file only the chunks it lies in; with NumPy's basic indexing.

        Args:
            index: integers, which drop their axis, slices with any step, and Ellipsis;
                negative numbers count from the end.

        Returns:
            An array, a view where the volume is in memory; a NumPy scalar for a single voxel.

        Raises:
            InputError: another kind of index, or one beyond the volume (also an `IndexError`).
            FormatError: the file cannot be read there.
        """
        return read(self.data, completed(index, self.shape, self.name), self.dtype)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return self.slices() if self.ndim == 3 else iter(self.to_array())

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole volume into memory; an array there already is copied only if asked."""
        if copy is False and not isinstance(self.data, np.ndarray):
            raise ValueError(f"{self.name} is not in memory; leave out copy=False")
        return np.array(self.to_array(), dtype, copy=copy)

    def to_array(self) -> NDArray[Any]:
        """Read all voxels into memory, of shape `shape`; an array there already is not copied."""
        if isinstance(self.data, np.ndarray) or self.ndim == 2:
            whole: NDArray[Any] = self[...]
            return whole
        array = np.empty(self.shape, self.dtype)
        for z, slab in self._slabs(0, self.n_slices):
            array[z : z + len(slab)] = slab
        return array

    def to_dask(self) -> "dask.array.Array":
        """Give a Dask array that reads its parts when they are computed.

        Its chunks are whole chunks of the file, many together where they are small.
        """
        import dask.array

        if isinstance(self.data, dask.array.Array):
            return self.data
        whole: dask.array.Array = dask.array.from_array(self, name=False, asarray=True)
        return whole

    def to_xarray(self) -> "xarray.DataArray":
        """Give an xarray array with dimensions z, y, x that reads its parts when they are computed.

        Where the voxel size is known, coordinates give the centre of each voxel in `unit`, 0 being
        that of the first one.

        Raises:
            InputError: xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise InputError(
                "to_xarray needs the package xarray; pip install 'matphase[xarray]'"
            ) from error
        lengths = self.voxel_size or (None,) * self.ndim
        coordinates = {
            axis: (axis, length * np.arange(side), {"units": self.unit})
            for axis, length, side in zip(self.axes, lengths, self.shape, strict=True)
            if length is not None
        }
        return xarray.DataArray(self.to_dask(), coordinates, dims=tuple(self.axes), name=self.name)

    # --- slices and blocks ------------------------------------------------------------------------

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
        """Read a block as an array (dz, dy, dx), also of a 2D volume.

        Args:
            z: slices, `slice(start, stop)` with 0 <= start < stop; `slice(0, 1)` of a 2D volume.
            rows: the same along y.
            columns: the same along x.

        Raises:
            InputError: a window that is empty, not inside the volume, or has steps.
            FormatError: the file cannot be read there.
        """
        parts = zip("zyx", (z, rows, columns), self.stack_shape, strict=True)
        for axis, window, side in parts:
            bounds = window.start, window.stop
            if not all(isinstance(bound, int | np.integer) for bound in bounds) or (
                window.step not in (None, 1) or not 0 <= window.start < window.stop <= side
            ):
                raise InputError(
                    f"{self.name} has no block {window.start}:{window.stop} along {axis}; give "
                    f"whole numbers with 0 <= start < stop <= {side} and no step"
                )
        return self._block(z, rows, columns)

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

    def _slabs(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read slices in order, as slabs (dz, y, x) with the number of their first slice.

        A slab ends where chunks end, so that no chunk is decoded twice unless a layer of chunks
        is larger than `SLAB_BYTES`.
        """
        chunks = self.chunks
        depth = chunks[0] if chunks and self.ndim == 3 else 1
        most = max(SLAB_BYTES // max(self.nbytes // self.n_slices, 1), 1)
        while start < stop:
            end = min(start - start % depth + depth, start + most, stop)
            yield start, self._slab(start, end)
            start = end

    def _slab(self, start: int, stop: int) -> NDArray[Any]:
        height, width = self.shape[-2:]
        return self._block(slice(start, stop), slice(0, height), slice(0, width))

    def _block(self, z: Window, rows: Window, columns: Window) -> NDArray[Any]:
        if self.ndim == 3:
            return read_windows(self.data, (z, rows, columns), self.dtype)
        return read_windows(self.data, (rows, columns), self.dtype)[np.newaxis]

    # --- for people -------------------------------------------------------------------------------

    def __repr__(self) -> str:
        from matphase.images import summary

        return summary.text(self)

    def _repr_html_(self) -> str:
        from matphase.images import summary

        return summary.html(self)


def check_not_colour(shape: tuple[int, ...], name: str) -> None:
    """Refuse three axes without names that are those of a picture in colour.

    Raises:
        InputError: the last of them has the length of RGB or RGBA, and the others are longer.
    """
    if shape[2] in (3, 4) and min(shape[:2]) > 4:
        raise InputError(
            f"{name} of shape {times(shape)} looks like an RGB picture; convert it to grey, "
            "or pass axes='zyx' if it is a stack"
        )


def checked_slice(volume: Volume, z: int) -> NDArray[np.float32]:
    """Read slice `z` as float32 (y, x); NaN is outside of the sample.

    Raises:
        InputError: a side shorter than 32 px, or a pixel that is infinite.
    """
    height, width = volume.shape[-2:]
    plane: NDArray[np.float32] = checked_block(
        volume, slice(z, z + 1), slice(0, height), slice(0, width)
    )[0]
    return plane


def checked_block(volume: Volume, z: Window, rows: Window, columns: Window) -> NDArray[np.float32]:
    """Read a block as float32 (dz, dy, dx); NaN is outside of the sample.

    Raises:
        InputError: slices with a side shorter than 32 px, or a pixel that is infinite.
    """
    return _checked(volume, volume.block(z, rows, columns), z.start)


def checked_slices(volume: Volume) -> Iterator[NDArray[np.float32]]:
    """Read all slices in order, each as `checked_slice` does; slices of one chunk at once."""
    for z, plane in enumerate(volume.slices()):
        yield _checked(volume, plane[np.newaxis], z)[0]


def _checked(volume: Volume, read: NDArray[Any], first: int) -> NDArray[np.float32]:
    """Check a block that begins at slice `first`, and give it as float32."""
    height, width = volume.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"{volume.name} is {height} x {width} px; images need at least {MIN_SIDE} px a side"
        )
    # A float64 value beyond the range of float32 becomes infinite here, and is refused as such.
    with np.errstate(over="ignore"):
        block = read.astype(np.float32)
    for number, plane in enumerate(block, first):
        bad = np.count_nonzero(np.isinf(plane))
        if bad:
            raise InputError(
                f"{volume.name} has {bad} infinite pixel{'s' if bad > 1 else ''} in slice "
                f"{number}; replace them with finite grey values, or with NaN outside of the sample"
            )
    return block


def check_not_constant(volume: Volume, z: int | None = None) -> None:
    """Refuse an image without contrast, whose pixels all have one value (NaN aside).

    Args:
        volume: the image or stack; reading stops at the first part with a second value.
        z: look at this slice only, a few rows at a time; None looks at the whole volume.

    Raises:
        InputError: all pixels have the same value.
    """
    if z is None:
        parts = volume.slices()
    else:
        height, width = volume.shape[-2:]
        parts = (
            volume.block(slice(z, z + 1), slice(y, min(y + ROWS, height)), slice(0, width))
            for y in range(0, height, ROWS)
        )
    first: Any = np.nan
    for part in parts:
        inside = part[~np.isnan(part)] if part.dtype.kind == "f" else part
        if inside.size and np.isnan(first):
            first = inside.flat[0]
        if np.any(inside != first):
            return
    where = volume.name if z is None else f"slice {z} of {volume.name}"
    raise InputError(f"all pixels of {where} have the value {first}; give an image with contrast")
