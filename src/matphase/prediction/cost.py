"""Estimate of the memory, disk and time of a prediction."""

import time
from dataclasses import dataclass, replace

from matphase.images.tiles import Shape, Tile, tiles
from matphase.images.volume import Volume
from matphase.method.model import Model
from matphase.prediction.blocks import (
    Task,
    block_images,
    block_maps,
    blocks_of,
    map_names,
)
from matphase.prediction.maps import written_layers
from matphase.prediction.run import disk_bytes
from matphase.support.system import resident_bytes

TRIAL_SIDE = 96
"""Rows and columns of the block whose prediction is timed."""
ENDS = 300 * 10**6
"""Bytes that measuring the grey scale and writing the files take, if the limit is smaller."""
QUICK = 5.0
"""Duration in seconds below which a trial is repeated, since the first one includes start-up."""


@dataclass(frozen=True)
class Estimate:
    """Memory, disk and time that a prediction will take.

    Attributes:
        blocks: number of blocks.
        block: (z, y, x) of the first block, in voxels.
        memory: bytes of the whole process.
        program: bytes of these that Python, its libraries and the model take.
        disk: bytes while the prediction is made, in the format that takes the most.
        seconds: time on this machine with one process.
    """

    blocks: int
    block: Shape
    memory: int
    program: int
    disk: int
    seconds: float


def estimate(model: Model, volume: Volume, task: Task) -> Estimate:
    """Estimate the cost by predicting a small part from the middle of the volume.

    The time is proportional to the number of pixels that the networks see, including halos.

    Raises:
        InputError: no block fits into the memory.
    """
    blocks = blocks_of(model, volume, task)
    # a planned block fits into the memory, and may be smaller than the trial
    middle = blocks[len(blocks) // 2]
    first = middle.core[0].start
    thin = replace(middle, core=(slice(first, first + 1), *middle.core[1:]))
    trial = min(_trial(model, volume), thin, key=lambda tile: tile.pixels_seen)
    program = resident_bytes()
    seconds = _timed(model, volume, trial, task)
    if seconds < QUICK:
        seconds = _timed(model, volume, trial, task)
    names = map_names(model, task, probabilities=False, in_memory=False)
    layers = written_layers(names, model.phases, task.kept)
    looked_at = sum(block.pixels_seen for block in blocks)
    return Estimate(
        blocks=len(blocks),
        block=blocks[0].shape,
        memory=program + max(task.memory, ENDS),
        program=program,
        disk=disk_bytes(layers, model, volume.shape, pyramid=False),
        seconds=seconds * looked_at / trial.pixels_seen,
    )


def _trial(model: Model, volume: Volume) -> Tile:
    """Block in the middle of the volume; a whole slice if the networks need whole slices."""
    halo = model.halo
    shape = volume.stack_shape
    if halo.radius is None:
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
