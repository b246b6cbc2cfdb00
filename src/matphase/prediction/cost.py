"""What predicting a volume will take, before it is done."""

import time
from dataclasses import dataclass, replace

from matphase.images.tiles import Shape, Tile, tiles
from matphase.images.volume import Volume
from matphase.method.model import Model
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


def estimate(model: Model, volume: Volume, task: Task, outputs: Outputs) -> Estimate:
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
    trial = min(_trial(model, volume), thin, key=lambda tile: tile.pixels_seen)
    seconds = _timed(model, volume, trial, task)
    if seconds < QUICK:
        seconds = _timed(model, volume, trial, task)
    looked_at = sum(block.pixels_seen for block in blocks)
    return Estimate(
        blocks=len(blocks),
        block=blocks[0].shape,
        memory=task.memory,
        disk=disk_bytes(model, volume.shape, outputs),
        seconds=seconds * looked_at / trial.pixels_seen,
    )


def _trial(model: Model, volume: Volume) -> Tile:
    """A block in the middle; the slice in the middle where the networks look at whole ones."""
    halo = model.halo
    shape = shape_of(volume)
    if halo is None:
        cut = tiles(shape, (1, *shape[1:]))
    else:
        side = -(-TRIAL_SIDE // halo.multiple) * halo.multiple
        cut = tiles(shape, (1, side, side), halo)
    z, rows, columns = (
        -(-length // piece) for length, piece in zip(shape, cut[0].shape, strict=True)
    )
    return cut[(z // 2 * rows + rows // 2) * columns + columns // 2]


def _timed(model: Model, volume: Volume, block: Tile, task: Task) -> float:
    began = time.monotonic()
    block_maps(model, block_images(model, volume, block, task), block, task)
    return time.monotonic() - began
