"""Maps on disk that are read when asked for, and work like numpy arrays."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from matphase.images.volume import Volume
from matphase.prediction.files import Stored
from matphase.prediction.maps import MapKind


class StoredMap(NDArrayOperatorsMixin):
    """One map of a prediction on disk, which is read when asked for.

    It has `shape` and `dtype`, an index such as `[3]` or `[:, 2, 10:20]` reads only that part, and
    `np.asarray` and arithmetic read all of it.

    Args:
        stored: the prediction.
        kind: which map.
        values: give phases by the user's label values, not by index.
    """

    def __init__(self, stored: Stored, kind: MapKind, *, values: bool = False) -> None:
        self._volumes = tuple(stored.open(layer) for layer in stored.layers(kind))
        self._phases, self._kind, self._values = stored.phases, kind, values

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x) or (y, x); after the number of phases or samples where there are several."""
        first = self._volumes[0].shape
        return first if self._kind.per is None else (len(self._volumes), *first)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels, of all phases or samples."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self._phases.dtype if self._values else self._kind.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        """Read a part: of the files only what whole numbers and slices ask for."""
        given = index if isinstance(index, tuple) else (index,)
        simple = all(
            one is Ellipsis or isinstance(one, int | np.integer | slice) for one in given
        ) and not any(isinstance(one, bool) for one in given)
        if not simple or given.count(Ellipsis) > 1:
            return np.asarray(self)[index]
        parts = _completed(given, self.ndim)
        if self._kind.per is None:
            return self._read(self._volumes[0], parts)
        which, *inside = parts
        if isinstance(which, slice):
            chosen = self._volumes[which]
            if not chosen:
                return np.asarray(self)[index]
            return np.stack([self._read(one, inside) for one in chosen])
        return self._read(self._volumes[which], inside)

    def __iter__(self) -> Iterator[Any]:
        return (self[place] for place in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole map into memory."""
        arrays = [self._converted(one.to_array(), one) for one in self._volumes]
        whole = arrays[0] if self._kind.per is None else np.stack(arrays)
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        read = [np.asarray(one) if isinstance(one, StoredMap) else one for one in inputs]
        return getattr(ufunc, method)(*read, **options)

    def __repr__(self) -> str:
        return f"{self._kind.name} {' x '.join(map(str, self.shape))}, {self.dtype}, on disk"

    def _read(self, volume: Volume, index: Sequence[Any]) -> Any:
        """A part of one file: its bounding window is read, then cut."""
        windows: list[slice] = []
        cuts: list[int | slice] = []
        for one, side in zip(index, volume.shape, strict=True):
            if not isinstance(one, slice):
                place = range(side)[one]
                windows.append(slice(place, place + 1))
                cuts.append(0)
                continue
            asked = range(side)[one]
            if not len(asked):
                return np.asarray(self._converted(volume.to_array(), volume))[tuple(index)]
            first, last = min(asked[0], asked[-1]), max(asked[0], asked[-1])
            windows.append(slice(first, last + 1))
            cuts.append(slice(None, None, asked.step))
        z = windows[0] if volume.ndim == 3 else slice(0, 1)
        block = volume.block(z, *windows[-2:])
        block = block if volume.ndim == 3 else block[0]
        return self._converted(block, volume)[tuple(cuts)]

    def _converted(self, part: NDArray[Any], volume: Volume) -> NDArray[Any]:
        if self._values:
            return part.astype(self.dtype, copy=False)
        return self._kind.from_stored(part, self._phases, volume.name)


def _completed(index: Sequence[Any], ndim: int) -> list[Any]:
    """An index with one entry for each axis.

    Raises:
        IndexError: it has more entries than there are axes.
    """
    given = list(index) if Ellipsis in index else [*index, Ellipsis]
    place, missing = given.index(Ellipsis), ndim - len(given) + 1
    if missing < 0:
        raise IndexError(f"too many indices: the map has {ndim} axes, got {len(given) - 1}")
    return [*given[:place], *[slice(None)] * missing, *given[place + 1 :]]
