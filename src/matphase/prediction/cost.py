"""What predicting a volume will take, before it is done."""

import time
from dataclasses import dataclass, replace

from matphase.images.tiles import Block, Shape, tiles
from matphase.images.volume import Volume
from matphase.method.folder import Trained
from matphase.networks import zoo
from matphase.prediction.run import Outputs, disk_bytes
from matphase.prediction.task import Task, block_images, block_maps, blocks_of, shape_of

TRIAL_SIDE = 96
"""Rows and columns of the block that is predicted to see how long one takes."""
QUICK = 5.0
"""Seconds; a trial that took less is done again, since a first one also sets things up."""


@dataclass(frozen=True)
class Estimate:
    """What a prediction will take.

    Attributes:
        blocks: how many there are.
        block: (z, y, x) in voxels, of the first.
        memory: bytes that a block may take, besides what is loaded anyway.
        disk: bytes, while the prediction is made; afterwards at most half of it.
        seconds: on this machine, by one process.
    """

    blocks: int
    block: Shape
    memory: int
    disk: int
    seconds: float


def estimate(model: Trained, volume: Volume, task: Task, outputs: Outputs) -> Estimate:
    """Predict a small part from the middle of the volume, and conclude from it.

    Time is taken to go with the pixels that the networks look at, halos included.

    Raises:
        InputError: no block fits into the memory.
    """
    blocks = blocks_of(model, volume, task)
    # what is planned fits into the memory, and may be smaller still
    middle = blocks[len(blocks) // 2]
    first = middle.core[0].start
    thin = replace(middle, core=(slice(first, first + 1), *middle.core[1:]))
    trial = min(_trial(model, volume), thin, key=_pixels)
    seconds = _timed(model, volume, trial, task)
    if seconds < QUICK:
        seconds = _timed(model, volume, trial, task)
    looked_at = sum(_pixels(block) for block in blocks)
    return Estimate(
        blocks=len(blocks),
        block=blocks[0].shape,
        memory=task.memory,
        disk=disk_bytes(model, volume.shape, outputs),
        seconds=seconds * looked_at / _pixels(trial),
    )


def _trial(model: Trained, volume: Volume) -> Block:
    """A block in the middle; the slice in the middle where the networks look at whole ones."""
    reach = zoo.reach(model.ugsm, model.lcgar, model.settings)
    shape = shape_of(volume)
    if reach is None:
        cut = tiles(shape, (1, *shape[1:]))
    else:
        side = -(-TRIAL_SIDE // reach.multiple) * reach.multiple
        cut = tiles(shape, (1, side, side), reach.radius, reach.multiple)
    z, rows, columns = (
        -(-length // piece) for length, piece in zip(shape, cut[0].shape, strict=True)
    )
    return cut[(z // 2 * rows + rows // 2) * columns + columns // 2]


def _timed(model: Trained, volume: Volume, block: Block, task: Task) -> float:
    began = time.monotonic()
    block_maps(model, block_images(model, volume, block, task), block, task)
    return time.monotonic() - began


def _pixels(block: Block) -> int:
    """What the networks look at."""
    rows, columns = (side.stop - side.start for side in block.window)
    return int(block.shape[0] * rows * columns)
