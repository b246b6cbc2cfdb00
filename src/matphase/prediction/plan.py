"""The memory that a block takes, and the size of the blocks that follows from it.

A limit counts what prediction adds to what is loaded anyway. It does not count the interpreter
with its libraries, the weights, a volume or a result in memory, the chunk or page of a file that
is decoded as a whole, the sample of a volume on which its grey scale is measured before the first
block (200 MB), or the slabs in which files are written after the last (256 MB).
`benchmarks/memory.py` measures it.
"""

from bisect import bisect_right

from matphase.images.tiles import Block, Shape, tiles, window_side
from matphase.method.folder import Trained
from matphase.networks import zoo
from matphase.networks.reach import Reach
from matphase.support.errors import InputError

MOST_SLICES = 16
"""Of a block of whole slices: more would gain nothing, and be lost when the run is killed."""
FEWEST_BLOCKS = 16
"""Of a stack with as many slices, so that several workers have something to do. It does not depend
on the number of workers: an interrupted run goes on with the same blocks, with any workers."""
_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
DEPTHS = (8, 4, 2, 1)
"""Slices of blocks that are rectangles, in order of preference. Files are often stored in chunks
several slices deep, which are decoded for each block that has one of the slices; so thin blocks
come last."""


def array_bytes(model: Trained, samples: int) -> int:
    """The memory that the arrays of all stages take, per pixel of a window and slice.

    F, two softmaxes, and features twice (4 bytes each a phase); 4 bytes of each slice of an image;
    about 56 of codes, entropy, scores and positions; and for each sample that is kept twice its
    logits (2 bytes each), and a label.

    Args:
        model: with its phases, and the slices that its networks see.
        samples: that are kept.
    """
    n_phases = len(model.phases)
    return 56 + 4 * model.settings.slices + 20 * n_phases + samples * (4 * n_phases + 1)


def pass_bytes(model: Trained, height: int, width: int) -> int:
    """The memory that one pass of a network over one slice of a window takes at most.

    Args:
        model: with its networks. A patch classifier takes no more than it is allowed.
        height: of the window, in pixels.
        width: of the window, in pixels.
    """
    whole = [model.ugsm]
    if model.lcgar is not None and zoo.KINDS[model.settings.model].local == "local_unet":
        whole.append(model.lcgar)
    return max(zoo.activation_bytes(network, height, width) for network in whole)


def plan(model: Trained, shape: Shape, samples: int, memory: int) -> list[Block]:
    """The blocks in which a volume is predicted: whole slices where they fit, else rectangles.

    Args:
        model: that predicts.
        shape: (z, y, x) of the volume.
        samples: that are kept.
        memory: bytes that a block may take.

    Raises:
        InputError: no block fits; the message says how much memory is enough.
    """
    reach = zoo.reach(model.ugsm, model.lcgar, model.settings)
    z, height, width = shape
    each = array_bytes(model, samples) * height * width
    once = pass_bytes(model, height, width)
    if once + each <= memory:
        # half of the memory for passes, which are quicker in batches
        depth = min(memory // 2, memory - once) // each
        depth = max(1, min(depth, MOST_SLICES, z // FEWEST_BLOCKS))
        return tiles(shape, (depth, height, width))
    if reach is None:
        raise InputError(
            f"{model.settings.model} looks at whole slices, and one of {height} x {width} px takes "
            f"{amount_text(once + each)} of memory, but the limit is {amount_text(memory)}; raise "
            f"the memory limit to {amount_text(once + each)}"
        )
    return tiles(shape, _rectangles(model, shape, samples, memory, reach), *_halo(reach))


def _rectangles(model: Trained, shape: Shape, samples: int, memory: int, reach: Reach) -> Shape:
    """The shape of blocks that are parts of slices."""
    z, height, width = shape
    arrays = array_bytes(model, samples)
    halo, multiple = _halo(reach)

    def needed(cells: int, depth: int) -> int:
        rows, columns = (
            window_side(cells * multiple, side, halo, multiple) for side in (height, width)
        )
        return pass_bytes(model, rows, columns) + depth * rows * columns * arrays

    most = range(1, -(-max(height, width) // multiple) + 1)
    for depth in DEPTHS:
        cells = bisect_right(most, memory, key=lambda cells: needed(cells, depth))
        # a window then is at most four times its core, three parts of it halo
        if cells * multiple >= 2 * halo:
            break
    if cells == 0:
        least = needed(1, 1)
        raise InputError(
            f"predicting the smallest block of a slice of {height} x {width} px takes "
            f"{amount_text(least)} of memory, but the limit is {amount_text(memory)}; raise the "
            f"memory limit to {amount_text(least)}"
        )
    length = cells * multiple
    return min(z, depth), _even(height, length, multiple), _even(width, length, multiple)


def _halo(reach: Reach) -> tuple[int, int]:
    return reach.radius, reach.multiple


def _even(side: int, length: int, multiple: int) -> int:
    """The length that cuts `side` into equal pieces, as many as pieces of `length` would be."""
    pieces = -(-side // length)
    return -(-side // (pieces * multiple)) * multiple


def amount_text(amount: int) -> str:
    """An amount of memory as text, rounded up to two digits, so that it is enough as a limit."""
    digits = 10 ** max(0, len(str(amount)) - 2)
    rounded = -(-amount // digits) * digits
    unit, size = next((pair for pair in _UNITS if rounded >= pair[1]), _UNITS[-1])
    return f"{rounded / size:g}{unit}"
