"""Square patches around pixels, gathered for a whole batch at once."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matphase.support.scratch import Stack, WritableStack, as_array, room_for


class PatchGrid:
    """Grid of all h x h patches of a stack of maps, mirrored at the border.

    The stack is padded once; a batch of patches is then one indexing operation on a view of it.

    Args:
        maps: (n, height, width), any dtype.
        h: side of a patch in pixels, odd.
    """

    def __init__(self, maps: NDArray[np.generic], h: int) -> None:
        self._h = h
        self._padded: Stack = _mirrored(maps, h)

    @classmethod
    def on_disk(
        cls, planes: Iterable[NDArray[np.generic]], n: int, h: int, folder: Path | None
    ) -> "PatchGrid":
        """Make a grid of `n` maps (height, width) that come one by one; it is kept on disk."""
        grid = cls.__new__(cls)
        grid._h = h
        kept: WritableStack | None = None
        for number, plane in enumerate(planes):
            padded = _mirrored(plane[np.newaxis], h)[0]
            if kept is None:
                kept = room_for((n, *padded.shape), padded.dtype, folder)
            kept[number] = padded
        assert kept is not None, "there is at least one map"
        grid._padded = kept
        return grid

    def gather(self, slices: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Gather the patches (n, h, h) centred on the pixels (slices[i], rows[i], columns[i])."""
        maps = torch.from_numpy(as_array(self._padded))
        return maps.unfold(1, self._h, 1).unfold(2, self._h, 1)[slices, rows, columns]

    def strip(self, number: int, first: int, last: int) -> Tensor:
        """Strip of a map that contains the patches of all pixels in rows `first` to `last` - 1.

        Returns:
            (1, last - first + h - 1, width + h - 1), in which the patch around (row, column)
            begins at (row - first, column).
        """
        rows = slice(first, last + self._h - 1)
        return torch.from_numpy(self._padded[number, rows][np.newaxis])


def _mirrored(maps: NDArray[Any], h: int) -> NDArray[Any]:
    margin = h // 2
    return np.pad(maps, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
