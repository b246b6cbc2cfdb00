"""Tiles: parts of a volume that are processed one at a time.

A tile gives the result for its core: a rectangle of one or more slices. Its networks see its
window: the core with a halo, on all three axes. The cores cover the volume exactly once. Windows
begin and end at multiples of the pooling of the networks, or at the border of the slice, so that
pooling combines the same pixels as in the whole slice.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
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

MAX_SLICES = 16
"""Maximum number of slices of a tile of whole slices. Larger tiles are not faster, and more work is
lost if the process is killed."""
DEPTHS = (8, 4, 2, 1)
"""Numbers of slices to try for tiles that are parts of slices, best first. Files often have chunks
of several slices, each decoded for every tile that needs one of them, so thin tiles are slow."""


@dataclass(frozen=True)
class Tile:
    """A part of a volume that is processed by itself.

    Attributes:
        number: from 0, in the order of z, then y, then x.
        core: (z, rows, columns) of the volume for which the tile gives the result.
        window: (z, rows, columns) of the volume that the networks see, including the core.
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
        """Rows and columns of the core, relative to the window."""
        rows, columns = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core[1:], self.window[1:], strict=True)
        )
        return rows, columns

    @property
    def shape(self) -> Shape:
        """Shape (z, y, x) of the core, in voxels."""
        z, rows, columns = (part.stop - part.start for part in self.core)
        return z, rows, columns

    @property
    def voxels(self) -> int:
        """Number of voxels of the core."""
        return math.prod(self.shape)

    @property
    def pixels_seen(self) -> int:
        """Number of pixels of the window in all slices of the core, which determines the work."""
        rows, columns = (side.stop - side.start for side in self.window[1:])
        return int(self.shape[0] * rows * columns)


@dataclass(frozen=True)
class Halo:
    """Surroundings of a core that a tile has to see.

    Attributes:
        radius: pixels in y and x; None: the whole slice.
        multiple: windows begin and end at multiples of this number of pixels, or at the border.
        slices: number of slices above and below.
    """

    radius: int | None = 0
    multiple: int = 1
    slices: int = 0


