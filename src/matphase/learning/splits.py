"""Which slices train, which choose, and which test.

Neighbouring slices of a tomogram show nearly the same thing, so slices drawn at random for a test
flatter the model. `blocked_split` keeps the sets apart in depth and is the one for claims;
`paper_split` follows the paper, leak included, for comparison with its tables.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError

PAPER_UNSEEN_SLICES = 4
PAPER_LEAKY_PAIRS = 10


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of slices along depth, int64, sorted; the sets are disjoint.

    Attributes:
        train: slices that the networks learn from.
        validation: slices that settings are chosen by; may be empty.
        test: slices that only the final numbers are taken from.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PaperSplit:
    """Pairs (slice, copy) of the augmented pool, int64 of shape (pairs, 2), sorted; disjoint.

    Attributes:
        train: pairs that the networks learn from.
        test: pairs that are tested, the unseen slices' and the leaky ones.
        unseen: slices of which no copy is in `train`, shape (4,), sorted; test results on these
            alone are free of the leak.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    unseen: NDArray[np.int64]


def blocked_split(
    n_slices: int, *, validation: float = 0.15, test: float = 0.25, guard: int = 2
) -> Split:
    """Cut the depth into blocks: train, guard, validation, guard, test.

    Guard slices belong to no set: they keep slices that nearly repeat each other out of different
    sets. Split before augmentation, so that copies stay with their slice.

    Args:
        n_slices: number of slices.
        validation: share of the slices outside guards for validation, at least one slice; with 0
            there is no such block and only one guard.
        test: share of the slices outside guards for the test, at least one slice.
        guard: number of unused slices between neighbouring blocks.

    Raises:
        InputError: a share is outside [0, 1) (test: not above 0), nothing is left to train on, or
            `guard` is negative.
    """
    if not (0 <= validation < 1 and 0 < test < 1 and validation + test < 1):
        raise InputError(
            f"shares of {validation:g} for validation and {test:g} for test leave no split; give "
            "a test share above 0, no negative one, and a sum below 1"
        )
    if guard < 0:
        raise InputError(f"a guard of {guard} slices is negative; give 0 or more")
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
    """Split the augmented pool as the paper does (appendix 6.3), which leaks by construction.

    Of the n_slices x copies pairs, the test takes all copies of 4 slices drawn at random, which
    training never sees, and 10 pairs drawn from the copies of the other slices. These 10 leave the
    training set, but their sibling copies, the same slice shifted by some rows, stay in it; and the
    neighbours in depth of all test slices are there too. With 133 slices and 10 copies: 1330 pairs,
    1280 to train and 50 to test.

    Args:
        n_slices: number of slices before augmentation.
        copies: copies of each slice, see `matphase.learning.augment.row_removal`.
        seed: seed of the draw; equal seeds give equal splits.

    Raises:
        InputError: `copies` is below 1, or the slices are too few to leave a training set.
    """
    if copies < 1:
        raise InputError(f"{copies} copies of each slice make no pool; give at least 1")
    if (n_slices - PAPER_UNSEEN_SLICES) * copies <= PAPER_LEAKY_PAIRS:
        raise InputError(
            f"{n_slices} slices with {copies} copies each are too few for the paper's split, which "
            f"tests on all copies of {PAPER_UNSEEN_SLICES} slices and {PAPER_LEAKY_PAIRS} pairs "
            "more; give more slices or take the blocked split"
        )
    random = np.random.default_rng(seed)
    unseen = np.sort(random.choice(n_slices, size=PAPER_UNSEEN_SLICES, replace=False))
    slices, copy = np.divmod(np.arange(n_slices * copies, dtype=np.int64), copies)
    pairs = np.stack([slices, copy], axis=1)
    tested = np.isin(slices, unseen)
    tested[random.choice(np.flatnonzero(~tested), size=PAPER_LEAKY_PAIRS, replace=False)] = True
    return PaperSplit(train=pairs[~tested], test=pairs[tested], unseen=unseen)
