"""Scaling of the answer's probabilities, so that they mean what they say (Guo et al. 2017).

The aggregated answer is scaled, of UGSM and of LCGAR alike: it is what users read, and what
validation slices can tell about. Nothing before it changes: not u, not the IDK set.
"""

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
"""Validation pixels that a fit looks at, at most: it finds two numbers a phase."""
WEIGHTS = (0.05, 20.0)
BIASES = (-10.0, 10.0)
"""Where the numbers are looked for: slices without an error would make a weight infinite."""


@dataclass(frozen=True)
class Scaling:
    """p'_k in proportion to exp(w_k log p_k + b_k).

    Attributes:
        kind: of one temperature T, with all w_k = 1 / T and b_k = 0, which leaves the order of
            the phases in a pixel as it is; or a vector of w_k and b_k, which may change the
            most probable phase.
        weights: (phases,) w_k.
        biases: (phases,) b_k.
    """

    kind: Kind
    weights: tuple[float, ...]
    biases: tuple[float, ...]

    def apply(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled probabilities, of the same shape (n, phases, height, width)."""
        weights, biases = (
            np.array(part, np.float32)[:, None, None] for part in (self.weights, self.biases)
        )
        result: NDArray[np.float32] = softmax(_log(probabilities) * weights + biases, axis=1)
        return result

    @property
    def moves_answers(self) -> bool:
        """Whether another phase may be the most probable one after scaling."""
        return self.kind == "vector"

    def answer(
        self, labels: NDArray[np.uint8], probabilities: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Labels (n, height, width) and probabilities after scaling.

        A temperature leaves the labels as they are, also where rounding makes two phases alike.
        """
        scaled = self.apply(probabilities)
        return (scaled.argmax(axis=1).astype(np.uint8) if self.moves_answers else labels), scaled

    def text(self) -> str:
        """What was found, in one line."""
        if self.kind == "temperature":
            return f"probabilities are scaled by temperature {1 / self.weights[0]:.3g}"
        weights, biases = (
            ", ".join(f"{value:.3g}" for value in part) for part in (self.weights, self.biases)
        )
        return f"probabilities are scaled by weights {weights} and biases {biases}"

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"kind": self.kind, "weights": list(self.weights), "biases": list(self.biases)}

    @classmethod
    def from_json(cls, content: Any, n_phases: int) -> "Scaling":
        """Read what `to_json` wrote.

        Raises:
            InputError: it is something else, or of other phases.
        """
        try:
            kind = content["kind"]
            weights, biases = (
                tuple(float(value) for value in content[part]) for part in ("weights", "biases")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("the scaling of the probabilities is damaged") from error
        if kind not in get_args(Kind) or not (
            len(weights) == len(biases) == n_phases and np.isfinite([weights, biases]).all()
        ):
            raise InputError("the scaling of the probabilities is of another kind or other phases")
        return cls(kind, weights, biases)


def fit(probabilities: Stack, labels: Stack, kind: Kind, seed: int) -> Scaling:
    """The scaling with the smallest negative log-likelihood of known labels.

    Args:
        probabilities: (n, phases, height, width) of slices that no network learned from.
        labels: (n, height, width) their phase indices; `IGNORE_INDEX` pixels do not count.
        kind: how much may be scaled.
        seed: random seed of the choice of pixels, where there are more than `PIXELS`.

    Raises:
        InputError: no pixel is labelled.
    """
    n_phases = probabilities.shape[1]
    said, truth = _chosen_pixels(probabilities, labels, seed)
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
    # a bias that all phases share says nothing
    biases = biases - biases.mean()
    return Scaling(kind, tuple(weights.tolist()), tuple(biases.tolist()))


def _chosen_pixels(
    probabilities: Stack, labels: Stack, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Probabilities (pixels, phases) and labels of known pixels, at most about `PIXELS`."""
    known = [int(np.count_nonzero(labels[i] != IGNORE_INDEX)) for i in range(len(labels))]
    if not sum(known):
        raise InputError("every pixel of the labels is ignored; give labels that name phases")
    share = min(1.0, PIXELS / sum(known))
    rng = np.random.default_rng(mix(seed, "scaling"))
    said, truth = [], []
    for number, count in enumerate(known):
        plane = labels[number]
        chosen = np.flatnonzero(plane != IGNORE_INDEX)
        if share < 1:
            chosen = rng.choice(chosen, round(share * count), replace=False)
        one = probabilities[number]
        said.append(one.reshape(len(one), -1)[:, chosen].T)
        truth.append(plane.ravel()[chosen])
    return np.concatenate(said), np.concatenate(truth)


def _parts(parameters: Floats, n_phases: int) -> tuple[Floats, Floats]:
    """Weights and biases (phases,) from what is fitted."""
    if len(parameters) == 1:
        return np.repeat(parameters, n_phases), np.zeros(n_phases)
    return parameters[:n_phases], parameters[n_phases:]


def _log(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    # the smallest normal number keeps a probability that was rounded to 0 finite
    result: NDArray[np.float32] = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return result
