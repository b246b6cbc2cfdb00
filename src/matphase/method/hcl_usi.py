"""HCL-USI, the fine curriculum: presents hard pixels from certain to uncertain.

Section 3.2 of the paper orders the IDK pixels by rising uncertainty of UGSM. The pacing functions
and the controls (random order, falling order, no curriculum) are those of Wu, Dyer and Neyshabur,
"When do curricula work?" (ICLR 2021).
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matphase.learning.batches import Indices
from matphase.settings import USISettings
from matphase.support.errors import InputError
from matphase.support.scratch import Stack, gather, room_for
from matphase.support.seeds import mix

PIXELS_AT_ONCE = 2**22
"""Pixels whose uncertainty is read at a time."""
MAX_PIXELS = 2**32
"""Maximum number of pixels, whose numbers have 32 bits where they are ranked."""


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
        self, ranking: Stack, batch_size: int, epochs: int, settings: USISettings, seed: int
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
            chosen = gather(self._ranking, rng.integers(0, admitted, self._size))
            yield chosen.astype(np.int64)


def curriculum(
    uncertainty: Stack,
    batch_size: int,
    epochs: int,
    settings: USISettings,
    seed: int,
    folder: Path | None = None,
) -> PacedOrder:
    """Order in which LCGAR is trained on the hard pixels D2.

    Args:
        uncertainty: (pixels,) u of each pixel of D2.
        batch_size: pixels per step.
        epochs: number of training epochs.
        settings: order and pacing.
        seed: random seed.
        folder: folder for temporary files.

    Raises:
        InputError: there are too many pixels to rank.
    """
    n = len(uncertainty)
    if settings.order == "none":
        # drawn like the others, but from all pixels from the first step on
        settings = settings.model_copy(update={"start": 1.0})
    if settings.order in ("rising", "falling"):
        ranking = _ranked(uncertainty, falling=settings.order == "falling", folder=folder)
    else:
        ranking = room_for((n,), np.int64, folder)
        random = np.random.default_rng(mix(seed, "random order"))
        ranking[:] = random.permutation(n) if settings.order == "random" else np.arange(n)
    return PacedOrder(ranking, batch_size, epochs, settings, seed)


def _ranked(values: Stack, *, falling: bool, folder: Path | None) -> Stack:
    """Numbers of the values (n,) float32 in rising or falling order, ties in the order they have.

    Value and number are sorted as one integer, which can be done on disk.
    """
    n = len(values)
    if n > MAX_PIXELS:
        raise InputError(
            f"LCGAR cannot be trained on {n} pixels; set lcgar.pixels_per_image to fewer"
        )
    ranking = room_for((n,), np.uint64, folder)
    parts = [slice(first, first + PIXELS_AT_ONCE) for first in range(0, n, PIXELS_AT_ONCE)]
    for part in parts:
        ranking[part] = _sortable(values[part], falling=falling) << np.uint64(32)
        ranking[part] += np.arange(part.start, part.start + len(ranking[part]), dtype=np.uint64)
    ranking.sort()
    for part in parts:
        ranking[part] &= np.uint64(MAX_PIXELS - 1)
    return ranking


def _sortable(values: NDArray[np.float32], *, falling: bool) -> NDArray[np.uint64]:
    """Whole numbers below 2^32 that rise, or fall, as the values do."""
    # -0 is made 0, as both are equal
    bits = ((-values if falling else values) + np.float32(0)).view(np.uint32)
    # the bits of negative numbers fall as these rise
    negative = bits >> 31 == 1
    return np.where(negative, ~bits, bits | np.uint32(2**31)).astype(np.uint64)
