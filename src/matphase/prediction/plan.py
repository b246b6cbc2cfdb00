"""The memory that a block takes, and the size of the blocks that follows from it.

A limit counts what prediction adds to what is loaded anyway. It does not count the interpreter
with its libraries, the weights, a volume or a result in memory, the chunk or page of a file that
is decoded as a whole, the sample of a volume on which its grey scale is measured before the first
block (200 MB), or the slabs in which files are written after the last (256 MB).
`benchmarks/memory.py` measures it.
"""

from matphase.images.tiles import MOST_SLICES, Shape, Tile, plan_tiles
from matphase.method.model import Model

MIN_BLOCKS = 16
"""Of a stack with as many slices, so that several workers have something to do. It does not depend
on the number of workers: an interrupted run goes on with the same blocks, with any workers."""


def plan(model: Model, shape: Shape, samples: int, memory: int) -> list[Tile]:
    """The blocks in which a volume is predicted: whole slices where they fit, else rectangles.

    Args:
        model: that predicts.
        shape: (z, y, x) of the volume.
        samples: that are kept.
        memory: bytes that a block may take.

    Raises:
        InputError: no block fits; the message says how much memory is enough.
    """
    most = max(1, min(MOST_SLICES, shape[0] // MIN_BLOCKS))
    return plan_tiles(
        shape,
        model.halo,
        model.pass_bytes,
        model.pixel_bytes(samples),
        memory,
        name=f"the model {model.settings.model}",
        most_slices=most,
    )
