"""HCL-IDK, the coarse curriculum: finds the pixels that UGSM gets wrong (paper section 3.2)."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.batches import Draw, Shuffled
from matphase.learning.run import Run
from matphase.learning.trainer import epochs_needed, train
from matphase.method.results import GlobalPrediction, GlobalStack, Partition, PartitionStack
from matphase.networks.idk import IDKClassifier
from matphase.settings import IDKSettings
from matphase.support.device import running
from matphase.support.scratch import Stack
from matphase.support.seeds import mix

PIXELS_PER_PASS = 2**14
"""Pixels classified at once, which needs little memory compared with a pass of UGSM."""


def build(n_phases: int, settings: IDKSettings) -> IDKClassifier:
    """Build the untrained network for `n_phases` logits and the uncertainty."""
    return IDKClassifier(n_phases + 1, settings.dropout)


def fit(known: GlobalStack, labels: Stack, settings: IDKSettings, run: Run) -> IDKClassifier:
    """Train a classifier that finds UGSM's errors from its mean logits and uncertainty.

    Equal numbers of right and wrong pixels are drawn at random from each image. If UGSM is right
    everywhere there is nothing to learn, and the classifier marks no pixel as IDK.

    Args:
        known: UGSM's predictions of the training slices.
        labels: (n, height, width) true phase indices.
        settings: settings of the classifier and its training.
        run: seed, precision, folder, reporter.

    Raises:
        Interrupted: the user stopped it.
    """
    torch.manual_seed(mix(run.seed, "idk", "weights"))
    network = build(known.n_phases, settings)
    values, wrong = _balanced_pixels(known, labels, settings.pixels_per_image, run.seed)
    if len(values) == 0:
        disable(network)
        return network
    train_on_pixels(network, values, wrong, settings, run, name="idk")
    return network


def train_on_pixels(
    network: IDKClassifier,
    values: NDArray[np.float32],
    target: NDArray[np.bool_],
    settings: IDKSettings,
    run: Run,
    *,
    name: str,
) -> None:
    """Train a pixel classifier in place, by binary cross-entropy.

    Args:
        network: network made by `build` or `deferral.build`.
        values: (pixels, features).
        target: (pixels,) binary target, for example whether UGSM is wrong.
        settings: settings of the training.
        run: seed, precision, folder, reporter.
        name: name of the stage, for its files and random seed.

    Raises:
        Interrupted: the user stopped it.
    """
    order = Shuffled(len(values), settings.batch_size, mix(run.seed, name))
    train(
        network,
        _Pixels(values, target),
        order,
        F.binary_cross_entropy_with_logits,
        name=name,
        epochs=epochs_needed(settings.epochs, settings.min_steps, order.steps_per_epoch),
        learning_rate=settings.learning_rate,
        # bfloat16 does not speed up such a small network
        run=run.in_full_precision(),
    )


def predict(network: IDKClassifier, known: GlobalPrediction, settings: IDKSettings) -> Partition:
    """Split the pixels of a prediction into known and IDK."""
    pixels = torch.from_numpy(features(known))
    with running(network, "float32") as device:
        scores = [
            network(chunk.to(device)).sigmoid().cpu()
            for chunk in torch.split(pixels, PIXELS_PER_PASS)
        ]
    score = torch.cat(scores).numpy().reshape(known.labels.shape)
    return Partition(idk=score >= settings.threshold, score=score)


def partition_of(
    network: IDKClassifier, known: GlobalStack, settings: IDKSettings, folder: Path | None
) -> PartitionStack:
    """Split the pixels of many slices; the result is kept on disk in `folder`."""
    found = PartitionStack.empty(known.labels.shape, folder)
    for number, said in enumerate(known):
        found.put(number, predict(network, said, settings))
    return found


def tuned_threshold(score_of_wrong: NDArray[np.float32], recall: float) -> float:
    """Highest threshold that finds at least the share `recall` of the wrong pixels.

    It is at least 0.01: a classifier that needs a lower threshold has not learned to find wrong
    pixels, and nearly every pixel would become IDK.
    """
    if not len(score_of_wrong):
        return 0.5
    return max(0.01, float(np.quantile(score_of_wrong, 1 - recall, method="lower")))


def features(known: GlobalPrediction) -> NDArray[np.float32]:
    """Input features (pixels, phases + 1) of the classifier: mean logits F and uncertainty u."""
    stacked = np.concatenate([known.logits, known.entropy[:, None]], axis=1)
    return np.moveaxis(stacked, 1, -1).reshape(-1, stacked.shape[1])


def _balanced_pixels(
    known: GlobalStack, labels: Stack, limit: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features of the training pixels, and whether UGSM is wrong there."""
    rng = np.random.default_rng(mix(seed, "idk", "balance"))
    chosen, targets = [], []
    for number, said in enumerate(known):
        truth = labels[number]
        counted = truth.ravel() != IGNORE_INDEX
        mistaken = (said.labels[0] != truth).ravel()
        wrong = np.flatnonzero(counted & mistaken)
        right = np.flatnonzero(counted & ~mistaken)
        size = min(len(wrong), len(right), (limit or truth.size) // 2)
        values = features(said)
        for pixels, is_wrong in ((wrong, True), (right, False)):
            chosen.append(values[rng.choice(pixels, size, replace=False)])
            targets.append(np.full(size, is_wrong))
    return np.concatenate(chosen), np.concatenate(targets)


def disable(network: IDKClassifier) -> None:
    """Make the classifier mark no pixel as IDK, so that the local network is never used."""
    last = network.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, -20.0)
    network.eval()


class _Pixels:
    """Pixels with their features and a binary target, for example whether UGSM is wrong."""

    def __init__(self, values: NDArray[np.float32], target: NDArray[np.bool_]) -> None:
        self._values = torch.from_numpy(values)
        self._target = torch.from_numpy(target.astype(np.float32))

    def __len__(self) -> int:
        return len(self._target)

    def batch(self, draw: Draw) -> tuple[Tensor, Tensor]:
        indices = torch.from_numpy(draw.indices)
        return self._values[indices], self._target[indices]