@dataclass(frozen=True, eq=False)
class TileImages:
    """What networks see of a tile.

    Attributes:
        images: (dz, slices * channels, dy, dx) float32 in [-1, 1]: each slice of the core in the
            middle of its neighbours, the channels of a slice side by side; 0 outside of the sample.
        outside: (dz, dy, dx) pixels of the slices of the core that are outside of the sample;
            None if there are none.
        own_outside: the same for the core on the volume's own grid, if the images are resampled.
    """

    images: NDArray[np.float32]
    outside: NDArray[np.bool_] | None = None
    own_outside: NDArray[np.bool_] | None = None

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All of its arrays."""
        masks = (self.outside, self.own_outside)
        return (self.images, *(one for one in masks if one is not None))


def tiles(shape: Shape, core: Shape, halo: Halo = Halo()) -> list[Tile]:
    """Cut a volume into tiles.

    Args:
        shape: (z, y, x) of the volume.
        core: (z, y, x) of the cores; the last ones along each axis may be smaller.
        halo: halo around each core, limited by the volume.

    Raises:
        ValueError: a core is empty, or cores would not begin at multiples of `halo.multiple`, or
            they would be parts of slices where the halo is the whole slice.
    """
    if halo.radius is None and core[1:] < shape[1:]:
        raise ValueError(f"cores of {core} are parts of slices of {shape}, which are seen whole")
    radius = halo.radius or 0
    for length, side in zip(core[1:], shape[1:], strict=True):
        if length < side and length % halo.multiple:
            raise ValueError(
                f"tiles of {length} px do not begin at multiples of {halo.multiple} px"
            )
    if min(core) < 1 or radius < 0:
        raise ValueError(f"there is no tile with core {core} and {halo}")
    depths = [(one, _window(one, shape[0], halo.slices, 1)) for one in _pieces(shape[0], core[0])]
    rows, columns = (
        _with_windows(_pieces(side, length), side, radius, halo.multiple)
        for side, length in zip(shape[1:], core[1:], strict=True)
    )
    return [
        Tile(number, (z[0], y[0], x[0]), (z[1], y[1], x[1]))
        for number, (z, y, x) in enumerate(product(depths, rows, columns))
    ]


def tile_of(core: Window, shape: Shape, halo: Halo) -> Tile:
    """Tile with any core, by itself.

    Args:
        core: (z, rows, columns) of the volume.
        shape: (z, y, x) of the volume.
        halo: halo around the core, limited by the volume.
    """
    z = _window(core[0], shape[0], halo.slices, 1)
    if halo.radius is None:
        return Tile(0, core, (z, slice(0, shape[1]), slice(0, shape[2])))
    rows, columns = (
        _window(part, side, halo.radius, halo.multiple)
        for part, side in zip(core[1:], shape[1:], strict=True)
    )
    return Tile(0, core, (z, rows, columns))


def read_tile(volume: Volume, ends: NDArray[np.float64], tile: Tile, slices: int) -> TileImages:
    """Read the network input of one tile: scaled grey values with neighbouring slices.

    Pixels outside of the sample are 0, the middle of the grey scale: what networks see beyond the
    border of a slice, where they pad with zeros. So no grey value outside has any influence.

    Args:
        volume: grey values; NaN is outside of the sample.
        ends: (n_slices, channels, 2) grey values that map to -1 and 1
            (`IntensityScale.of_slices`).
        tile: tile whose window is read; beyond the ends of the volume its last slice is repeated.
        slices: number of slices that a network sees at once, odd.

    Raises:
        InputError: the slices cannot be used.
        ValueError: the tile has too small a halo along z.
    """
    core, window = tile.core[0], tile.window[0]
    seen = np.arange(core.start, core.stop)[:, None] + np.arange(slices) - slices // 2
    seen = np.clip(seen, 0, volume.n_slices - 1) - window.start
    if seen.min() < 0 or seen.max() >= window.stop - window.start:
        raise ValueError(f"{tile} has no halo for {slices} slices")
    stack = checked_block(volume, *tile.window)
    outside = np.isnan(stack) if volume.dtype.kind == "f" else None
    images = np.empty((len(stack), ends.shape[1], *stack.shape[1:]), np.float32)
    for image, plane, scales in zip(images, stack, ends[window], strict=True):
        for channel, (low, high) in zip(image, scales, strict=True):
            channel[...] = scaled(plane, low, high)
    if outside is not None:
        images[np.broadcast_to(outside[:, np.newaxis], images.shape)] = 0
        own = outside[core.start - window.start : core.stop - window.start]
        outside = own if own.any() else None
    if slices > 1:
        images = images[seen].reshape(len(seen), -1, *stack.shape[1:])
    return TileImages(images, outside)


def plan_tiles(
    shape: Shape,
    halo: Halo,
    pass_bytes: Callable[[int, int], int],
    pixel_bytes: int,
    memory: int,
    *,
    name: str,
    remedy: str = "raise the memory limit to",
    max_slices: int = MAX_SLICES,
) -> list[Tile]:
    """Cut a volume into tiles that fit into memory: whole slices if they fit, else rectangles.

    Args:
        shape: (z, y, x) of the volume.
        halo: halo that the networks need.
        pass_bytes: memory of one pass over a slice of (height, width).
        pixel_bytes: further memory per pixel of a window and slice of the tile.
        memory: bytes that a tile may take.
        name: name of the computation for the message.
        remedy: what the message asks the user to do; an amount of memory follows.
        max_slices: maximum number of slices of a tile of whole slices.

    Raises:
        InputError: not even the smallest tile fits; the message says how much memory is needed.
    """
    z, height, width = shape
    each = pixel_bytes * height * width
    once = pass_bytes(height, width)
    if once + each <= memory:
        # half of the memory for passes, which are faster in batches
        depth = min(memory // 2, memory - once) // each
        whole = Halo(slices=halo.slices)
        return tiles(shape, (max(1, min(depth, max_slices, z)), height, width), whole)
    if halo.radius is None:
        raise InputError(
            f"{name} needs whole slices, and one of {height} x {width} px takes "
            f"{amount_text(once + each)} of memory, but the limit is {amount_text(memory)}; "
            f"{remedy} {amount_text(once + each)}"
        )

    def needed(shape: Shape) -> int:
        depth, rows, columns = shape
        return pass_bytes(rows, columns) + depth * rows * columns * pixel_bytes

    core = largest_core(shape, halo, lambda shape: needed(shape) <= memory)
    if core is None:
        rows, columns = (window_side(least_core(halo), side, halo) for side in (height, width))
        least = amount_text(needed((1, rows, columns)))
        raise InputError(
            f"{name}: the smallest tile of a slice of {height} x {width} px takes {least} of "
            f"memory, but the limit is {amount_text(memory)}; {remedy} {least}"
        )
    return tiles(shape, core, halo)


def window_side(core: int, side: int, halo: Halo) -> int:
    """Maximum side of the window of a core with side `core`, in pixels."""
    if core >= side:
        return side
    # at the border of the slice, a window may begin up to a multiple earlier
    length = core + 2 * _rounded_up(halo.radius or 0, halo.multiple) + side % halo.multiple
    return min(side, length)


def least_core(halo: Halo) -> int:
    """Minimum side of the cores of rectangles: that of the halo, on the grid of the networks.

    The window then has at most nine times the pixels of its core. Smaller cores would take far more
    time: with a halo of 96 px, cores of 32 px have windows of 49 times their pixels.
    """
    return max(halo.multiple, _rounded_up(halo.radius or 0, halo.multiple))


def _rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def largest_core(shape: Shape, halo: Halo, fits: Callable[[Shape], bool]) -> Shape | None:
    """Shape of the largest cores whose windows fit: parts of a few slices, not below `least_core`.

    Args:
        shape: (z, y, x) of the volume.
        halo: halo of the tiles.
        fits: whether a window of shape (z, y, x) fits; if it does, smaller ones fit, too.

    Returns:
        (z, y, x), or None if not even the smallest fits.
    """
    z, height, width = shape

    def too_large(cells: int, depth: int) -> bool:
        rows, columns = (window_side(cells * halo.multiple, side, halo) for side in (height, width))
        return not fits((depth, rows, columns))

    least = least_core(halo) // halo.multiple
    sizes = range(least, max(least, -(-max(height, width) // halo.multiple)) + 1)
    fitting = 0
    for depth in DEPTHS:
        fitting = bisect_right(sizes, False, key=lambda cells: too_large(cells, depth))
        # the window then has at most four times the pixels of its core
        if fitting and sizes[fitting - 1] * halo.multiple >= 2 * (halo.radius or 0):
            break
    if fitting == 0:
        return None
    length = sizes[fitting - 1] * halo.multiple
    return min(z, depth), _even(height, length, halo.multiple), _even(width, length, halo.multiple)


def _even(side: int, length: int, multiple: int) -> int:
    """Length of equal pieces, as few as pieces of `length`, so that the last one is not thin."""
    return _rounded_up(-(-side // -(-side // length)), multiple)


def _pieces(side: int, length: int) -> list[slice]:
    return [slice(first, min(first + length, side)) for first in range(0, side, length)]


def _with_windows(
    cores: list[slice], side: int, halo: int, multiple: int
) -> list[tuple[slice, slice]]:
    """Cores and windows of tiles along y or x.

    Windows have two lengths, that of the first one and that of one between others; at the border
    they may begin up to a multiple earlier. Libraries prepare each shape of input, and keep what
    they prepared (`matphase.networks.batches`).
    """
    windows = [_window(one, side, halo, multiple) for one in cores]
    if halo == 0:  # windows are cores, of one length but for the last one
        return list(zip(cores, windows, strict=True))
    edge = windows[0].stop
    between = cores[0].stop + 2 * _rounded_up(halo, multiple)
    for number, window in enumerate(windows):
        length = edge if window.stop - window.start <= edge else between
        if window.start == 0:
            windows[number] = slice(0, min(side, length))
        elif window.stop == side:
            windows[number] = slice(max(0, side - length) // multiple * multiple, side)
    return list(zip(cores, windows, strict=True))


def _window(core: slice, side: int, halo: int, multiple: int) -> slice:
    first = max(0, core.start - halo) // multiple * multiple
    return slice(first, min(_rounded_up(core.stop + halo, multiple), side))
