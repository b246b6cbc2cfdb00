"""Splits of labelled slices into those that a candidate learns from and those that score it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.training_pool import Pool
from matphase.support.errors import InputError

GUARD = 16
"""Pixels between the learned and the scored half of a single slice."""


@dataclass(frozen=True)
class Fold:
    """What is left out of the labelled slices.

    Attributes:
        name: for files and the model's card.
        slice: number of the labelled slice that is left out; None: a half of the only one.
        half: 0 for the beginning of a slice along its longer side, 1 for its end.
    """

    name: str
    slice: int | None
    half: int = 0

    def seen(self, pool: Pool) -> Pool:
        """What a candidate learns from."""
        if self.slice is None:
            return _only(pool, 1 - self.half)
        return pool.take(np.arange(len(pool)) != self.slice)

    def unseen(self, pool: Pool) -> Pool:
        """What it is scored on."""
        if self.slice is None:
            return _only(pool, self.half)
        return pool.take(np.arange(len(pool)) == self.slice)


def folds_of(pool: Pool) -> list[Fold]:
    """Folds of labelled slices: the last one left out, then the first one, then those between.

    Of a single slice one half is left out, and then the other. Folds without which a phase would
    lack are left aside.

    Raises:
        InputError: that is true of all.
    """
    folds = [
        fold
        for fold in _folds(len(pool))
        if fold.seen(pool).counts().all() and fold.unseen(pool).counts().any()
    ]
    if not folds:
        part = "half of the labelled slice" if len(pool) == 1 else "one of the labelled slices"
        raise InputError(
            f"without {part} the labels lack a phase, so nothing can be left out to choose "
            "settings by; label more, or train with a preset such as small"
        )
    return folds


def _folds(n: int) -> Iterator[Fold]:
    if n == 1:
        yield from (Fold("end", None, 1), Fold("start", None, 0))
        return
    for number in dict.fromkeys([n - 1, 0, *range(1, n - 1)]):
        yield Fold(f"slice_{number}", number)


def _only(pool: Pool, half: int) -> Pool:
    """Pool of one slice that is labelled in one half only, with a gap to the other."""
    labels: NDArray[np.uint8] = pool.labels[0]
    axis = int(np.argmax(labels.shape))
    side = labels.shape[axis]
    place = np.arange(side).reshape((-1, 1) if axis == 0 else (1, -1))
    middle = side // 2
    where = place < middle - GUARD // 2 if half == 0 else place >= middle + GUARD // 2
    return pool.with_labels(np.where(where, labels, np.uint8(IGNORE_INDEX))[np.newaxis])
