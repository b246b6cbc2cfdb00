"""Corrections by validation slices: exact where they must be, and honest about their error."""

import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX
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


def fractions(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels.ravel(), minlength=3)[:3] / labels.size


def test_a_perfect_prediction_is_not_corrected_and_adds_no_error() -> None:
    known = stack(0)
    found = Validation.of(known, known, 3)
    given = np.array([0.5, 0.2, 0.3])
    better = found.fractions(given, 1000)
    assert better.values == pytest.approx(given)
    assert better.error == pytest.approx([0, 0, 0])
    areas = np.array([[0, 1.0, 2], [1, 0, 3], [2, 3, 0]])
    assert found.areas(areas, 1000).values == pytest.approx(areas + np.diag([3, 4, 5]))
    assert found.coverage(areas, 1000).values[0] == pytest.approx([1, 1 / 3, 2 / 3])


def test_on_the_validation_slices_themselves_the_fractions_become_exact() -> None:
    known = stack(1)
    predicted = spoiled(known, 2)
    better = Validation.of(known, predicted, 3).fractions(fractions(predicted), predicted.size)
    assert better.values == pytest.approx(fractions(known))
    assert better.values.sum() == pytest.approx(1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_volume_of_other_fractions_lies_within_the_stated_error(share: float) -> None:
    """Of the two assumptions one holds here: a tenth of each phase is taken for the other."""

    def confused(phases: np.ndarray, seed: int) -> np.ndarray:
        wrong = np.random.default_rng(seed).random(phases.shape) < 0.1
        return np.where(wrong, 1 - phases, phases).astype(np.uint8)

    known = np.random.default_rng(0).integers(2, size=(12, 40, 40), dtype=np.uint8)
    validation = Validation.of(known, confused(known, 1), 2)
    exact = (np.random.default_rng(2).random((12, 40, 40)) < share).astype(np.uint8)
    predicted = np.bincount(confused(exact, 3).ravel(), minlength=2) / exact.size
    better = validation.fractions(predicted, exact.size)
    assert abs(better.values[1] - exact.mean()) <= 1.645 * better.error[1]
    assert better.values.sum() == pytest.approx(1)


def test_other_volumes_with_the_same_errors_lie_within_the_stated_error() -> None:
    known = stack(3)
    validation = Validation.of(known, spoiled(known, 4), 3)
    inside = []
    for seed in range(40):
        exact = stack(100 + seed)
        better = validation.fractions(fractions(spoiled(exact, seed)), exact.size)
        inside.append(np.abs(better.values - fractions(exact)) < 1.645 * better.error)
    # phase 2 is never confused, so its fraction is exact
    assert 0.75 <= np.mean(inside, axis=0)[0] <= 1


def test_boundary_lengths_correct_areas_by_their_ratio() -> None:
    known = stack(5)
    rough = known.copy()
    rough[:, ::2, ::2] = np.where(known[:, ::2, ::2] == 0, 1, known[:, ::2, ::2])
    validation = Validation.of(known, rough, 3)
    known_length, length = (
        one.sum(axis=0)[0, 1] for one in (validation.known, validation.predicted)
    )
    assert length > 1.5 * known_length
    areas = np.full((3, 3), 2.0)
    assert validation.areas(areas, 100).values[0, 1] == pytest.approx(2 * known_length / length)


def test_ignored_pixels_do_not_count() -> None:
    known = stack(6)
    predicted = spoiled(known, 7)
    hidden = known.copy()
    hidden[:, :30] = IGNORE_INDEX
    found = Validation.of(hidden, predicted, 3)
    part = Validation.of(known[:, 30:], predicted[:, 30:], 3)
    assert (found.confusion == part.confusion).all()


def test_a_phase_that_was_never_predicted_is_taken_at_its_word() -> None:
    known = np.zeros((4, 20, 20), np.uint8)
    better = Validation.of(known, known, 3).fractions(np.array([0.2, 0.3, 0.5]), 100)
    assert better.values == pytest.approx([0.2, 0.3, 0.5])


def test_one_slice_corrects_but_knows_no_error() -> None:
    known = stack(8, slices=1)
    better = Validation.of(known, spoiled(known, 9), 3).fractions(np.array([0.4, 0.3, 0.3]), 100)
    assert np.isnan(better.error).all()


def test_a_slice_of_which_nothing_counts_tells_nothing() -> None:
    known = stack(12, slices=4)
    known[0] = IGNORE_INDEX
    found = Validation.of(known, stack(12, slices=4), 3)
    assert np.isfinite(found.known).all()
    assert (found.confusion[0] == 0).all()


def test_json_and_back() -> None:
    known = stack(10, slices=3)
    one = Validation.of(known, spoiled(known, 11), 3)
    other = Validation.from_json(one.to_json(), 3)
    assert len(other) == 3
    assert (one.confusion == other.confusion).all()
    assert (one.predicted == other.predicted).all()
    with pytest.raises(InputError, match="other phases"):
        Validation.from_json(one.to_json(), 4)
    with pytest.raises(InputError, match="damaged"):
        Validation.from_json({"confusion": "x"}, 3)
