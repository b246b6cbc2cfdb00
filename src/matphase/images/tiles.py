"""Tiles: which voxels are answered for at a time, and which have to be looked at for that.

A tile answers for its core: several slices, and a rectangle of each. It looks at its window: the
core with a halo around it, on all three axes. Cores cover the volume once. Windows begin and end at
multiples of what the networks pool, or at the border of the slice, so that pooling meets the same
pixels as on the whole.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.grey_scale import scaled
from matphase.images.volume import Volume, checked_block
from matphase.support.errors import InputError
from matphase.support.memory import amount_text

Shape = tuple[int, int, int]
Window = tuple[slice, slice, slice]
Maps = dict[str, NDArray[Any]]
"""Maps of a tile or a volume by name: (z, y, x), or (phases or samples, z, y, x); phases are
indices."""

MOST_SLICES = 16
"""Of a tile of whole slices: more of them would gain nothing, and be lost to a kill."""
DEPTHS = (8, 4, 2, 1)
"""Slices of tiles that are rectangles. Files are often stored in chunks several slices deep, which
are decoded for each tile that has one of the slices; so thin tiles come last."""


@dataclass(frozen=True)
class Tile:
    """A part of a volume that is looked at by itself.

    Attributes:
        number: from 0, in the order of z, then y, then x.
        core: (z, rows, columns) of the volume that it answers for.
        window: (z, rows, columns) of the volume that it looks at, core included.
    """

    number: int
    core: Window
    window: Window

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the slice at which the window begins."""
        return self.window[1].start, self.window[2].start

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the core, counted from the window's first."""
        rows, columns = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core[1:], self.window[1:], strict=True)
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

    @property
    def pixels_seen(self) -> int:
        """Pixels of the window in all slices of the core: what the work grows with."""
        rows, columns = (side.stop - side.start for side in self.window[1:])
        return int(self.shape[0] * rows * columns)


@dataclass(frozen=True)
class Halo:
    """What a tile has to see around its core.

    Attributes:
        radius: pixels in y and x.
        multiple: windows begin and end at multiples of it, in pixels, or at the border.
        slices: above and below.
    """

    radius: int = 0
    multiple: int = 1
    slices: int = 0


def tiles(shape: Shape, core: Shape, halo: Halo = Halo()) -> list[Tile]:
    """Cut a volume into tiles.

    Args:
        shape: (z, y, x) of the volume.
        core: (z, y, x) of the cores; those at the far ends are as large as what is left.
        halo: around each core, unless the volume ends.

    Raises:
        ValueError: a core is empty, or cores would not begin at multiples.
    """
    for length, side in zip(core[1:], shape[1:], strict=True):
        if length < side and length % halo.multiple:
            raise ValueError(
                f"tiles of {length} px do not begin at multiples of {halo.multiple} px"
            )
    if min(core) < 1 or halo.radius < 0:
        raise ValueError(f"there is no tile of {core} with a halo of {halo}")
    z, rows, columns = (_pieces(side, length) for side, length in zip(shape, core, strict=True))
    halos = ((halo.slices, 1), (halo.radius, halo.multiple), (halo.radius, halo.multiple))
    found = []
    for number, part in enumerate(product(z, rows, columns)):
        window = tuple(
            _window(one, side, *beyond)
            for one, side, beyond in zip(part, shape, halos, strict=True)
        )
        found.append(Tile(number, part, (window[0], window[1], window[2])))
    return found


