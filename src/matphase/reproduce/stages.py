"""The stages of the method one by one: all that trials call of `method`, `learning`, `networks`."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.trainer import Run, load_weights
from matphase.learning.training_pool import Pool
from matphase.learning.weights import phase_weights
from matphase.method import deferral, hcl, hcl_idk, local, ugsm
from matphase.method.aggregate import aggregate
from matphase.method.fit import Stage, fold_numbers
from matphase.method.results import (
    GlobalPrediction,
    GlobalStack,
    LocalPrediction,
    Partition,
    PartitionStack,
)
from matphase.method.ugsm import NetworkSegmenter
from matphase.networks import cost, registry
from matphase.networks.dense_lcgar import costs
from matphase.networks.idk import IDKClassifier
from matphase.networks.lcgar import LCGAR
from matphase.reproduce.data import SplitData
from matphase.settings import Settings
from matphase.support.scratch import Stack, as_array

UGSM = "mcd_unet"
"""UGSM's network by its name in `networks.registry`."""


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
class Stages:
    """Trains and asks the networks on one seed of one split.

    Attributes:
        data: training and test slices.
        settings: of all networks.
        run: seed, precision, and the folder of the checkpoints.
    """

    data: SplitData
    settings: Settings
    run: Run

    def with_settings(self, settings: Settings) -> "Stages":
        """The same with other settings."""
        return replace(self, settings=settings)

    # --- networks that label whole images -----------------------------------------------------

    def fit_network(self, name: str = UGSM) -> nn.Module:
        """A network trained on whole training images."""
        settings = self.settings
        return ugsm.fit(self.data.pool, settings.ugsm, settings.data, self.run, network=name)

    def untrained(self, name: str = UGSM) -> nn.Module:
        """A network with random weights."""
        seen = self.settings.ugsm.slices
        return registry.segmenter(name, seen, len(self.data.phases), self.settings.ugsm)

    def load_network(self, weights: Path, name: str = UGSM) -> nn.Module:
        """A network with the weights in a file."""
        network = self.untrained(name)
        load_weights(network, weights)
        return network

    def predict(
        self,
        network: nn.Module,
        average: Any = "logits",
        images: Stack | None = None,
    ) -> tuple[GlobalPrediction, float]:
        """The prediction of the test images, or of others, and its seconds per pixel."""
        seen = as_array(self.data.images if images is None else images)
        segmenter = self._segmenter(network, average)
        began = time.monotonic()
        known = segmenter.predict(seen, seed=self.run.seed, mutual_information=True)
        return known, (time.monotonic() - began) / known.labels.size

    def _segmenter(self, network: nn.Module, average: Any = "logits") -> NetworkSegmenter:
        settings = self.settings
        return NetworkSegmenter(
            network, settings.ugsm, len(self.data.phases), average, settings.precision
        )

    def passes(self, network: nn.Module) -> int:
        """How often a prediction runs the network: once for each dropout sample."""
        return self.settings.ugsm.samples if self._segmenter(network).draws_samples else 1

    # --- HCL-IDK ------------------------------------------------------------------------------

    def chosen(self) -> Pool:
        """The training images that HCL-IDK and the local networks learn from."""
        return self.data.pool.spread(self.settings.data.local_images)

    def training_predictions(self, network: nn.Module) -> tuple[Pool, GlobalPrediction]:
        """These images with predictions: in sample by `network`, or out of fold by the settings."""
        stage = Stage(self.settings, self.run)
        chosen, known = stage.training_predictions(self.data.pool, self._segmenter(network))
        parts = (as_array(part) for part in (known.labels, known.logits, known.entropy))
        return chosen, GlobalPrediction(*parts)

    def fit_idk(self, chosen: Pool, learned: GlobalPrediction) -> tuple[IDKClassifier, Partition]:
        """HCL-IDK, and the partition of the images that it learned from."""
        stack = _stacked(learned)
        classifier = hcl_idk.fit(stack, chosen.labels, self.settings.idk, self.run)
        split = hcl.training_partition(classifier, chosen, stack, self.settings, self.run)
        return classifier, Partition(as_array(split.idk), as_array(split.score))

    def load_idk(self, weights: Path) -> IDKClassifier:
        """HCL-IDK with the weights in a file."""
        classifier = hcl_idk.build(len(self.data.phases), self.settings.idk)
        load_weights(classifier, weights)
        return classifier

    def partition(self, classifier: IDKClassifier, known: GlobalPrediction) -> Partition:
        """The pixels that HCL-IDK flags as uncertain, and its score of each pixel."""
        return hcl_idk.predict(classifier, known, self.settings.idk)

    # --- local networks -----------------------------------------------------------------------

    def fit_local(self, chosen: Pool, learned: GlobalPrediction, split: Partition) -> nn.Module:
        """LCGAR, or what a baseline has in its place, trained on what UGSM does not know."""
        return local.fit(
            chosen,
            _stacked(learned),
            PartitionStack(split.idk, split.score),
            self._weights(),
            self.settings,
            self.run,
        )

    def _weights(self) -> NDArray[np.float32]:
        """Of the loss, by phase."""
        return phase_weights(self.data.pool.counts())

    def fit_deferral(
        self, chosen: Pool, learned: GlobalPrediction, split: Partition, network: nn.Module
    ) -> tuple[IDKClassifier, Partition, LocalPrediction]:
        """The classifier that chooses between UGSM and a local network.

        Returns:
            the classifier, where the local network was asked on the images that it learned from,
            and its answers there, out of fold by the settings.
        """
        stack = _stacked(learned)
        asked, answers = hcl.training_answers(
            chosen,
            stack,
            PartitionStack(split.idk, split.score),
            self._weights(),
            network,
            fold_numbers(self.data.pool, chosen, max(1, self.settings.idk.folds)),
            self.settings,
            self.run,
        )
        chooser = deferral.fit(stack, asked, answers, chosen.labels, self.settings.idk, self.run)
        idk = np.concatenate([one.idk for one in asked])
        said = LocalPrediction(
            np.concatenate([one.labels for one in answers]),
            np.concatenate([one.probabilities for one in answers]),
        )
        return chooser, Partition(idk, split.score), said

    def load_local(self, weights: Path) -> nn.Module:
        """A local network with the weights in a file."""
        network = local.build(len(self.data.phases), self.settings)
        load_weights(network, weights)
        return network

    @property
    def answers_everywhere(self) -> bool:
        """Whether the local network is asked for every pixel, not only for the uncertain ones."""
        return registry.composition(self.settings.model).everywhere

    @property
    def goes_patch_by_patch(self) -> bool:
        """Whether it is a classifier of patches other than LCGAR."""
        return (
            self.answers_everywhere and registry.composition(self.settings.model).local != "lcgar"
        )

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
            network, self.data.images, known, split, self.settings, where=where
        )
        labels, probabilities = aggregate(known, asked, answers)
        seconds = (time.monotonic() - began) / max(1, int(asked.idk.sum()))
        return LocalAnswer(labels, probabilities, asked, answers, seconds)

    # --- arithmetic ---------------------------------------------------------------------------

    def macs_per_pixel(self, network: nn.Module, channels: int | None = None) -> float:
        """Multiply-accumulates of a network of whole images, by pixel of the image."""
        height, width = self.data.images.shape[-2:]
        channels = self.settings.ugsm.slices if channels is None else channels
        macs = cost.macs(network, torch.zeros(1, channels, height, width))
        return float(macs / (height * width))

    def local_macs_per_pixel(self, network: nn.Module, share: float) -> float:
        """Multiply-accumulates of a local network that is asked for this share of the pixels."""
        n_phases, inputs = len(self.data.phases), self.settings.lcgar
        channels = inputs.patch_channels(n_phases)
        if self.settings.model == "local_unet":
            # it computes every pixel, whichever it is asked for
            return self.macs_per_pixel(network, channels + n_phases * inputs.logits)
        if isinstance(network, LCGAR) and not network.padded:
            height, width = self.data.images.shape[-2:]
            pixels: int = height * width
            return costs(inputs, n_phases, height, width).cheapest(share * pixels) / pixels
        side = inputs.patch_side
        tensors = [torch.zeros(1, channels, side, side)]
        if inputs.logits:
            tensors.append(torch.zeros(1, n_phases))
        return share * cost.macs(network, *tensors)


def parameters(network: nn.Module) -> int:
    """The number of weights of a network."""
    return cost.parameters(network)


def has_local_part(name: str) -> bool:
    """Whether a model, by its name in `networks.registry`, refines a network of whole images."""
    return registry.composition(name).local is not None


def _stacked(known: GlobalPrediction) -> GlobalStack:
    """The prediction of many images, as the stages that learn from it take it."""
    return GlobalStack(known.labels, known.logits, known.entropy)


def error_rate(known: GlobalPrediction, pool: Pool) -> float:
    """How often a prediction of labelled images is wrong."""
    labels = as_array(pool.labels)
    counted = labels != IGNORE_INDEX
    return float((known.labels != labels)[counted].mean())
