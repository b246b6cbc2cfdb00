"""Calibration of the probabilities by temperature or vector scaling (Guo et al. 2017).

The final probabilities after aggregation are scaled, which are what users read and what can be
compared with validation slices. The uncertainty u and the IDK set do not change.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from matphase.images.phases import IGNORE_INDEX
from matphase.support.errors import InputError
from matphase.support.scratch import Stack
from matphase.support.seeds import mix

Kind = Literal["temperature", "vector"]
Floats: TypeAlias = NDArray[np.float64]

PIXELS = 2**19
"""Maximum number of validation pixels of a fit, which has at most two parameters per phase."""
WEIGHTS = (0.05, 20.0)
BIASES = (-10.0, 10.0)
"""Bounds of the fit: without errors in the validation slices a weight would become infinite."""
LARGEST = 1000.0
"""Largest weight or bias that is read, far beyond those of a fit."""


@dataclass(frozen=True)
class Scaling:
    """Scaling of probabilities: p'_k is proportional to exp(w_k log p_k + b_k).

    Attributes:
        kind: `temperature`: all w_k = 1 / T and b_k = 0, which keeps the order of the phases in
            a pixel; `vector`: one w_k and b_k per phase, which can change the most probable phase.
        weights: (phases,) w_k.
        biases: (phases,) b_k.
    """

    kind: Kind
    weights: tuple[float, ...]
    biases: tuple[float, ...]

    def apply(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale probabilities (n, phases, height, width)."""
        weights, biases = (
            np.array(part, np.float32)[:, None, None] for part in (self.weights, self.biases)
        )
        result: NDArray[np.float32] = softmax(_log(probabilities) * weights + biases, axis=1)
        return result

    @property
    def changes_labels(self) -> bool:
        """Whether scaling can change the most probable phase."""
        return self.kind == "vector"

    def answer(
        self, labels: NDArray[np.uint8], probabilities: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Labels (n, height, width) and probabilities (n, phases, height, width) after scaling.

        A temperature never changes the labels, even if two probabilities become equal by rounding.
        """
        scaled = self.apply(probabilities)
        return (scaled.argmax(axis=1).astype(np.uint8) if self.changes_labels else labels), scaled

    def text(self) -> str:
        """Summary in one line."""
        if self.kind == "temperature":
            return f"probabilities are scaled by temperature {1 / self.weights[0]:.3g}"
        weights, biases = (
            ", ".join(f"{value:.3g}" for value in part) for part in (self.weights, self.biases)
        )
        return f"probabilities are scaled by weights {weights} and biases {biases}"

    def to_json(self) -> dict[str, Any]:
        """Content for JSON."""
        return {"kind": self.kind, "weights": list(self.weights), "biases": list(self.biases)}

    @classmethod
    def from_json(cls, content: Any, n_phases: int) -> "Scaling":
        """Read what `to_json` wrote.

        Raises:
            InputError: the content is invalid, or belongs to other phases.
        """
        try:
            kind = content["kind"]
            weights, biases = (
                tuple(float(value) for value in content[part]) for part in ("weights", "biases")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("the scaling of the probabilities is damaged") from error
        if kind not in get_args(Kind) or not (
            len(weights) == len(biases) == n_phases
            and np.abs([weights, biases]).max() <= LARGEST  # False for NaN
        ):
            raise InputError(
                "the scaling of the probabilities is unknown or belongs to other phases"
            )
        return cls(kind, weights, biases)


def fit(
    probabilities: Iterable[NDArray[np.float32]], labels: Stack, kind: Kind, seed: int
) -> Scaling:
    """Fit the scaling that minimises the negative log-likelihood of known labels.

    Args:
        probabilities: (phases, height, width) of each slice, which no network was trained on.
        labels: (n, height, width) phase indices; `IGNORE_INDEX` pixels are not used.
        kind: temperature or vector.
        seed: random seed for drawing pixels if there are more than `PIXELS`.

    Raises:
        InputError: no pixel is labelled.
    """
    said, truth = _chosen_pixels(probabilities, labels, seed)
    n_phases = said.shape[1]
    logs = _log(said).astype(np.float64)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights, biases = _parts(parameters, n_phases)
        found = log_softmax(logs * weights + biases, axis=1)
        slope = np.exp(found)
        rows = np.arange(len(truth))
        slope[rows, truth] -= 1
        slope /= len(truth)
        by_weight, by_bias = (slope * logs).sum(axis=0), slope.sum(axis=0)
        if kind == "temperature":
            return -found[rows, truth].mean(), by_weight.sum(keepdims=True)
        return -found[rows, truth].mean(), np.concatenate([by_weight, by_bias])

    start, bounds = [1.0], [WEIGHTS]
    if kind == "vector":
        start = [1.0] * n_phases + [0.0] * n_phases
        bounds = [WEIGHTS] * n_phases + [BIASES] * n_phases
    weights, biases = _parts(minimize(loss, start, jac=True, bounds=bounds).x, n_phases)
    # a bias that all phases share has no effect
    biases = biases - biases.mean()
    return Scaling(kind, tuple(weights.tolist()), tuple(biases.tolist()))


def _chosen_pixels(
    probabilities: Iterable[NDArray[np.float32]], labels: Stack, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Probabilities (pixels, phases) and labels (pixels,) of at most about `PIXELS` pixels."""
    known = [int(np.count_nonzero(labels[i] != IGNORE_INDEX)) for i in range(len(labels))]
    if not sum(known):
        raise InputError("every pixel of the labels is ignored; give labels that contain phases")
    share = min(1.0, PIXELS / sum(known))
    rng = np.random.default_rng(mix(seed, "scaling"))
    said, truth = [], []
    for plane, one, count in zip(labels, probabilities, known, strict=True):
        chosen = np.flatnonzero(plane != IGNORE_INDEX)
        if share < 1:
            chosen = rng.choice(chosen, round(share * count), replace=False)
        said.append(one.reshape(len(one), -1)[:, chosen].T)
        truth.append(plane.ravel()[chosen])
    return np.concatenate(said), np.concatenate(truth)


def _parts(parameters: Floats, n_phases: int) -> tuple[Floats, Floats]:
    """Weights and biases (phases,) from the fitted parameters."""
    if len(parameters) == 1:
        return np.repeat(parameters, n_phases), np.zeros(n_phases)
    return parameters[:n_phases], parameters[n_phases:]


def _log(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    # probabilities may be rounded to 0, whose logarithm would be infinite
    result: NDArray[np.float32] = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return result
