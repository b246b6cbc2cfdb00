"""UGSM: uncertainty-aware global segmentation model (paper section 3.1).

The same code trains and evaluates every other network that segments whole images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr, softmax
from torch import Tensor, nn

from matphase.images.neighbours import central
from matphase.learning import trainer
from matphase.learning.batches import Shuffled
from matphase.learning.loss import weighted_cross_entropy
from matphase.learning.run import Run
from matphase.learning.sampler import TileSampler
from matphase.learning.trainer import epochs_needed
from matphase.learning.training_pool import Pool
from matphase.learning.weights import phase_weights
from matphase.method.passes import Passes
from matphase.method.results import GlobalPrediction
from matphase.method.segmenter import Segmenter
from matphase.networks import cost, registry
from matphase.networks.dropout import MCDropout, dropout_samples
from matphase.networks.padding import mirrored
from matphase.networks.reach import Reach, reach_of
from matphase.networks.turned import TURNS, Turn
from matphase.settings import DataSettings, Settings, UGSMSettings
from matphase.support.device import PrecisionSetting, running
from matphase.support.errors import InputError
from matphase.support.memory import amount_text
from matphase.support.seeds import mix


def fit(
    pool: Pool,
    settings: UGSMSettings,
    data: DataSettings,
    run: Run,
    *,
    network: str = "mcd_unet",
    name: str = "ugsm",
    start: nn.Module | None = None,
    share: float = 1.0,
    own_scale: bool = False,
) -> nn.Module:
    """Train UGSM, or another network that segments whole images, by weighted cross-entropy.

    Args:
        pool: images and labels; the network sees the middle `settings.slices` slices of each.
        settings: settings of the network and its training.
        data: crops and flips.
        run: seed, precision, folder, reporter.
        network: name in `registry.SEGMENTERS`; UGSM is a U-Net with Monte-Carlo dropout.
        name: name of the stage, for its files and random seed.
        start: network of the same kind whose weights are the initial ones; None: random weights.
        share: share of the planned steps to train.
        own_scale: of the two grey scales in `pool`, show the network the slice's own alone.

    Raises:
        InputError: a phase never occurs in the labels, or the network needs more examples.
        Interrupted: the user stopped it.
    """
    torch.manual_seed(mix(run.seed, name, "weights"))
    channels = settings.slices * data.channels
    module = registry.segmenter(network, channels, len(pool.phases), settings)
    if start is not None:
        module.load_state_dict(start.state_dict())
    scale_dropout = (data.scale_dropout, data.scale_dropout) if data.channels > 1 else (0.0, 0.0)
    if own_scale:
        scale_dropout = (1.0, 0.0)
        ignore_first_scale(module)
    weights = phase_weights(pool.counts(), kind=settings.phase_weights)
    least = registry.SEGMENTERS[network].min_examples
    examples = TileSampler(
        pool.images,
        pool.labels,
        data.crop,
        data.flips,
        channels,
        scale_dropout=scale_dropout,
    )
    if len(examples) < least:
        raise InputError(
            f"{network} needs at least {least} training examples, got {len(examples)}; give more "
            "slices, or train on crops (data.crop)"
        )
    fit_segmenter(module, examples, weights, settings, run, name, share=share)
    return module


def ignore_first_scale(network: nn.Module) -> None:
    """Make a network's answers independent of the first of two grey scales, for ever.

    The weights of these channels are 0, and stay so in a training that never shows them.
    """
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight[:, ::2] = 0


def fit_segmenter(
    network: nn.Module,
    examples: TileSampler,
    weights: NDArray[np.float32],
    settings: UGSMSettings,
    run: Run,
    name: str,
    *,
    share: float = 1.0,
) -> None:
    """Train any network that segments whole images, in place.

    Args:
        network: maps (n, channels, h, w) to logits (n, phases, h, w).
        examples: images (n, channels, h, w) with the labels of their known pixels.
        weights: (phases,) weights of the cross-entropy.
        settings: epochs, batches, learning rate.
        run: seed, precision, folder, reporter.
        name: name of the stage, for its files and random seed.
        share: share of the planned steps to train.

    Raises:
        Interrupted: the user stopped it.
    """
    order = Shuffled(len(examples), settings.batch_size, mix(run.seed, name))
    epochs = epochs_needed(settings.epochs, settings.min_steps, order.steps_per_epoch)
    planned = epochs * order.steps_per_epoch
    if settings.max_steps:
        planned = min(planned, settings.max_steps)
    trainer.train(
        network,
        examples,
        order,
        weighted_cross_entropy(weights),
        name=name,
        epochs=epochs,
        learning_rate=settings.learning_rate,
        run=run,
        max_steps=max(1, round(share * planned)),
    )


def train(
    pool: Pool,
    settings: Settings,
    run: Run,
    *,
    name: str = "ugsm",
    start: Segmenter | None = None,
    share: float = 1.0,
    own_scale: bool = False,
) -> "NetworkSegmenter":
    """Train the network of `settings.model`; see `segmenters.Kind` and `fit`."""
    made_of = registry.composition(settings.model)
    assert made_of.segmenter is not None
    network = fit(
        pool,
        settings.ugsm,
        settings.data,
        run,
        network=made_of.segmenter,
        name=name,
        start=start.network if isinstance(start, NetworkSegmenter) else None,
        share=share,
        own_scale=own_scale,
    )
    return segmenter_of(network, len(pool.phases), settings)


def untrained(n_phases: int, settings: Settings, name: str = "ugsm") -> "NetworkSegmenter":
    """Build the network of `settings.model`, whose weights are then loaded from a file."""
    made_of = registry.composition(settings.model)
    assert made_of.segmenter is not None
    network = registry.segmenter(made_of.segmenter, settings.channels, n_phases, settings.ugsm)
    return segmenter_of(network, n_phases, settings, name)


def segmenter_of(
    network: nn.Module, n_phases: int, settings: Settings, name: str = "ugsm"
) -> "NetworkSegmenter":
    """Wrap a network as the segmenter of `settings.model`; `name` is that of its file."""
    average = registry.composition(settings.model).average
    return NetworkSegmenter(
        network, settings.ugsm, n_phases, average, settings.precision, settings.channels, name
    )


@dataclass(frozen=True, eq=False)
class NetworkSegmenter:
    """Segmenter made of a trained network that segments whole images.

    Attributes:
        network: maps (n, channels, h, w) to logits (n, phases, h, w).
        settings: number of samples, kind of uncertainty, flips and turns.
        n_phases: logits per pixel.
        average: what is averaged over samples; with `softmax`, as is usual for Monte-Carlo
            dropout, F is the logarithm of the mean softmax.
        precision: see `Settings.precision`.
        channels: images that the network sees: of the slice and its neighbours, at each grey scale.
        name: of the file of its weights.
    """

    network: nn.Module
    settings: UGSMSettings
    n_phases: int
    average: Literal["logits", "softmax"] = "logits"
    precision: PrecisionSetting = "auto"
    channels: int = 1
    name: str = "ugsm"

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its network, by the name of its file."""
        return {self.name: self.network}

    @property
    def reach(self) -> Reach | None:
        """How far a prediction depends on pixels around a tile; None: on the whole slice."""
        return reach_of(self.network)

    @property
    def draws_samples(self) -> bool:
        """Whether passes are stochastic, because of Monte-Carlo dropout."""
        return any(
            isinstance(module, MCDropout) and module.probability > 0
            for module in self.network.modules()
        )

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes."""
        return cost.pass_bytes(self.network, height, width)

    def passes_over_a_slice(self, passes: Passes = Passes()) -> int:
        """Number of passes for the prediction of a slice: one for each sample, or each turn."""
        if self.draws_samples:
            return passes.samples or self.settings.samples
        return TURNS if self._is_turned(passes) else 1

    def _is_turned(self, passes: Passes) -> bool:
        return self.settings.tta if passes.tta is None else passes.tta

    def predict(
        self,
        images: NDArray[np.float32],
        passes: Passes = Passes(),
        *,
        origin: tuple[int, int] = (0, 0),
    ) -> GlobalPrediction:
        """Predict images from T stochastic passes.

        F is the mean of the T logit maps, Y_G = argmax softmax(F), and u the entropy of softmax(F),
        or of the mean softmax, depending on `settings.uncertainty`. Sample t uses the same dropout
        masks for every slice, so the result of a slice does not depend on the others in the batch.

        With flips and turns (`tta`), sample t sees the images turned in the (t modulo 8)-th of
        eight ways; a network without dropout passes eight times. What is averaged stays the same,
        since the refiner and the calibrator learned from that.

        Args:
            images: (n, slices * channels, height, width) grey values scaled to [-1, 1].
            passes: number, seed and memory of the passes, and what is kept of them; of each sample
                the difference between its logits and F.
            origin: row and column of the slice at which the images begin.

        Raises:
            InputError: the memory is too little for one pass over one slice.
        """
        images = central(images, self.channels)
        drawn = self.passes_over_a_slice(passes)
        seeds = [mix(passes.seed, "sample", number) for number in range(drawn)]
        turns = [Turn(number) for number in range(TURNS if self._is_turned(passes) else 1)]
        batch = self._batch_size(images.shape[-2:], len(images), drawn, passes.memory)
        parts = []
        with running(self.network, self.precision) as device:
            for first in range(0, len(images), batch.slices):
                stack = torch.from_numpy(images[first : first + batch.slices]).to(device)
                tally = _SampleSums(self.average, keep=passes.keep_samples)
                for turn in turns:
                    alike = seeds[turn.number :: len(turns)]
                    for number in range(0, len(alike), batch.samples):
                        chosen = alike[number : number + batch.samples]
                        several = self._pass(stack, chosen, turn, origin)
                        for logits in torch.split(several, len(stack)):
                            tally.add(logits)
                information = passes.mutual_information
                parts.append(tally.summary(self.settings, mutual_information=information))
        return _concatenate(parts)

    def _pass(self, stack: Tensor, seeds: list[int], turn: Turn, origin: tuple[int, int]) -> Tensor:
        """Logits (seeds * n, phases, h, w) of images (n, channels, h, w) that are turned."""
        height, width = stack.shape[-2:]
        if turn.number and self.reach is not None:
            stack = mirrored(stack, self.reach.multiple)
        place = turn.origin(origin, *stack.shape[-2:])
        seen = turn.apply(stack).contiguous()
        with dropout_samples(self.network, seeds, place):
            logits = self.network(seen.repeat(len(seeds), 1, 1, 1)).float()
        return turn.undo(logits)[..., :height, :width]

    def _batch_size(
        self, shape: tuple[int, ...], slices: int, samples: int, memory: int
    ) -> "_BatchSize":
        """Largest batch that fits: slices first, since they share masks, then samples."""
        one = self.pass_bytes(shape[0], shape[1])
        passes = memory // one
        if passes < 1:
            raise InputError(
                f"one pass over a slice of {shape[0]} x {shape[1]} px needs up to "
                f"{amount_text(one)}, but the memory limit is {amount_text(memory)}; raise it to "
                f"{amount_text(one)}"
            )
        together = max(1, min(slices, passes))
        return _BatchSize(slices=together, samples=min(samples, passes // together))


@dataclass(frozen=True)
class _BatchSize:
    slices: int
    samples: int


class _SampleSums:
    """Running sums over samples; memory grows with their number only if they are kept."""

    def __init__(self, average: Literal["logits", "softmax"], *, keep: bool) -> None:
        self._average = average
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
            # F is then a logarithm of probabilities, too
            shown = logits if self._average == "logits" else logits.log_softmax(dim=1)
            self._kept.append(shown.cpu().numpy().astype(np.float16))
        self._count += 1

    def summary(self, settings: UGSMSettings, *, mutual_information: bool) -> GlobalPrediction:
        assert self._logits is not None
        assert self._softmax is not None
        assert self._entropy is not None
        logits = (self._logits / self._count).cpu().numpy()
        mean_softmax = (self._softmax / self._count).cpu().numpy()
        if self._average == "softmax":
            # probabilities may be rounded to 0, whose logarithm would be infinite
            logits = np.log(np.maximum(mean_softmax, np.finfo(np.float32).tiny))
        samples = None
        if self._kept is not None:
            samples = np.stack([(one - logits).astype(np.float16) for one in self._kept])
        of_mean = entr(mean_softmax).sum(axis=1)
        information = None
        if mutual_information:
            # a difference of zero can become slightly negative by rounding
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


def _concatenate(parts: list[GlobalPrediction]) -> GlobalPrediction:
    """Join the predictions of consecutive stacks."""
    information = [part.mutual_information for part in parts if part.mutual_information is not None]
    samples = [part.samples for part in parts if part.samples is not None]
    return GlobalPrediction(
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.entropy for part in parts]),
        np.concatenate(information) if information else None,
        np.concatenate(samples, axis=1) if samples else None,
    )
