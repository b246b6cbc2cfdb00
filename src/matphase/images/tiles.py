"""Block arithmetic: which voxels a block answers for, and which it has to look at.

A block answers for its core: several slices, and a rectangle of each. It looks at its window: the
core with a halo around it. Cores tile the volume. Windows begin and end at multiples of what the
networks pool, or at the border of the slice, so that pooling meets the same pixels as on the whole.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Block:
    """A part of a volume that is predicted by itself.

    Attributes:
        number: from 0, in the order of z, then y, then x.
        core: (z, rows, columns) of the volume that it answers for.
        window: (rows, columns) of the volume that it looks at, core included.
    """

    number: int
    core: tuple[slice, slice, slice]
    window: tuple[slice, slice]

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the slice at which the window begins."""
        return self.window[0].start, self.window[1].start

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the core, counted from the window's first."""
        rows, columns = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core[1:], self.window, strict=True)
        )
        return rows, columns

    @property
    def shape(self) -> Shape:
        """Of the core, in voxels."""
        z, rows, columns = (part.stop - part.start for part in self.core)
        return z, rows, columns

    @property
    def voxels(self) -> int:
        """Of the core."""
        return math.prod(self.shape)


def tiles(shape: Shape, block: Shape, halo: int = 0, multiple: int = 1) -> list[Block]:
    """Cut a volume into blocks.

    Args:
        shape: (z, y, x) of the volume.
        block: (z, y, x) of the cores; those at the far ends are as large as what is left.
        halo: pixels that a window has at least around its core in y and x, unless the slice ends.
        multiple: windows begin and end at multiples of it, or at the border.

    Raises:
        ValueError: a block is empty, or its cores would not begin at multiples.
    """
    for length, side in zip(block[1:], shape[1:], strict=True):
        if length < side and length % multiple:
            raise ValueError(f"blocks of {length} px do not begin at multiples of {multiple} px")
    if min(block) < 1 or halo < 0:
        raise ValueError(f"there is no block of {block} with a halo of {halo}")
    z, rows, columns = (_pieces(side, length) for side, length in zip(shape, block, strict=True))
    return [
        Block(
            number,
            core,
            (
                _window(core[1], shape[1], halo, multiple),
                _window(core[2], shape[2], halo, multiple),
            ),
        )
        for number, core in enumerate(product(z, rows, columns))
    ]


def window_side(core: int, side: int, halo: int, multiple: int) -> int:
    """The longest side that the window of a core of so many pixels can have."""
    if core >= side:
        return side
    return min(side, core + 2 * (-(-halo // multiple) * multiple))


def _pieces(side: int, length: int) -> Iterator[slice]:
    return (slice(first, min(first + length, side)) for first in range(0, side, length))


def _window(core: slice, side: int, halo: int, multiple: int) -> slice:
    first = max(0, core.start - halo) // multiple * multiple
    last = -(-(core.stop + halo) // multiple) * multiple
    return slice(first, min(last, side))
