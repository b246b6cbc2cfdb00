"""The paper's refiner: hierarchical curriculum learning, HCL (sections 3.2 and 3.3).

HCL-IDK finds the pixels that the segmenter is likely to get wrong, and a local network (LCGAR)
predicts them again. The refiner depends only on the image and the segmenter's prediction, not on
the network that made it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.learning.weights import phase_weights
from matphase.method import deferral, hcl_idk, lcgar, local
from matphase.method.aggregate import aggregate
from matphase.method.results import (
    GlobalPrediction,
    GlobalStack,
    LocalPool,
    LocalPrediction,
    Partition,
)
from matphase.networks.idk import IDKClassifier
from matphase.networks.reach import Reach
from matphase.settings import Settings


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined prediction: the segmenter's, with the local predictions fused into it.

    Attributes:
        labels: (n, height, width) phase indices.
        probabilities: (n, phases, height, width).
        partition: HCL-IDK's split.
        asked: pixels that the local network predicted, with the same score.
        local: its prediction of these pixels.
        weight: (pixels,) weights of the local prediction; None: it replaces the segmenter's.
        deferred: (n, height, width) pixels whose local prediction has a weight of at least 1/2;
            None without a deferral classifier.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    partition: Partition
    asked: Partition
    local: LocalPrediction
    weight: NDArray[np.float32] | None
    deferred: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class HCL:
    """Refiner made of HCL-IDK and a local network, both trained.

    Attributes:
        idk: classifier that finds the pixels which the segmenter is likely to get wrong.
        local: LCGAR, or the local network of a baseline.
        deferral: classifier that chooses between segmenter and local network; None: the local
            network's prediction is always used where it exists.
        settings: settings of all stages.
    """

    idk: IDKClassifier
    local: nn.Module
    deferral: IDKClassifier | None
    settings: Settings

    @classmethod
    def untrained(cls, n_phases: int, settings: Settings) -> "HCL":
        """Build untrained networks, whose weights are then loaded from files."""
        chooser = None
        if settings.idk.target == "gain":
            chooser = deferral.build(n_phases, settings.idk)
        classifier = hcl_idk.build(n_phases, settings.idk)
        network = local.kind(settings).build(n_phases, settings)
        return cls(classifier, network, chooser, settings)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its networks, by the names of their files."""
        named = {"idk": self.idk, "lcgar": self.local, "deferral": self.deferral}
        return {name: network for name, network in named.items() if network is not None}

    def reach(self, segmenter: Reach) -> Reach | None:
        """Reach of the refined prediction, given that of the segmenter; None: the whole slice."""
        # the local network sees the segmenter's prediction, too
        own = local.kind(self.settings).reach(self.local, self.settings)
        return None if own is None else own.then(segmenter)

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes; 0 if it adapts to the memory."""
        return local.kind(self.settings).pass_bytes(self.local, height, width)

    def refitted(
        self,
        pool: Pool,
        known: GlobalStack,
        folds: NDArray[np.int64],
        settings: Settings,
        run: Run,
    ) -> "HCL":
        """Train the local network again, keeping HCL-IDK; arguments are those of `fit`."""
        return fit(pool, known, self.idk, folds, settings, run)

    def refine(
        self,
        images: NDArray[np.float32],
        known: GlobalPrediction,
        inner: tuple[slice, slice],
        memory: int,
        outside: NDArray[np.bool_] | None = None,
    ) -> Refined:
        """Refine a segmenter's prediction in a window of the images.

        Args:
            images: (n, slices, height, width), scaled to [-1, 1].
            known: the segmenter's prediction of these images.
            inner: rows and columns to refine; the local network also sees their surroundings.
            memory: bytes that the patches of a pass may take.
            outside: (n, height, width) pixels that are not refined, since their labels are not
                wanted.
        """
        settings = self.settings
        partition = hcl_idk.predict(self.idk, known, settings.idk)
        where = np.zeros_like(partition.idk)
        where[:, *inner] = True
        if outside is not None:
            where &= ~outside
        asked, answers = local.predict(
            self.local, images, known, partition, settings, where=where, memory=memory
        )
        known, partition = known.window(*inner), partition.window(*inner)
        asked = asked.window(*inner)
        weight = deferral.weights(self.deferral, known, asked, answers, settings.aggregator.fusion)
        labels, probabilities = aggregate(known, asked, answers, weight)
        deferred = None
        if self.deferral is not None:
            assert weight is not None
            deferred = np.zeros_like(asked.idk)
            deferred[asked.idk] = weight >= deferral.MIN_SCORE
        return Refined(labels, probabilities, partition, asked, answers, weight, deferred)


def fit(
    pool: Pool,
    known: GlobalStack,
    classifier: IDKClassifier,
    folds: NDArray[np.int64],
    settings: Settings,
    run: Run,
) -> HCL:
    """Train the local network on the IDK set, and then the deferral classifier if there is one.

    Args:
        pool: training images and labels.
        known: the segmenter's predictions of these images.
        classifier: HCL-IDK, trained on these predictions.
        folds: (n,) number of the fold of each image, rising; all equal without folds. With folds,
            the deferral classifier learns from predictions by local networks that were trained on
            the other folds.
        settings: settings of all stages.
        run: seed, precision, folder, reporter.

    Raises:
        Interrupted: the user stopped it.
    """
    data = local_pool(classifier, pool, known, settings, run)
    network = local.kind(settings).fit(data, settings, run)
    chooser = None
    if settings.idk.target == "gain":
        answers = training_answers(data, network, folds, settings, run)
        chooser = deferral.fit(known, answers, pool.labels, settings.idk, run)
    return HCL(classifier, network, chooser, settings)


def local_pool(
    classifier: IDKClassifier, pool: Pool, known: GlobalStack, settings: Settings, run: Run
) -> LocalPool:
    """The pool with HCL-IDK's split of its images; disables HCL-IDK if its IDK set is too small."""
    partition = run.team.first(
        lambda: hcl_idk.partition_of(classifier, known, settings.idk, pool.folder)
    )
    data = LocalPool(pool, known, partition, phase_weights(pool.counts()))
    if sum(int(np.count_nonzero(data.hard(n))) for n in range(len(data))) < lcgar.MIN_PIXELS:
        # a local network that was not trained must not be used
        hcl_idk.disable(classifier)
    return data


def training_answers(
    data: LocalPool, network: nn.Module, folds: NDArray[np.int64], settings: Settings, run: Run
) -> Iterator[tuple[Partition, LocalPrediction]]:
    """Pixels of each image that the local network predicts, and its predictions.

    They come one by one, so that memory does not grow with the number of images.
    """
    numbers = np.unique(folds)
    run.reporter.start("LCGAR on labelled slices", len(data))
    for number in numbers:
        held_out = folds == number
        answerer = network
        if len(numbers) > 1:
            suffix = f"_fold{number + 1}"
            answerer = local.kind(settings).fit(data.take(~held_out), settings, run, suffix=suffix)
        for index in np.flatnonzero(held_out).tolist():
            image, said, split = data.pool.images[index], data.known[index], data.partition[index]
            yield local.predict(answerer, image[np.newaxis], said, split, settings)
            run.reporter.advance()
    run.reporter.finish()
