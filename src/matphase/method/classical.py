"""Classical features: a segmenter that needs seconds and few labels.

Pixels are classified by multiscale image features (`networks.features`), as interactive tools do.
The classifier is fitted by scikit-learn; what it learned is copied into a network (a linear layer,
or trees as arrays), which is evaluated and stored as every other network is.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr
from torch import Tensor, nn

from matphase.images.neighbours import central, middle
from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.learning.weight_files import load_weights, save_weights
from matphase.learning.weights import phase_fractions
from matphase.method.model import halo_of
from matphase.method.passes import DEFAULT_MEMORY, Passes
from matphase.method.pool_predictions import pool_tiles
from matphase.method.results import GlobalPrediction
from matphase.method.segmenter import Segmenter
from matphase.networks.forest import NEVER, Forest
from matphase.networks.linear import Linear
from matphase.networks.pixel_classifier import PixelClassifier
from matphase.networks.reach import Reach
from matphase.settings import ClassicalSettings, Settings
from matphase.support.device import best_device
from matphase.support.errors import InputError
from matphase.support.memory import amount_text
from matphase.support.progress import Reporter
from matphase.support.seeds import mix

MIN_PIXELS_OF_PHASE = 200
"""Pixels of each phase that are sampled, where there are as many, however rare the phase is."""
PENALTY = 10.0
"""Penalty on the squared weights of the logistic regression, on the scale of one pixel."""
MAX_ITERATIONS = 1000
"""Maximum number of iterations of the logistic regression, which needs about a hundred."""
LEAF = 5
"""Minimum number of training pixels in a leaf of a tree."""
ABSENT = 20.0
"""Distance of the logit of a phase without a pixel from the others."""


def train(
    pool: Pool,
    settings: Settings,
    run: Run,
    *,
    name: str = "ugsm",
    start: Segmenter | None = None,  # noqa: ARG001
    share: float = 1.0,  # noqa: ARG001
) -> "ClassicalSegmenter":
    """Fit a classifier to the features of known pixels, drawn at random.

    Arguments are those of `segmenters.Kind.train`. The fit takes seconds, so that it always begins
    anew and is never a part of a training.
    """
    n_phases = len(pool.phases)
    stage = name.replace("ugsm", "classical", 1)
    network = _build(n_phases, settings)
    finished = run.folder / f"{stage}.safetensors" if run.folder else None

    def fitted() -> dict[str, Tensor]:
        if finished is not None and finished.exists():
            load_weights(network, finished)
            return network.state_dict()
        run.reporter.start(f"train {stage}", len(pool))
        seed = mix(run.seed, stage)
        values, labels = sample(network, pool, settings.classical, seed, run.reporter)
        network.classifier = fit(
            values,
            labels,
            n_phases,
            settings.classical,
            seed,
            fractions=phase_fractions(pool.counts()),
        )
        run.reporter.finish()
        if finished is not None:
            save_weights(network, finished)
        return network.state_dict()

    network.load_state_dict(run.team.first(fitted))
    return ClassicalSegmenter(network.eval())


def untrained(n_phases: int, settings: Settings) -> "ClassicalSegmenter":
    """Build the network of `settings.classical`, whose weights are then loaded from a file."""
    return ClassicalSegmenter(_build(n_phases, settings).eval())


def sample(
    network: PixelClassifier,
    pool: Pool,
    settings: ClassicalSettings,
    seed: int,
    reporter: Reporter,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Features and phases of known pixels of a pool, drawn at random.

    Args:
        network: computes the features.
        pool: images and labels.
        settings: number of pixels, and shares of the phases.
        seed: random seed.
        reporter: receives progress, in images.

    Returns:
        features (pixels, features) and phase indices (pixels,).

    Raises:
        InputError: a phase never occurs in the labels.
    """
    pool.require_every_phase("the training labels")
    place = middle(pool.images.shape[1], network.slices * network.channels)
    tiles = pool_tiles(
        (1, *pool.shape),
        halo_of(network.reach),
        network.pass_bytes,
        4 * network.slices * network.channels,
        DEFAULT_MEMORY,
    )
    values, labels = [], []
    for number, pixels in enumerate(_drawn(pool, settings, seed)):
        rows, columns = np.divmod(pixels, pool.shape[1])
        for tile in tiles:
            _, high, wide = tile.core
            here = (rows >= high.start) & (rows < high.stop)
            here &= (columns >= wide.start) & (columns < wide.stop)
            if not here.any():
                continue
            image = pool.images[(number, place, *tile.window[1:])]
            top, left = tile.origin
            values.append(_features_at(network, image, rows[here] - top, columns[here] - left))
            labels.append(pool.labels[number][rows[here], columns[here]])
        reporter.advance()
    return np.concatenate(values), np.concatenate(labels)


