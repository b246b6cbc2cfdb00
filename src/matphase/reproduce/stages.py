"""The stages of the method on one split: timed, on arrays that can be kept, and what they cost."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.training_pool import Pool
from matphase.learning.weight_files import load_weights
from matphase.learning.weights import phase_weights
from matphase.method import hcl, hcl_idk, local, local_segmenter, ugsm
from matphase.method.aggregate import aggregate
from matphase.method.fit import Stage
from matphase.method.passes import Passes
from matphase.method.results import (
    GlobalPrediction,
    GlobalStack,
    LocalPool,
    LocalPrediction,
    Partition,
    PartitionStack,
)
from matphase.method.segmenter import Segmenter
from matphase.method.ugsm import NetworkSegmenter
from matphase.networks import cost, registry
from matphase.networks.dense_lcgar import costs
from matphase.networks.idk import IDKClassifier
from matphase.networks.lcgar import LCGAR
from matphase.reproduce.data import SplitData
from matphase.settings import Settings
from matphase.support.scratch import Stack, as_array


@dataclass(frozen=True, eq=False)
class LocalAnswer:
    """UGSM's answer with that of a local network in place of it where that was asked.

    Attributes:
        labels: (n, height, width) uint8 phase indices.
        probabilities: (n, phases, height, width).
        asked: the pixels that the local network was asked for.
        local: its own answers there.
        seconds_per_asked_pixel: of prediction and aggregation.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    asked: Partition
    local: LocalPrediction
    seconds_per_asked_pixel: float


@dataclass(frozen=True)
class Stages(Stage):
    """The stages of a training, on one seed of one split.

    Attributes:
        data: training and test slices.
    """

    data: SplitData

    def with_settings(self, settings: Settings) -> "Stages":
        """The same with other settings."""
        return replace(self, settings=settings)

    def of_model(self, name: str) -> "Stages":
        """The same for another model, by its name in `networks.registry`."""
        return self.with_settings(self.settings.updated({"model": name}))

    def fit_network(self, pool: Pool) -> NetworkSegmenter:
        """Train the network of the model, which segments whole images."""
        return ugsm.train(pool, self.settings, self.run)

    def load_segmenter(self, weights: Path) -> NetworkSegmenter:
        """The segmenter of the model, with the weights in a file."""
        segmenter = ugsm.untrained(len(self.data.phases), self.settings)
        load_weights(segmenter.network, weights)
        return segmenter

    def predict(
        self, segmenter: Segmenter, images: Stack | None = None
    ) -> tuple[GlobalPrediction, float]:
        """The prediction of the test images, or of others, and its seconds per pixel."""
        seen = as_array(self.data.images if images is None else images)
        began = time.monotonic()
        known = segmenter.predict(seen, Passes(seed=self.run.seed, mutual_information=True))
        return known, (time.monotonic() - began) / known.labels.size

    def chosen(self) -> Pool:
        """The training images that HCL-IDK and the local networks learn from."""
        return self.data.pool.spread(self.settings.data.local_images)

    def fit_idk(self, chosen: Pool, learned: GlobalStack) -> tuple[IDKClassifier, Partition]:
        """HCL-IDK, and the partition of the images that it learned from."""
        classifier = hcl_idk.fit(learned, chosen.labels, self.settings.idk, self.run)
        split = hcl.local_pool(classifier, chosen, learned, self.settings, self.run).partition
        return classifier, Partition(as_array(split.idk), as_array(split.score))

    def local_pool(self, chosen: Pool, learned: GlobalStack, split: Partition) -> LocalPool:
        """What a local network learns from; the weights are those of all training images."""
        weights = phase_weights(self.data.pool.counts())
        shown = chosen.first_channels(self.settings.data.channels)
        return LocalPool(shown, learned, PartitionStack.of(split), weights)

    def predict_local(
        self,
        network: nn.Module,
        known: GlobalPrediction,
        split: Partition,
        where: NDArray[np.bool_] | None = None,
    ) -> LocalAnswer:
        """The aggregated answer for the test images.

        Args:
            network: the local one.
            known: UGSM's answer.
            split: where UGSM's answer counts as wrong.
            where: (n, height, width), the only pixels to ask for; none: all that it answers.
        """
        began = time.monotonic()
        asked, answers = local.predict(
            network, self.data.first_channels, known, split, self.settings, where=where
        )
        labels, probabilities = aggregate(known, asked, answers)
        seconds = (time.monotonic() - began) / max(1, int(asked.idk.sum()))
        return LocalAnswer(labels, probabilities, asked, answers, seconds)

    # --- arithmetic ---------------------------------------------------------------------------

    def macs_per_pixel(self, network: nn.Module, channels: int) -> float:
        """Multiply-accumulates of a network of whole images, by pixel of the image."""
        height, width = self.data.images.shape[-2:]
        macs = cost.macs(network, torch.zeros(1, channels, height, width))
        return float(macs / (height * width))

    def local_macs_per_pixel(self, network: nn.Module, share: float) -> float:
        """Multiply-accumulates of a local network that is asked for this share of the pixels."""
        n_phases, inputs = len(self.data.phases), self.settings.lcgar
        if not registry.composition(self.settings.model).by_patches:
            # it computes every pixel, whichever it is asked for
            return self.macs_per_pixel(network, local_segmenter.channels(n_phases, inputs))
        if isinstance(network, LCGAR) and not network.padded:
            height, width = self.data.images.shape[-2:]
            pixels: int = height * width
            return costs(inputs, n_phases, height, width).cheapest(share * pixels) / pixels
        side = inputs.patch_side
        tensors = [torch.zeros(1, inputs.patch_channels(n_phases), side, side)]
        if inputs.logits:
            tensors.append(torch.zeros(1, n_phases))
        return share * cost.macs(network, *tensors)


def error_rate(known: GlobalPrediction | GlobalStack, pool: Pool) -> float:
    """How often a prediction of labelled images is wrong."""
    labels = as_array(pool.labels)
    counted = labels != IGNORE_INDEX
    return float((as_array(known.labels) != labels)[counted].mean())
