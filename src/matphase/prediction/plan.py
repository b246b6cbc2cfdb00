"""Size of the blocks of a prediction, which follows from the memory limit.

The limit counts what the prediction of a block adds. It does not count Python with its libraries,
the weights, volumes and results in memory, chunks or pages of files that have to be decoded whole,
the sample on which the grey scale is measured before the first block (200 MB), or the slabs in
which files are written after the last block (256 MB). `benchmarks/memory.py` measures it.
"""

from matphase.images.tiles import MAX_SLICES, Shape, Tile, plan_tiles
from matphase.method.model import Model

MIN_BLOCKS = 16
"""Minimum number of blocks of a stack with at least as many slices, so that several workers can
share the work. It does not depend on the number of workers, so that an interrupted run can continue
with any number of them."""


def plan(model: Model, shape: Shape, samples: int, memory: int) -> list[Tile]:
    """Cut a volume into blocks: whole slices if they fit into memory, else rectangles.

    Args:
        model: trained model.
        shape: (z, y, x) of the volume.
        samples: number of kept samples.
        memory: bytes that a block may take.

    Raises:
        InputError: no block fits; the message says how much memory is enough.
    """
    most = max(1, min(MAX_SLICES, shape[0] // MIN_BLOCKS))
    return plan_tiles(
        shape,
        model.halo,
        model.pass_bytes,
        model.pixel_bytes(samples),
        memory,
        name=f"the model {model.settings.model}",
        max_slices=most,
    )
