"""The peers of real_slices.py that take seconds: Otsu, and classifiers on features of pixels."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from electrodes import Electrode, Images, Labels
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, gaussian_laplace
from scipy.special import entr
from skimage.feature import multiscale_basic_features
from skimage.filters import threshold_multiotsu
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from matphase.images.phases import IGNORE_INDEX
from matphase.support.seeds import mix

PIXELS = 20_000
"""Training pixels of each slice, drawn at random."""
ILASTIK_SCALES = (0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
"""Standard deviations in pixels of ilastik's features; 0.3 is that of smoothing alone."""
ILASTIK_FINEST = 0.3
ILASTIK_INNER = 0.66
"""Inner scale of the difference of Gaussians, in parts of the outer one."""
ILASTIK_WINDOW = 0.5
"""Standard deviation of the window of the structure tensor, in parts of its scale."""

Maps = NDArray[np.float32]
"""Features (pixels, features) of a slice."""
Seconds = dict[str, float]
"""`cpu` of all threads and of processes that were waited for, and `clock`."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method says about the test slices.

    Attributes:
        labels: (n, height, width) phase indices.
        train: seconds of training.
        predict: seconds of prediction.
        probabilities: (n, phases, height, width), if the method has any.
        uncertainty: (n, height, width), higher where errors are expected; the entropy of the
            probabilities if None.
        facts: what else to keep, ready for JSON.
    """

    labels: Labels
    train: Seconds
    predict: Seconds
    probabilities: Images | None = None
    uncertainty: Images | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, probabilities: Images, train: Seconds, predict: Seconds, **facts: object
    ) -> "Answer":
        """The most probable phases."""
        labels = probabilities.argmax(axis=1).astype(np.uint8)
        return cls(labels, train, predict, probabilities, facts=facts)

    @property
    def expected_errors(self) -> Images | None:
        """The uncertainty, or the entropy of the probabilities in nats."""
        if self.uncertainty is not None or self.probabilities is None:
            return self.uncertainty
        entropy: Images = entr(self.probabilities).sum(axis=1)
        return entropy


def timed(work: Callable[[], T]) -> tuple[T, Seconds]:
    """What a function gives, and the seconds that it and its child processes took."""
    before = os.times()
    result = work()
    after = os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    return result, {"cpu": round(cpu, 2), "clock": round(after.elapsed - before.elapsed, 2)}


def added(answers: Iterable[Answer]) -> Answer:
    """Probabilities of several methods, added; their seconds, too."""
    members = list(answers)
    shares = [one.probabilities for one in members if one.probabilities is not None]
    mean: Images = np.stack(shares).mean(axis=0)

    def total(which: str) -> Seconds:
        return {
            name: round(sum(getattr(one, which)[name] for one in members), 2)
            for name in ("cpu", "clock")
        }

    return Answer.of(mean, total("train"), total("predict"))


# --- methods --------------------------------------------------------------------------------------


def otsu(slices: Electrode, _: int, __: int) -> dict[str, Answer]:
    """Thresholds from the training slices; phases in the order of their mean grey values."""

    def fit() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        images, labels = slices.images("train"), slices.labels("train")
        means = [images[labels == phase].mean() for phase in range(len(slices.phases))]
        return threshold_multiotsu(images, classes=len(means)), np.argsort(means)

    (thresholds, order), train = timed(fit)
    labels, predict = timed(lambda: order[np.digitize(slices.images("test"), thresholds)])
    return {"otsu": Answer(labels.astype(np.uint8), train, predict)}


def forest_raw(slices: Electrode, seed: int, threads: int) -> dict[str, Answer]:
    """Random forest on scikit-image's features of the grey values as they are."""
    read = slices.images
    return {"forest_raw": classified(slices, forest(threads), read, scikit_image, seed)}


def forest_scaled(slices: Electrode, seed: int, threads: int) -> dict[str, Answer]:
    """The same with each slice scaled to mean 0 and SD 1."""
    read = slices.scaled
    return {"forest_scaled": classified(slices, forest(threads), read, scikit_image, seed)}


def logistic(slices: Electrode, seed: int, _: int) -> dict[str, Answer]:
    """Logistic regression on scikit-image's features, each slice scaled."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return {"logistic": classified(slices, model, slices.scaled, scikit_image, seed)}


def extra_trees(slices: Electrode, seed: int, threads: int) -> dict[str, Answer]:
    """Extremely randomised trees on ilastik's features of each slice at two grey scales."""
    model = ExtraTreesClassifier(150, n_jobs=threads, min_samples_leaf=5)
    return {"extra_trees": classified(slices, model, slices.both_scales, ilastik, seed)}


