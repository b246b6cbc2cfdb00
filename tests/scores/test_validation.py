"""Comparison of predicted with known labels on validation slices."""

import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX
from matphase.properties.interfaces import boundary_lengths
from matphase.scores.validation import Validation
from matphase.support.errors import InputError


def stack(seed: int, slices: int = 12, side: int = 60) -> np.ndarray:
    """Slices of three phases in random squares of 6 px."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(3, size=(slices, side // 6, side // 6), dtype=np.uint8)
    return coarse.repeat(6, axis=1).repeat(6, axis=2)


def spoiled(known: np.ndarray, seed: int, share: float = 0.2) -> np.ndarray:
    """A share of phase 1 is called 0."""
    rng = np.random.default_rng(seed)
    wrong = (known == 1) & (rng.random(known.shape) < share)
    return np.where(wrong, np.uint8(0), known)


def test_ignored_pixels_do_not_count() -> None:
    known = stack(6)
    predicted = spoiled(known, 7)
    hidden = known.copy()
    hidden[:, :30] = IGNORE_INDEX
    found = Validation.of(hidden, predicted, 3, boundary_lengths)
    part = Validation.of(known[:, 30:], predicted[:, 30:], 3, boundary_lengths)
    assert (found.confusion == part.confusion).all()


def test_a_slice_of_which_nothing_counts_tells_nothing() -> None:
    known = stack(12, slices=4)
    known[0] = IGNORE_INDEX
    found = Validation.of(known, stack(12, slices=4), 3, boundary_lengths)
    assert np.isfinite(found.known).all()
    assert (found.confusion[0] == 0).all()


def test_json_and_back() -> None:
    known = stack(10, slices=3)
    one = Validation.of(known, spoiled(known, 11), 3, boundary_lengths)
    other = Validation.from_json(one.to_json(), 3)
    assert len(other) == 3
    assert (one.confusion == other.confusion).all()
    assert (one.predicted == other.predicted).all()
    with pytest.raises(InputError, match="other phases"):
        Validation.from_json(one.to_json(), 4)
    with pytest.raises(InputError, match="damaged"):
        Validation.from_json({"confusion": "x"}, 3)
