"""Prediction of one block: the stages of a model in order (paper section 3.4, figure 4).

The result depends only on the model, the volume, the block and a task, which can all be pickled.
Blocks can therefore be computed in any order, on any machine, and repeatedly.

Blocks are as large as the memory limit allows. The limit counts what the prediction of a block
adds. It does not count Python with its libraries, the weights, volumes and results in memory,
chunks or pages of files that have to be decoded whole, the sample on which the grey scale is
measured before the first block (200 MB), the slabs in which files are written after the last block
(256 MB), or the code that oneDNN compiles for each shape of input (some MB for each of a few
shapes). `benchmarks/memory.py` measures it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matphase.images.grey_checks import check_is_grey, warn_of_drift, warn_of_round_field
from matphase.images.grey_scale import GreySample
from matphase.images.neighbours import check_neighbours
from matphase.images.resample import Resampling, resampled, resampling_of
from matphase.images.tiles import (
    MAX_SLICES,
    Maps,
    Shape,
    Tile,
    TileImages,
    plan_tiles,
    read_tile,
)
from matphase.images.volume import Volume
from matphase.images.voxel_checks import warn_of_other_size
from matphase.method.model import Model
from matphase.method.passes import DEFAULT_MEMORY, Passes
from matphase.prediction.maps import KINDS, OUTSIDE, among
from matphase.prediction.resampling import (
    maps_brought_back,
    own_halo,
    own_pass_bytes,
    own_pixel_bytes,
)
from matphase.settings.bounds import MAX_SAMPLES
from matphase.support.errors import DivergedError, InputError
from matphase.support.seeds import checked_seed

Intensity = Literal["model", "volume"]

MIN_BLOCKS = 16
"""Minimum number of blocks of a stack with at least as many slices, so that several workers can
share the work. It does not depend on the number of workers, so that an interrupted run can continue
with any number of them."""


@dataclass(frozen=True, eq=False)
class Task:
    """What to predict, the same for all blocks of a volume.

    Attributes:
        samples: number of stochastic passes T.
        seed: random seed of the dropout masks.
        ends: (n_slices, channels, 2) grey values that map to -1 and 1 in each slice.
        memory: bytes that a block may take.
        keep_samples: also compute the labels of each sample.
        mutual_information: also compute the mutual information.
        resampling: how the volume is brought to the model's voxel size; None: it is not. `ends` are
            then those of the resampled slices.
        tta: average over flips and quarter turns.
    """

    samples: int
    seed: int
    ends: NDArray[np.float64]
    memory: int
    keep_samples: bool = False
    mutual_information: bool = False
    resampling: Resampling | None = None
    tta: bool = False

    @property
    def kept(self) -> int:
        """Number of samples whose labels are kept."""
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
    resample: bool = False,
    tta: bool | None = None,
) -> Task:
    """Check the arguments of `MatPhase.predict`, and measure the grey scale of the volume.

    Raises:
        InputError: the volume cannot be used, it seems to hold labels, its grey scale differs from
            training's, or the networks see several slices and those of the volume are not
            consecutive.
    """
    if samples is not None and samples < 1:
        raise InputError(f"got {samples} samples; give at least one (samples=)")
    if intensity not in ("model", "volume"):
        raise InputError(f"intensity is {intensity!r}; give 'model' or 'volume'")
    if samples is not None and samples > MAX_SAMPLES:
        raise InputError(f"got {samples} samples; give at most {MAX_SAMPLES} (samples=)")
    seed = checked_seed(seed)
    number = samples or model.settings.ugsm.samples
    if keep_samples and (number < 2 or not model.segmenter.draws_samples):
        raise InputError(
            f"{model.settings.model} with samples={number} has no samples to keep; use a model "
            "with Monte-Carlo dropout, such as that of preset best, and two samples or more"
        )
    sample = GreySample.of(volume)
    check_is_grey(sample)
    warn_of_round_field(sample, volume)
    resampling = None
    if resample:
        resampling = resampling_of(model.record, volume, slices=model.settings.slices)
    else:
        warn_of_other_size(model.record, volume, slices=model.settings.slices)
    if resampling is not None:
        volume = resampled(volume, resampling.factors)
        sample = GreySample.of(volume)
    check_neighbours(volume, range(volume.n_slices), model.settings.slices)
    known = model.scale if intensity == "model" else replace(model.scale, anew=True)
    scale = known.of_another(sample)
    warn_of_drift(sample, volume, scale)
    ends = scale.of_slices(volume)
    turned = model.settings.ugsm.tta if tta is None else tta
    return Task(number, seed, ends, memory, keep_samples, mutual_information, resampling, turned)


def map_names(model: Model, task: Task, *, probabilities: bool, in_memory: bool) -> frozenset[str]:
    """Names of the maps that a prediction keeps (`matphase.prediction.maps.KINDS`).

    Args:
        model: trained model.
        task: what to predict.
        probabilities: keep the probabilities of the phases.
        in_memory: also keep the maps that are never written to files.
    """
    wanted = {
        "labels": True,
        "global_labels": True,
        "entropy": True,
        "idk": True,
        "trusted": model.calibrator.guarantee is not None,
        "deferred": model.defers,
        "mutual_information": task.mutual_information,
        "probabilities": probabilities,
        "samples": task.keep_samples,
        "idk_score": in_memory,
        "global_probabilities": in_memory and probabilities,
    }
    return frozenset(name for name, kept in wanted.items() if kept)


def blocks_of(model: Model, volume: Volume, task: Task) -> list[Tile]:
    """Blocks of a volume, each of which is predicted within `task.memory`.

    Raises:
        InputError: no block fits.
    """
    return plan(model, volume.stack_shape, task.kept, task.memory, task.resampling)


def plan(
    model: Model,
    shape: Shape,
    samples: int,
    memory: int,
    resampling: Resampling | None = None,
) -> list[Tile]:
    """Cut a volume into blocks: whole slices if they fit into memory, else rectangles.

    Args:
        model: trained model.
        shape: (z, y, x) of the volume.
        samples: number of kept samples.
        memory: bytes that a block may take.
        resampling: how the volume is brought to the model's voxel size; None: it is not.

    Raises:
        InputError: no block fits; the message says how much memory is enough.
    """
    most = max(1, min(MAX_SLICES, shape[0] // MIN_BLOCKS))
    halo = model.halo
    pass_bytes: Callable[[int, int], int] = model.pass_bytes
    pixel_bytes = model.pixel_bytes(samples)
    if resampling is not None:
        halo = own_halo(halo, resampling.factors)
        pass_bytes = own_pass_bytes(pass_bytes, resampling.factors)
        pixel_bytes = own_pixel_bytes(pixel_bytes, len(model.phases), samples, resampling.factors)
    return plan_tiles(
        shape,
        halo,
        pass_bytes,
        pixel_bytes,
        memory,
        name=f"the model {model.settings.model}",
        max_slices=most,
    )


def block_images(model: Model, volume: Volume, block: Tile, task: Task) -> TileImages:
    """Read the network input of one block; see `read_tile`.

    Raises:
        InputError: a pixel in its window is infinite.
        FormatError: the volume cannot be read there.
    """
    if task.resampling is None:
        return read_tile(volume, task.ends, block, model.settings.slices)
    own_outside = None
    if volume.dtype.kind == "f":
        own_outside = np.isnan(volume.block(*block.core))
    tile = task.resampling.tile(block, model.halo)
    seen = read_tile(
        resampled(volume, task.resampling.factors), task.ends, tile, model.settings.slices
    )
    return replace(seen, own_outside=own_outside)


def block_maps(model: Model, seen: TileImages, block: Tile, task: Task) -> Maps:
    """Predict the core of one block from its images (`block_images`); phases are indices.

    Voxels outside of the sample have the values of `matphase.prediction.maps.OUTSIDE`.

    Raises:
        DivergedError: the model computes numbers that are not finite.
    """
    if task.resampling is not None:
        if seen.own_outside is not None and seen.own_outside.all():
            return _blank_maps(model, block.shape, task)
        tile = task.resampling.tile(block, model.halo)
        maps = _tile_maps(model, seen, tile, task)
        outside = None if seen.outside is None else seen.outside[:, *tile.inner]
        maps = maps_brought_back(maps, outside, block.core, task.resampling)
        return _with_outside(maps, seen.own_outside)
    return _tile_maps(model, seen, block, task)


def _tile_maps(model: Model, seen: TileImages, block: Tile, task: Task) -> Maps:
    """Predict the core of one tile, on the grid of its images."""
    outside = None if seen.outside is None else seen.outside[:, *block.inner]
    if outside is not None and outside.all():
        return _blank_maps(model, block.shape, task)
    rows, columns = seen.images.shape[-2:]
    left = task.memory - len(seen.images) * rows * columns * model.pixel_bytes(task.kept)
    passes = Passes(
        task.samples, task.seed, left, task.mutual_information, task.keep_samples, task.tta
    )
    maps = model.answer(
        seen.images, passes, origin=block.origin, inner=block.inner, outside=seen.outside
    )
    for name, part in maps.items():
        if not np.isfinite(part).all():
            raise DivergedError(
                f"the model computes a map that is not finite ({name} of block {block.number}), as "
                "a training leaves it that diverged; train again with a lower learning_rate"
            )
    return _with_outside(maps, outside)


def _with_outside(maps: Maps, outside: NDArray[np.bool_] | None) -> Maps:
    """Maps with the values of voxels outside of the sample there."""
    if outside is None or not outside.any():
        return maps
    return {
        name: np.where(outside, OUTSIDE[KINDS[name].content], array) for name, array in maps.items()
    }


def _blank_maps(model: Model, shape: Shape, task: Task) -> Maps:
    """All maps of a block (z, y, x) that is wholly outside of the sample."""
    made = map_names(model, task, probabilities=True, in_memory=True)
    first = {None: (), "phase": (len(model.phases),), "sample": (task.kept,)}
    return {
        kind.name: np.full((*first[kind.per], *shape), OUTSIDE[kind.content])
        for kind in among(made)
    }