def forest(threads: int) -> RandomForestClassifier:
    """100 trees, as in interactive pixel classification."""
    return RandomForestClassifier(100, n_jobs=threads, min_samples_leaf=2)


def classified(
    slices: Electrode,
    model: Any,
    read: Callable[[Any], Images],
    features: Callable[[Images], Maps],
    seed: int,
) -> Answer:
    """Fit a classifier of scikit-learn to pixels drawn at random, and ask it about all others."""
    rng = np.random.default_rng(mix(seed, "training pixels"))
    if "random_state" in model.get_params():
        model.set_params(random_state=mix(seed, "classifier") % 2**32)

    def fit() -> None:
        values, labels = [], []
        for image, label in zip(read("train"), slices.labels("train"), strict=True):
            known = np.flatnonzero(label != IGNORE_INDEX)
            chosen = rng.choice(known, min(len(known), PIXELS), replace=False)
            values.append(features(image)[chosen])
            labels.append(label.ravel()[chosen])
        model.fit(np.concatenate(values), np.concatenate(labels))

    def predict() -> Images:
        images = read("test")
        found = np.zeros((len(images), len(slices.phases), *images.shape[-2:]), np.float32)
        for image, out in zip(images, found, strict=True):
            # a phase that is in no training slice keeps its zeros
            out[model.classes_] = model.predict_proba(features(image)).T.reshape(-1, *out.shape[1:])
        return found

    _, train = timed(fit)
    probabilities, predicted = timed(predict)
    return Answer.of(probabilities, train, predicted)


# --- features -------------------------------------------------------------------------------------


def scikit_image(image: Images) -> Maps:
    """Intensity, edges and texture at scales of 1 to 16 px of a slice (height, width)."""
    found: Maps = multiscale_basic_features(image, sigma_min=1, sigma_max=16)
    return found.reshape(image.size, -1)


def ilastik(channels: Images) -> Maps:
    """The features that ilastik offers, of a slice (channels, height, width).

    Berg et al., Nature Methods 2019: Gaussian smoothing, Laplacian of Gaussian, gradient magnitude,
    difference of Gaussians, and eigenvalues of the structure tensor and of the Hessian.
    """
    found = []
    for image in channels:
        found.append(gaussian_filter(image, ILASTIK_FINEST))
        for scale in ILASTIK_SCALES:
            smooth = gaussian_filter(image, scale)
            found += [
                smooth,
                gaussian_laplace(image, scale),
                gaussian_gradient_magnitude(image, scale),
                smooth - gaussian_filter(image, ILASTIK_INNER * scale),
                *structure_tensor(image, scale),
                *hessian(image, scale),
            ]
    return np.stack([one.ravel() for one in found], axis=1)


def structure_tensor(image: Images, scale: float) -> tuple[Images, Images]:
    """Eigenvalues of the structure tensor, the larger one first."""
    y, x = (gaussian_filter(image, scale, order) for order in ((1, 0), (0, 1)))
    return eigenvalues(
        *(gaussian_filter(one, ILASTIK_WINDOW * scale) for one in (y * y, x * x, y * x))
    )


def hessian(image: Images, scale: float) -> tuple[Images, Images]:
    """Eigenvalues of the Hessian, the larger one first."""
    return eigenvalues(
        *(gaussian_filter(image, scale, order) for order in ((2, 0), (0, 2), (1, 1)))
    )


def eigenvalues(yy: Images, xx: Images, yx: Images) -> tuple[Images, Images]:
    """Of symmetric 2 x 2 matrices, the larger one first."""
    middle, half = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    return middle + half, middle - half


METHODS = {
    "otsu": otsu,
    "forest_raw": forest_raw,
    "forest_scaled": forest_scaled,
    "logistic": logistic,
    "extra_trees": extra_trees,
}
TITLES = {
    "otsu": "Otsu",
    "forest_raw": "random forest, grey values as they are",
    "forest_scaled": "random forest, each slice scaled",
    "logistic": "logistic regression, each slice scaled",
    "extra_trees": "extra trees on ilastik's features, two grey scales",
}
