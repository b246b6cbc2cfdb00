"""Splits of labelled slices for self-configuration."""

import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.learning.training_pool import Pool
from matphase.method.folds import GUARD, folds_of
from matphase.support.errors import InputError

PHASES = PhaseTable.from_names(("pore", "carbon"))


def pool_of(labels: np.ndarray) -> Pool:
    labels = labels.astype(np.uint8)
    images = np.zeros((len(labels), 1, *labels.shape[1:]), np.float32)
    return Pool(images, labels, np.arange(len(labels)), PHASES)


def stripes(n: int, height: int = 40, width: int = 64) -> np.ndarray:
    """Slices in which every half holds both phases."""
    return np.broadcast_to(np.arange(height)[:, None] // 4 % 2, (n, height, width)).copy()


def test_the_ends_of_the_stack_are_left_out_first() -> None:
    folds = folds_of(pool_of(stripes(4)))
    assert [fold.slice for fold in folds] == [3, 0, 1, 2]


def test_seen_and_unseen_slices_are_all_slices_once() -> None:
    pool = pool_of(stripes(3))
    for fold in folds_of(pool):
        together = np.sort(np.concatenate([fold.seen(pool).source, fold.unseen(pool).source]))
        assert together.tolist() == [0, 1, 2]
        assert fold.unseen(pool).source.tolist() == [fold.slice]


@pytest.mark.parametrize(("height", "width", "axis"), [(40, 64, 1), (80, 48, 0)])
def test_a_single_slice_is_halved_along_its_longer_side(height: int, width: int, axis: int) -> None:
    pool = pool_of(stripes(1, height, width))
    for fold in folds_of(pool):
        seen, unseen = (
            part.labels[0] != IGNORE_INDEX for part in (fold.seen(pool), fold.unseen(pool))
        )
        assert not (seen & unseen).any()
        along = (~(seen | unseen)).all(axis=1 - axis)
        assert along.sum() == GUARD
        assert seen.any()
        assert unseen.any()


def test_folds_that_lack_a_phase_are_left_aside() -> None:
    labels = stripes(3)
    labels[1:] = 0  # carbon occurs in the first slice alone
    assert [fold.slice for fold in folds_of(pool_of(labels))] == [2, 1]


def test_a_phase_in_one_slice_alone_leaves_nothing_out() -> None:
    labels = np.stack([np.zeros((40, 64)), np.ones((40, 64))])
    with pytest.raises(InputError, match="one of the labelled slices the labels lack a phase"):
        folds_of(pool_of(labels))


def test_a_phase_in_the_middle_of_the_only_slice_leaves_nothing_out() -> None:
    labels = np.zeros((1, 40, 64))
    labels[:, :, 28:36] = 1
    with pytest.raises(InputError, match="half of the labelled slice the labels lack a phase"):
        folds_of(pool_of(labels))