def _drawn(pool: Pool, settings: ClassicalSettings, seed: int) -> list[NDArray[np.int64]]:
    """Known pixels of each image, drawn at random, as rising positions in the image.

    Phases have the shares that `balance` asks for, but rare ones at least `MIN_PIXELS_OF_PHASE`
    pixels, where there are as many.
    """
    rng = np.random.default_rng(seed)
    n_phases = len(pool.phases)
    counts = np.stack(
        [np.bincount(plane.ravel(), minlength=256)[:n_phases] for plane in pool.labels]
    )
    known = counts.sum(axis=0)
    wanted = known
    if settings.pixels and known.sum() > settings.pixels:
        shares = balanced(phase_fractions(known), settings.balance)
        wanted = np.ceil(shares * settings.pixels).astype(np.int64)
        wanted = np.minimum(known, np.maximum(wanted, MIN_PIXELS_OF_PHASE))
    chosen: list[list[NDArray[np.int64]]] = [[] for _ in range(len(pool))]
    for phase in range(n_phases):
        ranks = np.sort(rng.choice(known[phase], wanted[phase], replace=False, shuffle=False))
        ends = counts[:, phase].cumsum()
        for number, part in enumerate(np.split(ranks, np.searchsorted(ranks, ends[:-1]))):
            if len(part):
                where = np.flatnonzero(pool.labels[number] == phase)
                chosen[number].append(where[part - (ends[number] - counts[number, phase])])
    return [np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64) for parts in chosen]


def _features_at(
    network: PixelClassifier,
    image: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Features (pixels, features) of pixels of an image (slices * channels, height, width).

    Rows rise.
    """
    width = image.shape[-1]
    found = []
    with _inference(network) as device:
        for strip, values in network.strips(torch.from_numpy(image).to(device)):
            here = (rows >= strip.start) & (rows < strip.stop)
            places = (rows[here] - strip.start) * width + columns[here]
            found.append(values[:, torch.from_numpy(places).to(device)].T.cpu().numpy())
    return np.concatenate(found)


@contextmanager
def _inference(network: nn.Module) -> Iterator[torch.device]:
    """Context manager that moves a network to the best device, for inference in full precision.

    Gives the device.
    """
    device = best_device()
    network.to(device)
    with torch.inference_mode():
        yield device


def fit(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    n_phases: int,
    settings: ClassicalSettings,
    seed: int,
    *,
    fractions: NDArray[np.float64] | None = None,
) -> Forest | Linear:
    """Fit a classifier; the result does not depend on the number of threads.

    Pixels are weighted so that phases count as `settings.balance` asks for.

    Args:
        values: (pixels, features).
        labels: (pixels,) phase indices.
        n_phases: number of phases; those without a pixel get no probability.
        settings: kind and size of the classifier.
        seed: random seed.
        fractions: (phases,) fraction of each phase among the known pixels, of which these are a
            sample; None: these are all of them.
    """
    shares = np.bincount(labels, minlength=n_phases) / len(labels)
    wanted = balanced(shares if fractions is None else fractions, settings.balance)
    weights = (wanted / np.where(shares > 0, shares, 1))[labels]
    if settings.classifier == "linear":
        return _fit_linear(values, labels, weights, n_phases)
    return _fit_forest(values, labels, weights, n_phases, settings, seed)


def balanced(fractions: NDArray[np.float64], balance: float) -> NDArray[np.float64]:
    """Shares of the phases in a training, (phases,), with sum 1; see `PixelSampleSettings`."""
    shares = np.where(fractions > 0, fractions ** (1 - balance), 0)
    found: NDArray[np.float64] = shares / shares.sum()
    return found


def _fit_linear(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    weights: NDArray[np.float64],
    n_phases: int,
) -> Linear:
    """Multinomial logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean = values.mean(axis=0, dtype=np.float64)
    spread = values.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1
    network = Linear(values.shape[1], n_phases)
    model = LogisticRegression(C=1 / PENALTY, max_iter=MAX_ITERATIONS)
    with threadpool_limits(1):  # sums in float64 depend on how they are split
        model.fit((values - mean) / spread, labels, weights)
    slopes, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn has one row then, of the second phase
        slopes = np.concatenate([np.zeros_like(slopes), slopes])
        bias = np.concatenate([np.zeros_like(bias), bias])
    phases = model.classes_.astype(np.int64)
    slopes = slopes / spread
    bias = bias - slopes @ mean
    with torch.no_grad():
        network.layer.weight.zero_()
        network.layer.bias.fill_(bias.min() - ABSENT)
        network.layer.weight[phases] = torch.from_numpy(slopes).float()
        network.layer.bias[phases] = torch.from_numpy(bias).float()
    return network


def _fit_forest(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    weights: NDArray[np.float64],
    n_phases: int,
    settings: ClassicalSettings,
    seed: int,
) -> Forest:
    """Extremely randomised trees (Geurts et al., Machine Learning 63, 3, 2006)."""
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(
        settings.trees,
        max_depth=settings.depth,
        min_samples_leaf=LEAF,
        n_jobs=torch.get_num_threads(),
        random_state=seed % 2**32,
    ).fit(values, labels, weights)
    phases = model.classes_.astype(np.int64)
    forest = Forest(values.shape[1], n_phases, settings.trees, settings.depth)
    for number, one in enumerate(model.estimators_):
        feature, threshold, shares = _complete(one.tree_, settings.depth)
        forest.feature[number] = torch.from_numpy(feature)
        forest.threshold[number] = torch.from_numpy(threshold)
        forest.shares[number] = 0
        forest.shares[number][:, phases] = torch.from_numpy(shares).float()
    return forest


def _complete(
    tree: Any, depth: int
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float64]]:
    """Tree of scikit-learn as a complete tree: features, thresholds, phase fractions of leaves.

    Below an early leaf, all decisions go to the left, and all leaves are equal to it.
    """
    # scikit-learn compares float32 features with float64 thresholds: the next smaller float32
    # decides as they do
    threshold = tree.threshold.astype(np.float32)
    too_large = threshold > tree.threshold
    threshold[too_large] = np.nextafter(threshold[too_large], np.float32(-np.inf))
    features, thresholds = [], []
    node = np.zeros(1, np.int64)
    for _ in range(depth):
        ends = tree.children_left[node] < 0
        features.append(np.where(ends, 0, tree.feature[node]))
        thresholds.append(np.where(ends, np.float32(NEVER), threshold[node]))
        sides = (tree.children_left, tree.children_right)
        node = np.stack([np.where(ends, node, side[node]) for side in sides], 1).ravel()
    shares = tree.value[node, 0]
    return (
        np.concatenate(features).astype(np.int16),
        np.concatenate(thresholds),
        shares / shares.sum(axis=1, keepdims=True),
    )


