"""The paper's refiner: hierarchical curriculum learning, HCL (sections 3.2 and 3.3).

HCL-IDK finds the pixels that the segmenter is likely to get wrong, and a local network (LCGAR)
predicts them again. The refiner depends only on the image and the segmenter's prediction, not on
the network that made it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.learning.trainer import Run
from matphase.learning.training_pool import Pool
from matphase.learning.weights import phase_weights
from matphase.method import deferral, hcl_idk, lcgar, local
from matphase.method.aggregate import aggregate
from matphase.method.results import (
    GlobalPrediction,
    GlobalStack,
    LocalPrediction,
    Partition,
    PartitionStack,
)
from matphase.networks import cost
from matphase.networks.idk import IDKClassifier
from matphase.networks.reach import Reach, reach_of
from matphase.networks.unet import UNet
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
        return cls(classifier, local.build(n_phases, settings), chooser, settings)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its networks, by the names of their files."""
        named = {"idk": self.idk, "lcgar": self.local, "deferral": self.deferral}
        return {name: network for name, network in named.items() if network is not None}

    def reach(self, segmenter: Reach) -> Reach:
        """Reach of the refined prediction, given that of the segmenter."""
        # a patch classifier sees the patch, and the segmenter's prediction in it
        own = reach_of(self.local) or Reach(self.settings.lcgar.patch_side // 2)
        return own.then(segmenter)

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes.

        It is 0 for a patch classifier, which adapts its batches to the memory given.
        """
        if not isinstance(self.local, UNet):
            return 0
        return cost.pass_bytes(self.local, height, width)

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
    partition = training_partition(classifier, pool, known, settings, run)
    weights = phase_weights(pool.counts())
    network = local.fit(pool, known, partition, weights, settings, run)
    if settings.idk.target == "wrong":
        return HCL(classifier, network, None, settings)
    asked, said = training_answers(pool, known, partition, weights, network, folds, settings, run)
    chooser = deferral.fit(known, asked, said, pool.labels, settings.idk, run)
    return HCL(classifier, network, chooser, settings)


def training_partition(
    classifier: IDKClassifier, pool: Pool, known: GlobalStack, settings: Settings, run: Run
) -> PartitionStack:
    """HCL-IDK's split of the images; disables HCL-IDK if its IDK set is too small for training."""
    partition = run.team.first(
        lambda: hcl_idk.partition_of(classifier, known, settings.idk, pool.folder)
    )
    if lcgar.count_hard_pixels(pool, partition) < lcgar.MIN_PIXELS:
        # a local network that was not trained must not be used
        hcl_idk.disable(classifier)
    return partition


def training_answers(
    pool: Pool,
    known: GlobalStack,
    partition: PartitionStack,
    weights: NDArray[np.float32],
    network: nn.Module,
    folds: NDArray[np.int64],
    settings: Settings,
    run: Run,
) -> tuple[list[Partition], list[LocalPrediction]]:
    """Pixels of each image that the local network predicts, and its predictions."""
    where: list[Partition] = []
    answers: list[LocalPrediction] = []
    numbers = np.unique(folds)
    run.reporter.start("LCGAR on labelled slices", len(pool))
    for number in numbers:
        held_out = folds == number
        answerer = network
        if len(numbers) > 1:
            answerer = local.fit(
                pool.take(~held_out),
                known.take(~held_out),
                partition.take(~held_out),
                weights,
                settings,
                run,
                suffix=f"_fold{number + 1}",
            )
        for index in np.flatnonzero(held_out).tolist():
            image, said, split = pool.images[index], known[index], partition[index]
            asked, answer = local.predict(answerer, image[np.newaxis], said, split, settings)
            where.append(asked)
            answers.append(answer)
            run.reporter.advance()
    run.reporter.finish()
    return where, answers
