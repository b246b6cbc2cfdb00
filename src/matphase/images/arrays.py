"""Arrays that a volume can hold, and NumPy's basic indexing that reads only what is asked for."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError

Window: TypeAlias = slice
"""Part of an axis, `slice(start, stop)` with 0 <= start < stop and no step."""

BAND_BYTES = 2**24
"""Most that is read at once for an index with steps, of which a part only is kept."""


class ArrayLike(Protocol):
    """Interface of the arrays that a volume can hold: shape, type and slicing.

    An array may also have `chunks`: the shape of a chunk, or as in Dask the lengths of all chunks
    along each axis.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x), or (z, y, x)."""

    @property
    def dtype(self) -> Any:
        """Type of the voxels."""

    def __getitem__(self, windows: Any, /) -> Any:
        """Read a block, given by one `slice(start, stop)` per axis."""


@dataclass(frozen=True, eq=False)
class Arranged:
    """Axes of another array in another order, without some of length 1; nothing is copied.

    Attributes:
        array: any array that takes one window per axis.
        kept: for each axis here, that axis of `array`; None for a new axis of length 1. Axes of
            `array` that are not kept have length 1.
    """

    array: ArrayLike
    kept: tuple[int | None, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the kept axes, in their order."""
        return self._of_kept(self.array.shape)

    @property
    def dtype(self) -> Any:
        """Type of the voxels."""
        return self.array.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of a chunk; None where the array has none."""
        chunks = chunks_of(self.array)
        return None if chunks is None else self._of_kept(chunks)

    def __getitem__(self, windows: tuple[Window, ...]) -> NDArray[Any]:
        """Read a block, given by one window per axis."""
        index = [slice(0, 1)] * len(self.array.shape)
        for axis, window in zip(self.kept, windows, strict=True):
            if axis is not None:
                index[axis] = window
        block = np.asarray(self.array[tuple(index)])
        there = [axis for axis in self.kept if axis is not None]
        left_out = tuple(axis for axis in range(block.ndim) if axis not in there)
        order = np.argsort(np.argsort(there))
        arranged = np.squeeze(block, left_out).transpose(order)
        new = tuple(place for place, axis in enumerate(self.kept) if axis is None)
        return np.ascontiguousarray(np.expand_dims(arranged, new))

    def _of_kept(self, lengths: Sequence[int]) -> tuple[int, ...]:
        return tuple(1 if axis is None else int(lengths[axis]) for axis in self.kept)


def arranged(array: ArrayLike, kept: tuple[int | None, ...]) -> ArrayLike:
    """Give an array the axes `kept` of it, as `Arranged` does; a view where it is in memory."""
    if kept == tuple(range(len(array.shape))):
        return array
    if isinstance(array, np.ndarray):
        index = tuple(slice(None) if axis in kept else 0 for axis in range(array.ndim))
        there = [axis for axis in kept if axis is not None]
        new = tuple(place for place, axis in enumerate(kept) if axis is None)
        view = array[index].transpose(np.argsort(np.argsort(there)))
        return np.expand_dims(view, new)
    return Arranged(array, kept)


class OutOfRange(InputError, IndexError):
    """An index beyond the end of an axis; also an `IndexError`, which Python's protocols expect."""


def array_like(source: Any, name: str) -> ArrayLike:
    """Give an array as it is if it can be read in parts (NumPy, zarr, Dask, xarray, h5py).

    Anything else, such as nested lists, becomes a NumPy array.

    Args:
        source: any array, or what `np.asarray` takes.
        name: what to call it in messages.

    Raises:
        InputError: it is no array, its size is not known, or its axes are named in another order
            than z, y, x.
    """
    if isinstance(source, np.ndarray):
        return source
    if _reads_in_parts(source):
        _check_known(source, name)
        kept: ArrayLike = source
        return kept
    try:
        array = np.asarray(source)
    except ValueError as error:
        raise InputError(
            f"{name}: the lists have different lengths; give rows and slices of one size"
        ) from error
    except Exception as error:  # whatever the array of another library raises
        raise InputError(
            f"{name} ({type(source).__name__}) cannot be made a NumPy array: {error}"
        ) from error
    if array.dtype == object and array.ndim == 0:
        raise InputError(
            f"{name} is of type {type(source).__name__}; give an array, a path, or a list of files"
        )
    return array


def _reads_in_parts(source: Any) -> bool:
    if not all(hasattr(source, part) for part in ("shape", "dtype", "__getitem__")):
        return False
    try:
        np.dtype(source.dtype)
    except TypeError:  # of a library with types of its own, such as torch
        return False
    return True


def _check_known(source: Any, name: str) -> None:
    if any(side is None or math.isnan(side) for side in source.shape):
        raise InputError(
            f"the shape {source.shape} of {name} is not known; call its compute_chunk_sizes() first"
        )


def chunks_of(array: ArrayLike) -> tuple[int, ...] | None:
    """Shape of the chunks in which an array is stored; None where it has none.

    Where chunks differ in length, as in Dask, it is that of the first.
    """
    chunks = getattr(array, "chunks", None)
    if not isinstance(chunks, tuple) or len(chunks) != len(array.shape):
        return None
    return tuple(int(one[0] if isinstance(one, tuple) else one) for one in chunks)


