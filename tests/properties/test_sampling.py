"""The error of a finite volume: known variances, and what a bootstrap can and cannot see."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matphase.properties.sampling import (
    blocks,
    bootstrap_error,
    jackknife_error,
    needed_volume,
)


@given(st.tuples(*[st.integers(1, 70)] * 3), st.integers(1, 90))
def test_blocks_cover_every_voxel_once(shape: tuple[int, int, int], wanted: int) -> None:
    times = np.zeros(shape, np.int64)
    for place in blocks(shape, wanted):
        times[place] += 1
    assert (times == 1).all()


def test_blocks_are_nearly_cubes_and_about_as_many_as_wanted() -> None:
    sides = [[part.stop - part.start for part in place] for place in blocks((64, 128, 128), 64)]
    assert 32 <= len(sides) <= 128
    assert max(map(max, sides)) <= 1.5 * min(map(min, sides))


def test_the_bootstrap_finds_the_standard_error_of_a_mean() -> None:
    rng = np.random.default_rng(3)
    counts = rng.binomial(1000, 0.3, size=(64, 1)).astype(float)
    error = bootstrap_error(counts, lambda total: total / 64)
    assert error[0] == pytest.approx(counts.std(ddof=1) / 8, rel=0.15)


def test_the_bootstrap_is_right_on_average_over_many_volumes() -> None:
    """Its mean square is the true variance of the mean, also with few blocks."""
    rng = np.random.default_rng(5)
    squares = [
        bootstrap_error(rng.normal(0, 1, (6, 1)), lambda total: total / 6, seed)[0] ** 2
        for seed in range(300)
    ]
    assert np.mean(squares) == pytest.approx(1 / 6, rel=0.1)


def test_equal_blocks_have_no_error_and_three_are_too_few() -> None:
    def share(total: np.ndarray) -> np.ndarray:
        return total / total.sum()

    assert bootstrap_error(np.tile([3.0, 7.0], (20, 1)), share) == pytest.approx([0, 0])
    assert np.isnan(bootstrap_error(np.ones((3, 2)), share)).all()


def test_the_same_seed_draws_the_same_blocks() -> None:
    counts = np.random.default_rng(0).random((30, 1))
    one, other, third = (bootstrap_error(counts, lambda total: total, seed) for seed in (1, 1, 2))
    assert one == other != third


def test_half_the_error_needs_four_times_the_volume() -> None:
    assert needed_volume(10, 0.4, 0.02) == pytest.approx(4 * needed_volume(10, 0.4, 0.01))
    # +-5 % at 90 % confidence is what there is already
    assert needed_volume(10, 1.0, 0.05 / 1.6449) == pytest.approx(10)
    assert math.isnan(needed_volume(10, 0.0, 0.01))
    assert math.isnan(needed_volume(10, math.inf, 0.01))


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(7).normal(size=9)
    left_out = np.array([np.delete(values, number).mean() for number in range(9)])
    assert jackknife_error(left_out) == pytest.approx(values.std(ddof=1) / 3)


def test_the_jackknife_knows_no_bound_where_a_value_is_infinite() -> None:
    left_out = np.array([[1.0, 2.0], [1.5, math.inf], [2.0, 2.0]])
    assert jackknife_error(left_out)[0] > 0
    assert jackknife_error(left_out)[1] == math.inf
    assert np.isnan(jackknife_error(left_out[:1])).all()
