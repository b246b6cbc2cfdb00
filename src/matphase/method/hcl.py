"""The paper's refiner: hierarchical curriculum learning behind a segmenter (section 3.2, 3.3).

HCL-IDK finds the pixels that the segmenter does not know, and a local network, LCGAR, answers for
these. It sees what the segmenter said and the image, and nothing of the network before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.learning.pool import Pool
from matphase.learning.trainer import Run
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
    """A segmenter's answer with that of the local network in it.

    Attributes:
        labels: (n, height, width) phase indices.
        probabilities: (n, phases, height, width).
        partition: HCL-IDK's split.
        asked: where the local network was asked, and the same score.
        local: its answers there.
        weight: (pixels,) how much each of them counts; None: they replace the segmenter's.
        deferred: (n, height, width) where they were taken, or counted at least half; None where
            that is wherever it was asked.
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
    """HCL-IDK and a local network, ready to refine: a Refiner.

    Attributes:
        idk: says which pixels the segmenter does not know.
        local: LCGAR, or what a baseline has in its place.
        deferral: chooses between the segmenter and the local network; None: the local network
            answers wherever it is asked.
        settings: of all stages.
    """

    idk: IDKClassifier
    local: nn.Module
    deferral: IDKClassifier | None
    settings: Settings

    @classmethod
    def untrained(cls, n_phases: int, settings: Settings) -> "HCL":
        """Networks of the right shapes, for weights that are read from files."""
        chooser = None
        if settings.idk.target == "gain":
            chooser = deferral.build(n_phases, settings.idk)
        classifier = hcl_idk.build(n_phases, settings.idk)
        return cls(classifier, local.build(n_phases, settings), chooser, settings)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """What its weights are stored as."""
        named = {"idk": self.idk, "lcgar": self.local, "deferral": self.deferral}
        return {name: network for name, network in named.items() if network is not None}

    def reach(self, segmenter: Reach) -> Reach:
        """How far the refined answers of a tile look beyond it.

        Args:
            segmenter: how far those of the segmenter do.
        """
        # a patch classifier sees the patch, and the segmenter's answers in it
        own = reach_of(self.local) or Reach(self.settings.lcgar.patch_side // 2)
        return own.then(segmenter)

    def pass_bytes(self, height: int, width: int) -> int:
        """What one pass over one slice takes; a patch classifier takes no more than it is given."""
        if not isinstance(self.local, UNet):
            return 0
        return cost.pass_bytes(self.local, height, width)

    def refine(
        self,
        images: NDArray[np.float32],
        known: GlobalPrediction,
        inner: tuple[slice, slice],
        memory: int,
    ) -> Refined:
        """Refine a segmenter's prediction in a window of the images.

        Args:
            images: (n, slices, height, width), scaled to [-1, 1].
            known: the segmenter's prediction of them.
            inner: rows and columns to answer for; the local network sees what lies around.
            memory: bytes that the patches of a pass may take.
        """
        settings = self.settings
        partition = hcl_idk.predict(self.idk, known, settings.idk)
        where = np.zeros_like(partition.idk)
        where[:, *inner] = True
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
            deferred[asked.idk] = weight >= deferral.ENOUGH
        return Refined(labels, probabilities, partition, asked, answers, weight, deferred)


def fit(
    pool: Pool,
    known: GlobalStack,
    classifier: IDKClassifier,
    folds: NDArray[np.int64],
    settings: Settings,
    run: Run,
) -> HCL:
    """Train the local network on what HCL-IDK leaves to it, and what chooses between both.

    Args:
        pool: images and labels to learn from.
        known: the segmenter's prediction of them.
        classifier: HCL-IDK, trained on that.
        folds: (n,) number of the fold of each image, rising; all alike where there are none. With
            folds, for each of them one local network answers that learned from the other folds,
            for the classifier that chooses to learn from.
        settings: of all stages.
        run: seed, precision, folder, reporter.

    Raises:
        Interrupted: the user stopped it.
    """
    partition = partition_to_learn_from(classifier, pool, known, settings, run)
    weights = phase_weights(pool.counts())
    network = local.fit(pool, known, partition, weights, settings, run)
    if settings.idk.target == "wrong":
        return HCL(classifier, network, None, settings)
    asked, said = answers_to_learn_from(
        pool, known, partition, weights, network, folds, settings, run
    )
    chooser = deferral.fit(known, asked, said, pool.labels, settings.idk, run)
    return HCL(classifier, network, chooser, settings)


def partition_to_learn_from(
    classifier: IDKClassifier, pool: Pool, known: GlobalStack, settings: Settings, run: Run
) -> PartitionStack:
    """HCL-IDK's split of the images; a classifier that leaves nothing to learn is disabled."""
    partition = run.team.first(
        lambda: hcl_idk.partition_of(classifier, known, settings.idk, pool.folder)
    )
    if lcgar.count_hard(pool, partition) < lcgar.FEWEST_PIXELS:
        # a local network that has nothing to learn must never be asked
        hcl_idk.disable(classifier)
    return partition


def answers_to_learn_from(
    pool: Pool,
    known: GlobalStack,
    partition: PartitionStack,
    weights: NDArray[np.float32],
    network: nn.Module,
    folds: NDArray[np.int64],
    settings: Settings,
    run: Run,
) -> tuple[list[Partition], list[LocalPrediction]]:
    """Where the local network is asked on each image, and its answers."""
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
