"""How much memory a block takes, and from that how large blocks are.

What counts towards a limit is what prediction adds to what is loaded
anyway: not the interpreter with its libraries and the weights, not the volume or the result where
these are in memory, not the part of a file that its format makes us decode (a chunk, a page), and
not the sample of a volume on which its grey scale is measured before the first block (200 MB), and
not the slabs in which the files are written after the last (256 MB).
`benchmarks/memory.py` measures it.
"""

from matphase.images.tiles import MOST_SLICES, Shape, Tile, plan_tiles
from matphase.method.model import Model

FEWEST_BLOCKS = 16
"""Of a stack with as many slices, so that several workers have something to do. Not a matter of
how many there are: a run goes on with the blocks that it began with, by whatever workers."""


def plan(model: Model, shape: Shape, samples: int, memory: int) -> list[Tile]:
    """The blocks in which a volume is predicted: whole slices where they fit, else rectangles.

    Args:
        model: what predicts.
        shape: (z, y, x) of the volume.
        samples: that are kept.
        memory: bytes that a block may take.

    Raises:
        InputError: no block fits; it names what would.
    """
    most = max(1, min(MOST_SLICES, shape[0] // FEWEST_BLOCKS))
    return plan_tiles(
        shape,
        model.halo,
        model.pass_bytes,
        model.pixel_bytes(samples),
        memory,
        name=f"the model {model.settings.model}",
        most_slices=most,
    )
