"""The maps of one block: the stages joined up (paper section 3.4, figure 4).

A function of the model, the volume, the block and a task, all of which can be pickled; so blocks
may be computed in any order, anywhere, and again.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matphase.images.grey_scale import IntensityScale
from matphase.images.neighbours import check_neighbours
from matphase.images.tiles import Shape, Tile, read_tile
from matphase.images.volume import Volume
from matphase.method.model import Maps, Model
from matphase.method.ugsm import DEFAULT_MEMORY
from matphase.prediction.plan import plan
from matphase.support.errors import InputError

Intensity = Literal["model", "volume"]


@dataclass(frozen=True)
class Task:
    """What is asked of a model for all blocks of a volume alike.

    Attributes:
        samples: stochastic passes T.
        seed: names the dropout masks.
        ends: (n_slices, 2) the grey values that map to -1 and 1 in each slice.
        memory: bytes that a block may take.
        keep_samples: give the labels of each sample.
        mutual_information: give it.
    """

    samples: int
    seed: int
    ends: NDArray[np.float64]
    memory: int
    keep_samples: bool = False
    mutual_information: bool = False

    @property
    def kept(self) -> int:
        """Number of samples whose labels are given."""
        return self.samples if self.keep_samples else 0


def task_of(
    model: Model,
    volume: Volume,
    *,
    samples: int | None = None,
    seed: int = 0,
    intensity: Intensity = "model",
    memory: int = DEFAULT_MEMORY,
    mutual_information: bool = False,
    keep_samples: bool = False,
) -> Task:
    """Check what is asked, and measure the grey scale of the volume once; see `MatPhase.predict`.

    Raises:
        InputError: the volume cannot be used, its grey scale differs from training's, or the
            networks see several slices and those of the volume are no neighbours.
    """
    if samples is not None and samples < 1:
        raise InputError(f"samples is {samples}; give at least one stochastic pass")
    if intensity not in ("model", "volume"):
        raise InputError(f"intensity is {intensity!r}; give 'model' or 'volume'")
    number = samples or model.settings.ugsm.samples
    if keep_samples and (number < 2 or not model.segmenter.draws_samples):
        raise InputError(
            f"{model.settings.model} with T = {number} has no samples to keep; it takes "
            "a model with Monte-Carlo dropout, and two samples or more"
        )
    check_neighbours(volume, range(volume.n_slices), model.settings.slices)
    own = replace(IntensityScale.of(volume), per_slice=model.scale.per_slice)
    if intensity == "model":
        model.scale.check_fits(own, volume.name)
    scale = model.scale if intensity == "model" else own
    ends = scale.of_slices(volume)
    return Task(number, seed, ends, memory, keep_samples, mutual_information)


def blocks_of(model: Model, volume: Volume, task: Task) -> list[Tile]:
    """The blocks in which the volume is predicted within `task.memory`.

    Raises:
        InputError: no block fits.
    """
    return plan(model, shape_of(volume), task.kept, task.memory)


def shape_of(volume: Volume) -> Shape:
    """(z, y, x) of a volume; z is 1 for a slice."""
    height, width = volume.shape[-2:]
    return volume.n_slices, height, width


def block_images(model: Model, volume: Volume, block: Tile, task: Task) -> NDArray[np.float32]:
    """What the networks see of the volume for one block, as `read_tile` gives it.

    Raises:
        InputError: a pixel in its window is NaN or infinite.
        FormatError: the volume cannot be read there.
    """
    return read_tile(volume, task.ends, block, model.settings.slices)


def block_maps(model: Model, images: NDArray[np.float32], block: Tile, task: Task) -> Maps:
    """Predict the core of one block from its images (`block_images`)."""
    rows, columns = images.shape[-2:]
    left = task.memory - len(images) * rows * columns * model.pixel_bytes(task.kept)
    maps = model.answer(
        images,
        samples=task.samples,
        seed=task.seed,
        memory=left,
        mutual_information=task.mutual_information,
        keep_samples=task.keep_samples,
        origin=block.origin,
        inner=block.inner,
    )
    for name in ("labels", "global_labels", "samples"):
        if name in maps:
            maps[name] = model.phases.decode(maps[name])
    return maps