def is_basic(index: Any) -> bool:
    """Tell whether an index consists of integers, slices and Ellipsis only."""
    return all(map(_is_basic, index if isinstance(index, tuple) else (index,)))


def completed(index: Any, shape: tuple[int, ...], name: str) -> tuple[int | slice, ...]:
    """Complete an index to one integer or slice per axis, by the rules of NumPy's basic indexing.

    Args:
        index: integers, slices and at most one Ellipsis, in a tuple or alone.
        shape: of the array.
        name: what to call the array in messages.

    Returns:
        Integers are at least 0; slices stay as they are.

    Raises:
        OutOfRange: an integer beyond an end, or more entries than axes.
        InputError: another kind of index.
    """
    given = list(index) if isinstance(index, tuple) else [index]
    for one in given:
        if not _is_basic(one):
            raise InputError(
                f"{name} takes integers and slices as an index, got {_short(one)}; for other "
                "kinds, read all of it first: np.asarray(volume)[...]"
            )
        if isinstance(one, slice) and one.step == 0:
            raise InputError(f"the step of a slice of {name} is 0; give another one")
    dots = [place for place, one in enumerate(given) if one is Ellipsis]
    if len(dots) > 1:
        raise InputError(f"an index of {name} has more than one Ellipsis (...); give one at most")
    if not dots:
        dots, given = [len(given)], [*given, Ellipsis]
    missing = len(shape) - len(given) + 1
    if missing < 0:
        raise OutOfRange(f"{name} has {len(shape)} axes, got {len(given) - 1} indices")
    given[dots[0] : dots[0] + 1] = [slice(None)] * missing
    return tuple(
        one if isinstance(one, slice) else _place(int(one), axis, side, name)
        for axis, (one, side) in enumerate(zip(given, shape, strict=True))
    )


def _is_basic(one: Any) -> bool:
    if isinstance(one, slice):
        bounds = one.start, one.stop, one.step
        return all(bound is None or _is_integer(bound) for bound in bounds)
    return one is Ellipsis or _is_integer(one)


def _is_integer(one: Any) -> bool:
    return isinstance(one, int | np.integer) and not isinstance(one, bool)


def _place(one: int, axis: int, side: int, name: str) -> int:
    if not -side <= one < side:
        raise OutOfRange(f"index {one} is out of range: axis {axis} of {name} has length {side}")
    return one % side


def _short(one: Any) -> str:
    return repr(one) if one is None or isinstance(one, bool | float | str) else type(one).__name__


def read(array: ArrayLike, index: Sequence[int | slice], dtype: np.dtype[Any]) -> Any:
    """Read a part of an array, and no more of it than the bounding windows of the index.

    With steps, the array is read in parts that end where its chunks end, and of each part only
    what was asked for is kept.

    Args:
        array: any array.
        index: an integer, whose axis is dropped, or a slice, for each axis.
        dtype: type of the result.

    Returns:
        An array, which is a view where `array` is a NumPy array of type `dtype`; a NumPy scalar
        where no axis is left.
    """
    if isinstance(array, np.ndarray):
        return np.asarray(array)[tuple(index)].astype(dtype, copy=False)
    asked = [
        range(side)[one] if isinstance(one, slice) else range(one, one + 1)
        for one, side in zip(index, array.shape, strict=True)
    ]
    dropped = tuple(0 if not isinstance(one, slice) else slice(None) for one in index)
    shape = tuple(map(len, asked))
    if 0 in shape:
        return np.empty(shape, dtype)[dropped]
    if all(one.step == 1 for one in asked):
        return read_windows(array, tuple(slice(one.start, one.stop) for one in asked), dtype)[
            dropped
        ]
    whole = np.empty(shape, dtype)
    for part in _parts(asked, array.shape, chunks_of(array), dtype.itemsize):
        inside = [one[cut] for one, cut in zip(asked, part, strict=True)]
        windows = tuple(slice(min(one), max(one) + 1) for one in inside)
        steps = tuple(slice(None, None, one.step) for one in inside)
        whole[part] = read_windows(array, windows, dtype)[steps]
    return whole[dropped]


def read_windows(
    array: ArrayLike, windows: tuple[Window, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Read a block, given by one window per axis, as an array of type `dtype`."""
    return np.asarray(array[windows]).astype(dtype, copy=False)


def _parts(
    asked: list[range], shape: tuple[int, ...], chunks: tuple[int, ...] | None, itemsize: int
) -> Iterator[tuple[slice, ...]]:
    """Cut what is asked for into parts along z and y; each lies in whole chunks of about 16 MB.

    A part is given by its places in the result.
    """
    *depth, height, _ = chunks or (1,) * len(shape)
    layer = math.prod(depth) * shape[-1] * itemsize
    rows = height * max(BAND_BYTES // (layer * height), 1)
    lengths = (*depth, rows, shape[-1])
    yield from itertools.product(
        *(list(_runs(one, length)) for one, length in zip(asked, lengths, strict=True))
    )


def _runs(asked: range, length: int) -> Iterator[slice]:
    """Places in `asked` whose values lie in one interval that begins at a multiple of `length`."""
    start = 0
    for _, group in itertools.groupby(asked, lambda one: one // length):
        stop = start + sum(1 for _ in group)
        yield slice(start, stop)
        start = stop
