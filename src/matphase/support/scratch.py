"""Temporary arrays on disk, for data that may not fit into memory."""

import math
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import OutputError
from matphase.support.files import reason
from matphase.support.system import reserve

SMALL = 2**24
"""Bytes up to which an array stays in memory."""


class Stack(Protocol):
    """Array-like of which one entry along the first axis, or a part of it, is read at a time.

    NumPy arrays are stacks, as are `DiskArray` and `Subset`.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as of an array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    def __len__(self) -> int:
        """Number of entries of the first axis."""

    def __getitem__(self, key: Any) -> Any:
        """Read an entry or a part of it: `stack[3]`, `stack[3, :10, 5:8]`."""

    def __iter__(self) -> Iterator[Any]:
        """Read the entries one after the other."""


class WritableStack(Stack, Protocol):
    """A stack whose entries can be changed."""

    def __setitem__(self, key: Any, values: Any) -> None:
        """Change entry `key`, or a part of it."""

    def sort(self) -> None:
        """Sort the values in place, in rising order."""


class DiskArray:
    """Array in an anonymous temporary file, which the system removes when the process ends.

    Each access maps the file and copies only the requested part, so earlier reads do not use memory
    of this process. The system caches the file in free memory.

    Args:
        shape: shape of the array.
        dtype: type of the values.
        folder: folder of the file; by default the system's folder for temporary files.

    Raises:
        OutputError: the folder cannot be written, or the disk has no room.
    """

    def __init__(
        self, shape: Sequence[int], dtype: np.dtype[Any] | type, folder: Path | None = None
    ) -> None:
        self.shape: tuple[int, ...] = tuple(shape)
        self.dtype = np.dtype(dtype)
        needed = max(1, math.prod(self.shape) * self.dtype.itemsize)
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives with the array
            weakref.finalize(self, self._file.close)
            # a mapped file that the disk has no room for would end the process when it is written
            reserve(self._file, needed)
        except OSError as error:
            where = folder or "the folder for temporary files (TMPDIR)"
            raise OutputError(
                f"cannot keep {needed / 1e9:.2g} GB of temporary files in {where}: "
                f"{reason(error)}; free some space there, or make it writable"
            ) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.array(self.as_array()[key])

    def __setitem__(self, key: Any, values: Any) -> None:
        self._map("r+")[key] = values

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[number] for number in range(len(self)))

    def sort(self) -> None:
        self._map("r+").sort()

    def __reduce__(self) -> Any:
        # processes that train together send each other arrays
        return _rebuilt, (self[...],)

    def as_array(self) -> NDArray[Any]:
        """Memory-mapped array, which is read when used; changes do not reach the file."""
        return self._map("c")

    def _map(self, mode: Any) -> NDArray[Any]:
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self._file, self.dtype, mode, shape=self.shape)


def room_for(
    shape: Sequence[int], dtype: np.dtype[Any] | type, folder: Path | None = None
) -> WritableStack:
    """A stack to write to: a NumPy array if it is small, else a `DiskArray`.

    Args:
        shape: of the stack.
        dtype: of its values.
        folder: on the disk to use.

    Raises:
        OutputError: the folder cannot be written, or the disk has no room.
    """
    if math.prod(shape) * np.dtype(dtype).itemsize <= SMALL:
        return np.empty(shape, dtype)
    return DiskArray(shape, dtype, folder)


def _rebuilt(array: NDArray[Any]) -> DiskArray:
    made = DiskArray(array.shape, array.dtype)
    made[...] = array
    return made


class Subset:
    """Selected entries of a stack, without a copy.

    Args:
        stack: stack to select from.
        numbers: (k,) numbers of the entries, in any order.
    """

    def __init__(self, stack: Stack, numbers: NDArray[np.int64]) -> None:
        self._stack = stack
        self._numbers = numbers

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as of an array."""
        return (len(self._numbers), *self._stack.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._stack.dtype

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: Any) -> Any:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            return np.stack([self[(number, *rest)] for number in range(len(self))[first]])
        return self._stack[(int(self._numbers[first]), *rest)]

    def gather(self, numbers: NDArray[np.int64], *rest: Any) -> NDArray[Any]:
        """Read values of several entries; see the function `gather`."""
        return gather(self._stack, self._numbers[numbers], *rest)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))


class EveryChannel:
    """Every n-th entry along the second axis of a stack, without a copy.

    Args:
        stack: stack to select from.
        step: n.
    """

    def __init__(self, stack: Stack, step: int) -> None:
        self._stack = stack
        self._step = step
        self._numbers = range(0, stack.shape[1], step)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as of an array."""
        n, _, *rest = self._stack.shape
        return (n, len(self._numbers), *rest)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self._stack.dtype

    def __len__(self) -> int:
        return len(self._stack)

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        first, channel, *rest = keys if len(keys) > 1 else (key, slice(None))
        chosen = self._numbers[channel]
        if isinstance(chosen, range):
            chosen = slice(chosen.start, chosen.stop, chosen.step)
        return self._stack[(first, chosen, *rest)]

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))


def gather(stack: Stack, numbers: NDArray[np.int64], *rest: Any) -> NDArray[Any]:
    """Read `stack[numbers, *rest]` without reading other entries.

    Args:
        stack: stack to read from.
        numbers: (k,) numbers of the entries.
        rest: index of the other axes, for example arrays (k,).
    """
    if isinstance(stack, Subset):
        return stack.gather(numbers, *rest)
    values: NDArray[Any] = as_array(stack)[(numbers, *rest)]
    return values


def as_array(stack: Stack) -> NDArray[Any]:
    """Stack as one array; a `DiskArray` is memory-mapped, not read."""
    return stack.as_array() if isinstance(stack, DiskArray) else np.asarray(stack)