def _build(n_phases: int, settings: Settings) -> PixelClassifier:
    """Network of `settings.classical`, untrained."""
    chosen = settings.classical
    network = PixelClassifier(settings.data.channels, settings.ugsm.slices, n_phases)
    if chosen.classifier == "linear":
        network.classifier = Linear(network.features, n_phases)
    else:
        network.classifier = Forest(network.features, n_phases, chosen.trees, chosen.depth)
    return network


@dataclass(frozen=True, eq=False)
class ClassicalSegmenter:
    """Segmenter made of multiscale features and a classifier of pixels.

    Attributes:
        network: maps (n, slices * channels, h, w) to log-probabilities (n, phases, h, w).
    """

    network: PixelClassifier

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its network, by the name of its file."""
        return {"classical": self.network}

    @property
    def reach(self) -> Reach | None:
        """How far a prediction depends on pixels around a tile."""
        return self.network.reach

    @property
    def draws_samples(self) -> bool:
        """Whether passes are stochastic: they are not."""
        return False

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes."""
        return self.network.pass_bytes(height, width)

    def predict(
        self,
        images: NDArray[np.float32],
        passes: Passes = Passes(),
        *,
        origin: tuple[int, int] = (0, 0),
    ) -> GlobalPrediction:
        """Predict images from their features; F are log-probabilities.

        One pass gives one answer: there are no samples, and the mutual information is 0.

        Args:
            images: (n, slices * channels, height, width) grey values scaled to [-1, 1].
            passes: memory, and whether the mutual information is asked for.
            origin: of no influence.

        Raises:
            InputError: the memory is too little for one pass over one slice.
        """
        images = central(images, self.network.slices * self.network.channels)
        height, width = images.shape[-2:]
        one = self.pass_bytes(height, width)
        if one > passes.memory:
            raise InputError(
                f"one pass over a slice of {height} x {width} px needs up to {amount_text(one)}, "
                f"but the memory limit is {amount_text(passes.memory)}; raise it to "
                f"{amount_text(one)}"
            )
        with _inference(self.network) as device:
            logits = self.network(torch.from_numpy(images).to(device)).cpu().numpy()
        entropy = entr(np.exp(logits)).sum(axis=1)
        nothing = np.zeros_like(entropy) if passes.mutual_information else None
        return GlobalPrediction(logits.argmax(axis=1).astype(np.uint8), logits, entropy, nothing)
