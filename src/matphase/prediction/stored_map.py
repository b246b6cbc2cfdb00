"""Maps on disk that are read when asked for, and work like numpy arrays."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from matphase.images.arrays import completed, is_basic
from matphase.images.volume import Volume
from matphase.prediction.files import Stored
from matphase.prediction.maps import MapKind
from matphase.support.text import times


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
        """Read a part, and of the files only what integers and slices ask for."""
        if not is_basic(index):
            return np.asarray(self)[index]
        parts = completed(index, self.shape, self._kind.name)
        if self._kind.per is None:
            return self._read(self._volumes[0], parts)
        which, *inside = parts
        if not isinstance(which, slice):
            return self._read(self._volumes[which], inside)
        if not self._volumes[which]:
            return self._read(self._volumes[0], inside)[np.newaxis][:0]
        return np.stack([self._read(one, inside) for one in self._volumes[which]])

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
        return f"{self._kind.name} {times(self.shape)}, {self.dtype}, on disk"

    def _read(self, volume: Volume, index: Sequence[int | slice]) -> Any:
        """Read a part of one file; a scalar where no axis is left."""
        return self._converted(np.asarray(volume[tuple(index)]), volume)[()]

    def _converted(self, part: NDArray[Any], volume: Volume) -> NDArray[Any]:
        if self._values:
            return part.astype(self.dtype, copy=False)
        return self._kind.from_stored(part, self._phases, volume.name)
