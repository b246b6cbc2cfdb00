"""Splits into training, validation and test slices.

Neighbouring slices of a tomogram are nearly equal, so test slices drawn at random give scores that
are too good. `blocked_split` separates the sets in depth; use it for scores that you report.
`paper_split` follows the paper, including its leak, for comparison with its tables.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError

PAPER_UNSEEN_SLICES = 4
PAPER_LEAKY_PAIRS = 10


@dataclass(frozen=True, eq=False)
class Split:
    """Split of slices into disjoint sets of sorted int64 indices.

    Attributes:
        train: slices for training.
        validation: slices for choosing settings; may be empty.
        test: slices for the final scores only.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PaperSplit:
    """Split of the augmented pool into disjoint, sorted pairs (slice, copy), int64 (pairs, 2).

    Attributes:
        train: pairs for training.
        test: test pairs: all copies of the unseen slices, and the leaky pairs.
        unseen: slices without a copy in `train`, shape (4,), sorted; only test scores on these
            are free of the leak.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    unseen: NDArray[np.int64]


def blocked_split(
    n_slices: int, *, validation: float = 0.15, test: float = 0.25, guard: int = 2
) -> Split:
    """Split the depth into blocks: train, guard, validation, guard, test.

    Guard slices belong to no set, so that nearly equal slices do not end up in different sets.
    Split before augmentation, so that copies stay with their slice.

    Args:
        n_slices: number of slices.
        validation: share of validation slices, not counting guards, at least one slice; 0: no
            validation block, and only one guard.
        test: share of test slices, not counting guards, at least one slice.
        guard: number of unused slices between neighbouring blocks.

    Raises:
        InputError: the shares are invalid, no training slices are left, or `guard` is negative.
    """
    if not (0 <= validation < 1 and 0 < test < 1 and validation + test < 1):
        raise InputError(
            f"shares of {validation:g} for validation and {test:g} for test are invalid; give "
            "a test share above 0, a validation share of 0 or more, and a sum below 1"
        )
    if guard < 0:
        raise InputError(f"guard is {guard}; give 0 slices or more")
    guards = 2 if validation > 0 else 1
    usable = n_slices - guards * guard
    n_test = max(1, round(test * usable))
    n_validation = max(1, round(validation * usable)) if validation > 0 else 0
    n_train = usable - n_test - n_validation
    if n_train < 1:
        raise InputError(
            f"{n_slices} slices are too few for a split with {guards} x {guard} guard slices; give "
            "more slices, fewer guards, or smaller shares for validation and test"
        )
    validation_start = n_train + guard
    every = np.arange(n_slices, dtype=np.int64)
    return Split(
        train=every[:n_train],
        validation=every[validation_start : validation_start + n_validation],
        test=every[n_slices - n_test :],
    )


def paper_split(n_slices: int, copies: int = 10, *, seed: int) -> PaperSplit:
    """Split the augmented pool as in the paper (appendix 6.3), with its leak.

    The test set has all copies of 4 random slices, which are not in the training set, and 10 random
    pairs of other slices. The other copies of these 10 pairs, shifted by some rows, stay in the
    training set, as do the neighbours in depth of all test slices. With 133 slices and 10 copies:
    1330 pairs, 1280 for training and 50 for the test.

    Args:
        n_slices: number of slices before augmentation.
        copies: copies of each slice, see `matphase.learning.augment.row_removal`.
        seed: random seed; equal seeds give equal splits.

    Raises:
        InputError: `copies` is below 1, or there are too few slices to leave a training set.
    """
    if copies < 1:
        raise InputError(f"copies is {copies}; give at least 1")
    if (n_slices - PAPER_UNSEEN_SLICES) * copies <= PAPER_LEAKY_PAIRS:
        raise InputError(
            f"{n_slices} slices with {copies} copies each are too few for the paper's split, which "
            f"tests on all copies of {PAPER_UNSEEN_SLICES} slices and {PAPER_LEAKY_PAIRS} more "
            "pairs; give more slices, or use the blocked split"
        )
    random = np.random.default_rng(seed)
    unseen = np.sort(random.choice(n_slices, size=PAPER_UNSEEN_SLICES, replace=False))
    slices, copy = np.divmod(np.arange(n_slices * copies, dtype=np.int64), copies)
    pairs = np.stack([slices, copy], axis=1)
    tested = np.isin(slices, unseen)
    tested[random.choice(np.flatnonzero(~tested), size=PAPER_LEAKY_PAIRS, replace=False)] = True
    return PaperSplit(train=pairs[~tested], test=pairs[tested], unseen=unseen)
