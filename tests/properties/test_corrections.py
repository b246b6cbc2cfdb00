"""Corrections by validation slices: exact where they must be, with an error that holds."""

import numpy as np
import pytest

from matphase.properties.corrections import correct_areas, correct_coverage, correct_fractions
from matphase.properties.interfaces import boundary_lengths
from matphase.scores.validation import Validation


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
    found = Validation.of(known, known, 3, boundary_lengths)
    given = np.array([0.5, 0.2, 0.3])
    better = correct_fractions(found, given, 1000)
    assert better.values == pytest.approx(given)
    assert better.error == pytest.approx([0, 0, 0])
    areas = np.array([[0, 1.0, 2], [1, 0, 3], [2, 3, 0]])
    assert correct_areas(found, areas, 1000).values == pytest.approx(areas + np.diag([3, 4, 5]))
    assert correct_coverage(found, areas, 1000).values[0] == pytest.approx([1, 1 / 3, 2 / 3])


def test_on_the_validation_slices_themselves_the_fractions_become_exact() -> None:
    known = stack(1)
    predicted = spoiled(known, 2)
    better = correct_fractions(
        Validation.of(known, predicted, 3, boundary_lengths), fractions(predicted), predicted.size
    )
    assert better.values == pytest.approx(fractions(known))
    assert better.values.sum() == pytest.approx(1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_volume_of_other_fractions_lies_within_the_stated_error(share: float) -> None:
    """Of the two assumptions one holds here: a tenth of each phase is taken for the other."""

    def confused(phases: np.ndarray, seed: int) -> np.ndarray:
        wrong = np.random.default_rng(seed).random(phases.shape) < 0.1
        return np.where(wrong, 1 - phases, phases).astype(np.uint8)

    known = np.random.default_rng(0).integers(2, size=(12, 40, 40), dtype=np.uint8)
    validation = Validation.of(known, confused(known, 1), 2, boundary_lengths)
    exact = (np.random.default_rng(2).random((12, 40, 40)) < share).astype(np.uint8)
    predicted = np.bincount(confused(exact, 3).ravel(), minlength=2) / exact.size
    better = correct_fractions(validation, predicted, exact.size)
    assert abs(better.values[1] - exact.mean()) <= 1.645 * better.error[1]
    assert better.values.sum() == pytest.approx(1)


def test_other_volumes_with_the_same_errors_lie_within_the_stated_error() -> None:
    known = stack(3)
    validation = Validation.of(known, spoiled(known, 4), 3, boundary_lengths)
    inside = []
    for seed in range(40):
        exact = stack(100 + seed)
        better = correct_fractions(validation, fractions(spoiled(exact, seed)), exact.size)
        inside.append(np.abs(better.values - fractions(exact)) < 1.645 * better.error)
    # phase 2 is never confused, so its fraction is exact
    assert 0.75 <= np.mean(inside, axis=0)[0] <= 1


def test_boundary_lengths_correct_areas_by_their_ratio() -> None:
    known = stack(5)
    rough = known.copy()
    rough[:, ::2, ::2] = np.where(known[:, ::2, ::2] == 0, 1, known[:, ::2, ::2])
    validation = Validation.of(known, rough, 3, boundary_lengths)
    known_length, length = (
        one.sum(axis=0)[0, 1] for one in (validation.known, validation.predicted)
    )
    assert length > 1.5 * known_length
    areas = np.full((3, 3), 2.0)
    assert correct_areas(validation, areas, 100).values[0, 1] == pytest.approx(
        2 * known_length / length
    )


def test_a_phase_that_was_never_predicted_is_not_corrected() -> None:
    known = np.zeros((4, 20, 20), np.uint8)
    better = correct_fractions(
        Validation.of(known, known, 3, boundary_lengths), np.array([0.2, 0.3, 0.5]), 100
    )
    assert better.values == pytest.approx([0.2, 0.3, 0.5])


def test_one_slice_corrects_but_knows_no_error() -> None:
    known = stack(8, slices=1)
    better = correct_fractions(
        Validation.of(known, spoiled(known, 9), 3, boundary_lengths), np.array([0.4, 0.3, 0.3]), 100
    )
    assert np.isnan(better.error).all()
