"""Square patches around pixels, gathered for a whole batch at once."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class PatchGrid:
    """All h x h patches of a stack of maps, mirrored at the border.

    The stack is padded once; a batch of patches is one indexing operation on a view of it.

    Args:
        maps: (n, height, width), any dtype.
        h: side of a patch in pixels, odd.
    """

    def __init__(self, maps: NDArray[np.generic], h: int) -> None:
        margin = h // 2
        self._h = h
        self._padded = torch.from_numpy(
            np.pad(maps, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
        )
        self._windows = self._padded.unfold(1, h, 1).unfold(2, h, 1)

    def gather(self, slices: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Patches (n, h, h) centred on the pixels (slices[i], rows[i], columns[i])."""
        return self._windows[slices, rows, columns]

    def strip(self, number: int, first: int, last: int) -> Tensor:
        """What the patches around all pixels of rows `first` to `last` - 1 of a map lie in.

        Returns:
            (1, last - first + h - 1, width + h - 1); the patch around (row, column) begins at
            (row - first, column).
        """
        return self._padded[number : number + 1, first : last + self._h - 1]
