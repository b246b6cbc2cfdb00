"""The maps of one block: the stages of a model in order (paper section 3.4, figure 4).

They depend on the model, the volume, the block and a task, all of which can be pickled; so blocks
may be computed in any order, on any machine, and again.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matphase.images.grey_scale import IntensityScale
from matphase.images.neighbours import check_neighbours, read_window
from matphase.images.tiles import Block, Shape
from matphase.images.volume import Volume
from matphase.method import deferral, hcl_idk, local, ugsm
from matphase.method.aggregate import aggregate, sample_labels
from matphase.method.folder import Trained
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.networks import zoo
from matphase.prediction.maps import Maps
from matphase.prediction.plan import array_bytes, plan
from matphase.support.errors import InputError

Intensity = Literal["model", "volume"]


@dataclass(frozen=True)
class Task:
    """What to predict, the same for all blocks of a volume.

    Attributes:
        samples: number of stochastic passes T.
        seed: random seed of the dropout masks.
        ends: (n_slices, 2) the grey values that map to -1 and 1 in each slice.
        memory: bytes that a block may take.
        keep_samples: also give the labels of each sample.
        mutual_information: also give the mutual information.
    """

    samples: int
    seed: int
    ends: NDArray[np.float64]
    memory: int
    keep_samples: bool = False
    mutual_information: bool = False

    @property
    def kept(self) -> int:
        """Number of samples whose labels are kept."""
        return self.samples if self.keep_samples else 0


def task_of(
    model: Trained,
    volume: Volume,
    *,
    samples: int | None = None,
    seed: int = 0,
    intensity: Intensity = "model",
    memory: int = ugsm.DEFAULT_MEMORY,
    mutual_information: bool = False,
    keep_samples: bool = False,
) -> Task:
    """Check the arguments, and measure the grey scale of the volume once; see `MatPhase.predict`.

    Raises:
        InputError: the volume cannot be used, its grey scale differs from training's, or the
            networks see several slices and those of the volume are not consecutive.
    """
    if samples is not None and samples < 1:
        raise InputError(f"samples is {samples}; give at least one stochastic pass")
    if intensity not in ("model", "volume"):
        raise InputError(f"intensity is {intensity!r}; give 'model' or 'volume'")
    number = samples or model.settings.ugsm.samples
    if keep_samples and (number < 2 or not ugsm.draws_samples(model.ugsm)):
        raise InputError(
            f"{model.settings.model} with samples={number} has no samples to keep; use a model "
            "with Monte-Carlo dropout, and two samples or more"
        )
    check_neighbours(volume, range(volume.n_slices), model.settings.slices)
    own = replace(IntensityScale.of(volume), per_slice=model.scale.per_slice)
    if intensity == "model":
        model.scale.check_fits(own, volume.name)
    scale = model.scale if intensity == "model" else own
    ends = scale.of_slices(volume)
    return Task(number, seed, ends, memory, keep_samples, mutual_information)


def map_names(
    model: Trained, task: Task, *, probabilities: bool, in_memory: bool
) -> frozenset[str]:
    """The maps that a prediction keeps, by the names of `matphase.prediction.maps.KINDS`.

    Args:
        model: that predicts.
        task: what to predict.
        probabilities: keep the probabilities of the phases.
        in_memory: keep what is never written to files, too.
    """
    wanted = {
        "labels": True,
        "global_labels": True,
        "entropy": True,
        "idk": True,
        "trusted": model.promise is not None,
        "deferred": model.deferral is not None,
        "mutual_information": task.mutual_information,
        "probabilities": probabilities,
        "samples": task.keep_samples,
        "idk_score": in_memory,
        "global_probabilities": in_memory and probabilities,
    }
    return frozenset(name for name, kept in wanted.items() if kept)


def blocks_of(model: Trained, volume: Volume, task: Task) -> list[Block]:
    """The blocks in which the volume is predicted within `task.memory`.

    Raises:
        InputError: no block fits.
    """
    return plan(model, shape_of(volume), task.kept, task.memory)


def shape_of(volume: Volume) -> Shape:
    """(z, y, x) of a volume; z is 1 for a slice."""
    height, width = volume.shape[-2:]
    return volume.n_slices, height, width


def block_images(model: Trained, volume: Volume, block: Block, task: Task) -> NDArray[np.float32]:
    """Read the images that the networks see for one block, as `read_window` gives them.

    Raises:
        InputError: a pixel in its window is NaN or infinite.
        FormatError: the volume cannot be read there.
    """
    return read_window(volume, task.ends, block.core[0], *block.window, model.settings.slices)


def block_maps(model: Trained, images: NDArray[np.float32], block: Block, task: Task) -> Maps:
    """Predict the core of one block from its images (`block_images`); phases are indices."""
    settings = model.settings
    rows, columns = images.shape[-2:]
    left = task.memory - len(images) * rows * columns * array_bytes(model, task.kept)
    known = ugsm.predict(
        model.ugsm,
        images,
        settings.ugsm.model_copy(update={"samples": task.samples}),
        seed=task.seed,
        precision=settings.precision,
        memory=left,
        average=zoo.KINDS[settings.model].average,
        mutual_information=task.mutual_information,
        keep_samples=task.keep_samples,
        origin=block.origin,
    )
    return answers(model, images, known, block.inner, memory=left)


def answers(
    model: Trained,
    images: NDArray[np.float32],
    known: GlobalPrediction,
    inner: tuple[slice, slice],
    *,
    memory: int = ugsm.DEFAULT_MEMORY,
) -> Maps:
    """Run the stages after UGSM on its prediction, for a window within the images.

    Args:
        model: with all its stages.
        images: (n, height, width) or (n, slices, height, width), scaled to [-1, 1].
        known: UGSM's prediction of them.
        inner: rows and columns to predict; the local network also sees what lies around.
        memory: bytes that the patches of a pass may take.

    Returns:
        maps by the names of `matphase.prediction.maps.KINDS`, with phase indices.
    """
    if model.idk is None or model.lcgar is None:
        known = known.window(*inner)
        nowhere = np.zeros(known.labels.shape, np.bool_)
        partition = asked = Partition(nowhere, nowhere.astype(np.float32))
        local_answers = LocalPrediction(
            known.labels[nowhere], np.empty((0, len(model.phases)), np.float32)
        )
        labels, probabilities, weight = known.labels, known.probabilities, None
    else:
        partition = hcl_idk.predict(model.idk, known, model.settings.idk)
        where = np.zeros_like(partition.idk)
        where[:, *inner] = True
        asked, local_answers = local.predict(
            model.lcgar, images, known, partition, model.settings, where=where, memory=memory
        )
        known, partition, asked = (
            known.window(*inner),
            partition.window(*inner),
            asked.window(*inner),
        )
        weight = deferral.weights(
            model.deferral, known, asked, local_answers, model.settings.aggregator.fusion
        )
        labels, probabilities = aggregate(known, asked, local_answers, weight)
    if model.scaling is not None:
        labels, probabilities = model.scaling.answer(labels, probabilities)
    maps: Maps = {
        "labels": labels,
        "probabilities": np.moveaxis(probabilities, 1, 0),
        "entropy": known.entropy,
        "idk": partition.idk,
        "idk_score": partition.score,
        "global_labels": known.labels,
        "global_probabilities": np.moveaxis(known.probabilities, 1, 0),
    }
    if model.deferral is not None:
        assert weight is not None
        deferred = np.zeros_like(asked.idk)
        deferred[asked.idk] = weight >= deferral.ENOUGH
        maps["deferred"] = deferred
    if model.promise is not None:
        maps["trusted"] = model.promise.trusts(probabilities)
    if known.mutual_information is not None:
        maps["mutual_information"] = known.mutual_information
    if known.samples is not None:
        maps["samples"] = sample_labels(known, asked, local_answers, model.scaling, weight)
    return maps


def whole(images: NDArray[np.float32]) -> tuple[slice, slice]:
    """All rows and columns of images (..., height, width), as `answers` takes them."""
    height, width = images.shape[-2:]
    return slice(0, height), slice(0, width)
