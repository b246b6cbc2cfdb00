"""HCL-USI, the fine curriculum: presents hard pixels from certain to uncertain.

Section 3.2 of the paper orders the IDK pixels by rising uncertainty of UGSM. The pacing functions
and the controls (random order, falling order, no curriculum) are those of Wu, Dyer and Neyshabur,
"When do curricula work?" (ICLR 2021).
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from matphase.learning.trainer import Indices
from matphase.settings import USISettings
from matphase.support.seeds import mix


def admitted_share(settings: USISettings, progress: float) -> float:
    """Share of the ordered pixels that may be drawn at this point of the training.

    Args:
        settings: pacing function, initial share b, and progress a at which all pixels are
            admitted.
        progress: share of the training steps done, 0 to 1.

    Returns:
        the share, which rises from b at progress 0 to 1 at progress a.
    """
    start, t = settings.start, progress / settings.full_at
    if t >= 1:
        return 1.0
    match settings.pacing:
        case "linear":
            growth = t
        case "quadratic":
            growth = t**2
        case "root":
            growth = math.sqrt(t)
        case "exponential":
            growth = math.expm1(10 * t) / math.expm1(10)
        case "logarithmic":
            growth = 1 + 0.1 * math.log(t + math.exp(-10))
        case "step":
            growth = 0.0
    return start + (1 - start) * min(max(growth, 0.0), 1.0)


class PacedOrder:
    """Batches drawn at random from a growing first part of the ordered examples.

    Args:
        ranking: indices of all examples, in the order of the curriculum.
        batch_size: examples per step.
        epochs: number of epochs, each `len(ranking) // batch_size` steps long.
        settings: pacing.
        seed: random seed.
    """

    def __init__(
        self, ranking: Indices, batch_size: int, epochs: int, settings: USISettings, seed: int
    ) -> None:
        self._ranking = ranking
        self._size = min(batch_size, len(ranking))
        self._epochs = epochs
        self._settings = settings
        self._seed = seed

    @property
    def steps_per_epoch(self) -> int:
        return len(self._ranking) // self._size

    def epoch(self, number: int) -> Iterator[Indices]:
        rng = np.random.default_rng(mix(self._seed, "paced", number))
        total = self._epochs * self.steps_per_epoch
        for step in range(self.steps_per_epoch):
            share = admitted_share(self._settings, (number * self.steps_per_epoch + step) / total)
            admitted = max(self._size, math.ceil(share * len(self._ranking)))
            yield self._ranking[rng.integers(0, admitted, self._size)]


def curriculum(
    uncertainty: NDArray[np.float32],
    batch_size: int,
    epochs: int,
    settings: USISettings,
    seed: int,
) -> PacedOrder:
    """Order in which LCGAR is trained on the hard pixels D2.

    Args:
        uncertainty: (pixels,) u of each pixel of D2.
        batch_size: pixels per step.
        epochs: number of training epochs.
        settings: order and pacing.
        seed: random seed.
    """
    n = len(uncertainty)
    match settings.order:
        case "none":
            # drawn like the others, but from all pixels from the first step on
            settings = settings.model_copy(update={"start": 1.0})
            ranking = np.arange(n)
        case "rising":
            ranking = np.argsort(uncertainty, kind="stable")
        case "falling":
            ranking = np.argsort(-uncertainty, kind="stable")
        case "random":
            ranking = np.random.default_rng(mix(seed, "random order")).permutation(n)
    return PacedOrder(ranking, batch_size, epochs, settings, seed)