def read_tile(
    volume: Volume, ends: NDArray[np.float64], tile: Tile, slices: int
) -> NDArray[np.float32]:
    """What networks see of a volume for one tile: scaled grey values with neighbouring slices.

    Args:
        volume: grey values.
        ends: (n_slices, 2) what maps to -1 and 1 in each slice (`IntensityScale.of_slices`).
        tile: whose window is read; above and below the volume its last slices are repeated.
        slices: that a network sees at once, odd.

    Returns:
        (dz, slices, dy, dx), a stack of `slices` for each slice of the core.

    Raises:
        InputError: the slices cannot be used.
    """
    seen = np.arange(tile.core[0].start, tile.core[0].stop)[:, None]
    seen = np.clip(seen + np.arange(slices) - slices // 2, 0, volume.n_slices - 1)
    first, last = int(seen.min()), int(seen.max()) + 1
    stack = checked_block(volume, slice(first, last), *tile.window[1:])
    for plane, (low, high) in zip(stack, ends[first:last], strict=True):
        plane[...] = scaled(plane, low, high)
    return stack[:, np.newaxis] if slices == 1 else stack[seen - first]


def plan_tiles(
    shape: Shape,
    halo: Halo | None,
    pass_bytes: Callable[[int, int], int],
    pixel_bytes: int,
    memory: int,
    *,
    name: str,
    most_slices: int = MOST_SLICES,
) -> list[Tile]:
    """Cut a volume into tiles that fit into memory: whole slices where they do, else rectangles.

    Args:
        shape: (z, y, x) of the volume.
        halo: that networks need; None where they look at whole slices.
        pass_bytes: what one pass over a slice of (height, width) takes.
        pixel_bytes: what else a pixel of a window takes in each of the tile's slices.
        memory: bytes that a tile may take.
        name: of what is computed, for the message.
        most_slices: of a tile of whole slices.

    Raises:
        InputError: not even the smallest tile fits; it says what would.
    """
    z, height, width = shape
    each = pixel_bytes * height * width
    once = pass_bytes(height, width)
    if once + each <= memory:
        # half of the memory for passes, which are quicker in batches
        depth = min(memory // 2, memory - once) // each
        return tiles(shape, (max(1, min(depth, most_slices, z)), height, width))
    if halo is None:
        raise InputError(
            f"{name} looks at whole slices, and one of {height} x {width} px takes "
            f"{amount_text(once + each)} of memory, but the limit is {amount_text(memory)}; raise "
            f"the memory limit to {amount_text(once + each)}"
        )

    def needed(shape: Shape) -> int:
        depth, rows, columns = shape
        return pass_bytes(rows, columns) + depth * rows * columns * pixel_bytes

    core = largest_core(shape, halo, lambda shape: needed(shape) <= memory)
    if core is None:
        rows, columns = (window_side(halo.multiple, side, halo) for side in (height, width))
        least = amount_text(needed((1, rows, columns)))
        raise InputError(
            f"{name}: the smallest tile of a slice of {height} x {width} px takes {least} of "
            f"memory, but the limit is {amount_text(memory)}; raise the memory limit to {least}"
        )
    return tiles(shape, core, halo)


def window_side(core: int, side: int, halo: Halo) -> int:
    """The longest side that the window of a core of so many pixels can have."""
    if core >= side:
        return side
    return min(side, core + 2 * (-(-halo.radius // halo.multiple) * halo.multiple))


def largest_core(shape: Shape, halo: Halo, fits: Callable[[Shape], bool]) -> Shape | None:
    """The shape of the largest cores whose windows fit: parts of slices, few slices deep.

    Args:
        shape: (z, y, x) of the volume.
        halo: of the tiles.
        fits: whether windows of such a shape (z, y, x) fit; if one does, so do smaller ones.

    Returns:
        (z, y, x), or None where not even the smallest fits.
    """
    z, height, width = shape

    def too_large(cells: int, depth: int) -> bool:
        rows, columns = (window_side(cells * halo.multiple, side, halo) for side in (height, width))
        return not fits((depth, rows, columns))

    sizes = range(1, -(-max(height, width) // halo.multiple) + 1)
    cells = 0
    for depth in DEPTHS:
        cells = bisect_right(sizes, False, key=lambda cells: too_large(cells, depth))
        # a window then is at most four times its core, three parts of it halo
        if cells * halo.multiple >= 2 * halo.radius:
            break
    if cells == 0:
        return None
    length = cells * halo.multiple
    return min(z, depth), _even(height, length, halo.multiple), _even(width, length, halo.multiple)


def _even(side: int, length: int, multiple: int) -> int:
    """As few pieces as pieces of `length` would be, but of one length, which a sliver is not."""
    pieces = -(-side // length)
    return -(-side // (pieces * multiple)) * multiple


def _pieces(side: int, length: int) -> Iterator[slice]:
    return (slice(first, min(first + length, side)) for first in range(0, side, length))


def _window(core: slice, side: int, halo: int, multiple: int) -> slice:
    first = max(0, core.start - halo) // multiple * multiple
    last = -(-(core.stop + halo) // multiple) * multiple
    return slice(first, min(last, side))
