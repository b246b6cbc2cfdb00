"""Stored values as the grey values that they stand for: white as zero, and palettes of greys."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.arrays import ArrayLike, chunks_of


def grey_ramp(palette: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Give the grey value of each index of a palette that is a ramp of greys, as ImageJ writes it.

    Args:
        palette: (3, n): red, green and blue of each index, of 8 or 16 bit.

    Returns:
        None for any other palette, whose indices are labels or the grey values themselves: one
        with colours, of fewer than 256 entries, or whose greys do not rise or fall all the way.
    """
    if palette.shape != (3, 256) or np.any(palette != palette[0]):
        return None
    greys = palette[0] >> 8 if palette.max() > 255 else palette[0]
    steps = np.diff(greys.astype(np.int64))
    if not (np.all(steps > 0) or np.all(steps < 0)):
        return None
    ramp: NDArray[np.uint8] = greys.astype(np.uint8)
    return ramp


def inverted(block: NDArray[Any], bits: int) -> NDArray[Any]:
    """Give unsigned values of `bits` bits that were stored with white as zero."""
    values: NDArray[Any] = ~block if block.dtype == bool else block.dtype.type(2**bits - 1) - block
    return values


def recoded(block: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Give the value that each index stands for."""
    recoded: NDArray[Any] = values[block]
    return recoded


@dataclass(frozen=True, eq=False)
class Recoded:
    """Array whose stored values stand for others, which a function gives, block by block."""

    array: ArrayLike
    recode: Callable[[NDArray[Any]], NDArray[Any]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as of an array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> Any:
        """Type of the values, which is that of the stored ones."""
        return self.array.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of a chunk; None where the array has none."""
        return chunks_of(self.array)

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block, given by one window per axis."""
        return self.recode(np.asarray(self.array[windows]))
