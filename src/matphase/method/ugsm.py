"""UGSM: uncertainty-aware global segmentation model (paper section 3.1)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr, softmax
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.images.neighbours import central
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.trainer import Draw, Run, Shuffled, epochs_needed, train
from matphase.learning.weights import phase_weights
from matphase.method.results import GlobalPrediction
from matphase.networks import zoo
from matphase.networks.dropout import MCDropout, dropout_samples
from matphase.settings import DataSettings, UGSMSettings
from matphase.support.device import PrecisionSetting, running
from matphase.support.errors import InputError
from matphase.support.progress import Reporter, Silent
from matphase.support.seeds import mix

DEFAULT_MEMORY = 2 * 10**9
"""Bytes that the activations of one pass may take, unless the caller says otherwise."""


def fit(
    images: NDArray[np.float32],
    labels: NDArray[np.uint8],
    n_phases: int,
    settings: UGSMSettings,
    data: DataSettings,
    run: Run,
    *,
    network: str = "mcd_unet",
    name: str = "ugsm",
    start: nn.Module | None = None,
    share: float = 1.0,
) -> nn.Module:
    """Train UGSM, or another network that labels whole images, by weighted cross-entropy.

    Args:
        images: (n, height, width) grey values scaled to [-1, 1]; or (n, slices, height, width),
            of which the network sees the middle ones (`settings.slices`).
        labels: (n, height, width) phase indices; `IGNORE_INDEX` pixels take no part.
        n_phases: number of phases.
        settings: of the network and its training.
        data: crops and flips.
        run: seed, precision, folder, reporter.
        network: of the zoo's global networks; UGSM is a U-Net with Monte-Carlo dropout.
        name: names the files and the random draws.
        start: a network of the same kind to go on from, whose weights are copied; none: anew.
        share: of the steps that the settings plan.

    Raises:
        InputError: a phase never occurs in `labels`, or the network needs more examples.
        Interrupted: the user stopped it.
    """
    torch.manual_seed(mix(run.seed, name, "weights"))
    module = zoo.segmenter(network, settings.slices, n_phases, settings)
    if start is not None:
        module.load_state_dict(start.state_dict())
    images = central(images, settings.slices)
    weights = phase_weights(labels, n_phases)
    least, there = (
        zoo.fewest_examples(network),
        len(SliceExamples(images, labels, data.crop, False)),
    )
    if there < least:
        raise InputError(
            f"{network} needs at least {least} training examples, but there is {there}; give more "
            "slices, or train on squares of them (data.crop)"
        )
    fit_segmenter(module, images, labels, weights, settings, data, run, name, share=share)
    return module


def fit_segmenter(
    network: nn.Module,
    images: NDArray[np.float32],
    labels: NDArray[np.uint8],
    weights: NDArray[np.float32],
    settings: UGSMSettings,
    data: DataSettings,
    run: Run,
    name: str,
    *,
    share: float = 1.0,
) -> None:
    """Train any network that labels whole images, in place.

    Args:
        network: maps (n, channels, h, w) to logits (n, phases, h, w).
        images: (n, height, width) or (n, channels, height, width).
        labels: (n, height, width) phase indices; `IGNORE_INDEX` pixels take no part.
        weights: (phases,) of the cross-entropy.
        settings: epochs, batches, learning rate.
        data: crops and flips.
        run: seed, precision, folder, reporter.
        name: names the files and the random draws.
        share: of the steps that the settings plan.

    Raises:
        Interrupted: the user stopped it.
    """
    penalty = torch.from_numpy(weights)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.float(), target, penalty.to(logits.device), ignore_index=IGNORE_INDEX
        )

    examples = SliceExamples(images, labels, data.crop, data.flips)
    order = Shuffled(len(examples), settings.batch_size, mix(run.seed, name))
    epochs = epochs_needed(settings.epochs, settings.min_steps, order.steps_per_epoch)
    planned = epochs * order.steps_per_epoch
    if settings.max_steps:
        planned = min(planned, settings.max_steps)
    train(
        network,
        examples,
        order,
        loss,
        name=name,
        epochs=epochs,
        learning_rate=settings.learning_rate,
        run=run,
        max_steps=max(1, round(share * planned)),
    )


def predict(
    network: nn.Module,
    images: NDArray[np.float32],
    settings: UGSMSettings,
    *,
    seed: int = 0,
    precision: PrecisionSetting = "auto",
    memory: int = DEFAULT_MEMORY,
    average: Literal["logits", "softmax"] = "logits",
    mutual_information: bool = False,
    keep_samples: bool = False,
    origin: tuple[int, int] = (0, 0),
    reporter: Reporter | None = None,
) -> GlobalPrediction:
    """Draw T stochastic passes and summarise them.

    F is the mean of the T logit maps, Y_G = argmax softmax(F), and u the entropy of softmax(F),
    or of the mean softmax if `settings.uncertainty` says so. Sample t uses the same dropout
    masks for every slice, so a slice's result does not depend on its neighbours in a batch.

    Args:
        network: a trained UGSM, or any network that labels whole images: one without
            Monte-Carlo dropout is asked once.
        images: (n, height, width) grey values scaled to [-1, 1], or (n, slices, height, width).
        settings: number of samples, kind of uncertainty, and how many slices the network sees.
        seed: names the dropout masks.
        precision: see `Settings.precision`.
        memory: bytes that the activations may take; passes are put into batches that fit.
        average: with `softmax` the answer is that of the mean softmax, as usual for Monte-Carlo
            dropout, and F its logarithm.
        mutual_information: also compute it.
        keep_samples: also keep how the logits of each sample differ from F.
        origin: row and column of the slices at which the images begin, where they are windows.
        reporter: advanced by one for each slice.

    Raises:
        InputError: `memory` is too little for one pass over one slice.
    """
    reporter = reporter or Silent()
    images = central(images, settings.slices)
    if images.ndim == 3:
        images = images[:, None]
    samples = settings.samples if draws_samples(network) else 1
    seeds = [mix(seed, "sample", number) for number in range(samples)]
    batch = _batching(network, images.shape[-2:], len(images), samples, memory)
    parts = []
    with running(network, precision) as device:
        for first in range(0, len(images), batch.slices):
            stack = torch.from_numpy(images[first : first + batch.slices]).to(device)
            tally = _Tally(keep=keep_samples)
            for number in range(0, samples, batch.samples):
                chosen = seeds[number : number + batch.samples]
                with dropout_samples(network, chosen, origin):
                    passes = network(stack.repeat(len(chosen), 1, 1, 1)).float()
                for logits in torch.split(passes, len(stack)):
                    tally.add(logits)
            parts.append(tally.summary(settings, average, mutual_information=mutual_information))
            reporter.advance(len(stack))
    return concatenate(parts)


def draws_samples(network: nn.Module) -> bool:
    """Whether the network has Monte-Carlo dropout that makes one pass differ from the next."""
    return any(
        isinstance(module, MCDropout) and module.probability > 0 for module in network.modules()
    )


@dataclass(frozen=True)
class _Batching:
    slices: int
    samples: int


def _batching(
    network: nn.Module, shape: tuple[int, ...], slices: int, samples: int, memory: int
) -> _Batching:
    """As many slices together as fit, since they share masks; then as many samples."""
    one = zoo.activation_bytes(network, shape[0], shape[1])
    passes = memory // one
    if passes < 1:
        raise InputError(
            f"one pass over a slice of {shape[0]} x {shape[1]} px may take {one / 1e9:.2g} GB, "
            f"but the memory limit is {memory / 1e9:.2g} GB; raise it (--memory {one / 1e9:.2g}GB)"
        )
    together = max(1, min(slices, passes))
    return _Batching(slices=together, samples=min(samples, passes // together))


class _Tally:
    """Running sums over samples, so that memory does not grow with their number unless it must."""

    def __init__(self, *, keep: bool) -> None:
        self._count = 0
        self._kept: list[NDArray[np.float16]] | None = [] if keep else None
        self._logits: Tensor | None = None
        self._softmax: Tensor | None = None
        self._entropy: Tensor | None = None

    def add(self, logits: Tensor) -> None:
        probabilities = logits.softmax(dim=1)
        entropy = torch.special.entr(probabilities).sum(dim=1)
        if self._logits is None or self._softmax is None or self._entropy is None:
            self._logits, self._softmax, self._entropy = logits.clone(), probabilities, entropy
        else:
            self._logits += logits
            self._softmax += probabilities
            self._entropy += entropy
        if self._kept is not None:
            self._kept.append(logits.cpu().numpy().astype(np.float16))
        self._count += 1

    def summary(
        self,
        settings: UGSMSettings,
        average: Literal["logits", "softmax"],
        *,
        mutual_information: bool,
    ) -> GlobalPrediction:
        assert self._logits is not None
        assert self._softmax is not None
        assert self._entropy is not None
        logits = (self._logits / self._count).cpu().numpy()
        samples = None
        if self._kept is not None:
            samples = np.stack([(one - logits).astype(np.float16) for one in self._kept])
        mean_softmax = (self._softmax / self._count).cpu().numpy()
        if average == "softmax":
            # the smallest normal number keeps a probability that was rounded to 0 finite
            logits = np.log(np.maximum(mean_softmax, np.finfo(np.float32).tiny))
        of_mean = entr(mean_softmax).sum(axis=1)
        information = None
        if mutual_information:
            # rounding can push a vanishing difference below zero
            information = np.maximum(of_mean - (self._entropy / self._count).cpu().numpy(), 0)
        if settings.uncertainty == "mean_logits":
            of_mean = entr(softmax(logits, axis=1)).sum(axis=1)
        return GlobalPrediction(
            labels=logits.argmax(axis=1).astype(np.uint8),
            logits=logits,
            entropy=of_mean,
            mutual_information=information,
            samples=samples,
        )


def concatenate(parts: list[GlobalPrediction]) -> GlobalPrediction:
    """Predictions of consecutive stacks as one."""
    information = [part.mutual_information for part in parts if part.mutual_information is not None]
    samples = [part.samples for part in parts if part.samples is not None]
    return GlobalPrediction(
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.entropy for part in parts]),
        np.concatenate(information) if information else None,
        np.concatenate(samples, axis=1) if samples else None,
    )


class SliceExamples:
    """Slices, or random squares of them, for a network that labels whole images.

    Args:
        images: (n, height, width) or (n, channels, height, width) float32.
        labels: (n, height, width) uint8.
        crop: side of the random squares in pixels, at most the slice's sides; 0: whole slices.
        flips: flip at random, and turn squares by quarters.
    """

    def __init__(
        self,
        images: NDArray[np.float32],
        labels: NDArray[np.uint8],
        crop: int,
        flips: bool,
    ) -> None:
        self._images = images
        self._labels = labels
        height, width = images.shape[-2:]
        self._rows = min(crop or height, height)
        self._columns = min(crop or width, width)
        self._flips = flips
        # as many squares a slice as it takes to see about every pixel once an epoch
        self._per_slice: int = max(1, round(height * width / (self._rows * self._columns)))

    def __len__(self) -> int:
        return len(self._images) * self._per_slice

    def batch(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Images (n, channels, rows, columns) and labels (n, rows, columns) int64."""
        rng = np.random.default_rng(draw.seed)
        pairs = [self._pair(index // self._per_slice, rng) for index in draw.indices]
        images = np.stack([image for image, _ in pairs])
        labels = np.stack([label for _, label in pairs])
        if images.ndim == 3:
            images = images[:, None]
        return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))

    def _pair(
        self, number: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        image, label = self._images[number], self._labels[number]
        row = rng.integers(image.shape[-2] - self._rows + 1)
        column = rng.integers(image.shape[-1] - self._columns + 1)
        window = np.s_[..., row : row + self._rows, column : column + self._columns]
        image, label = image[window], label[window]
        if self._flips:
            upside_down, mirrored, turned = rng.integers(2, size=3)
            steps = np.s_[..., :: -1 if upside_down else 1, :: -1 if mirrored else 1]
            image, label = image[steps], label[steps]
            if turned and self._rows == self._columns:
                image, label = image.swapaxes(-1, -2), label.T
        return image, label
