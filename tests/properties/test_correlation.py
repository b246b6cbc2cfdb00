import itertools
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.properties import correlation, interfaces
from matphase.support.errors import InputError

CUBES = (1.0, 1.0, 1.0)
MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6))
RADIUS, POROSITY = 5.0, 0.4
DENSITY = -math.log(POROSITY) / (4 / 3 * math.pi * RADIUS**3)


@pytest.fixture(scope="module")
def pores():
    """What overlapping balls at random places leave free, 90 voxels wide."""
    random, side = np.random.default_rng(2), 90
    free = np.ones((side,) * 3, np.bool_)
    number = random.poisson(DENSITY * (side + 2 * RADIUS) ** 3)
    for centre in random.uniform(-RADIUS, side + RADIUS, (number, 3)):
        low = np.ceil(centre - RADIUS - 0.5).clip(0).astype(int)
        high = np.ceil(centre + RADIUS - 0.5).clip(0, side).astype(int)
        box = tuple(slice(*ends) for ends in zip(low, high, strict=True))
        grid = np.ogrid[box]
        free[box] &= sum((p + 0.5 - c) ** 2 for p, c in zip(grid, centre, strict=True)) > RADIUS**2
    return free


@pytest.fixture(scope="module")
def pore_counts(pores):
    return correlation.correlation_counts(pores, (15, 15, 15))


def exact_s2(r):
    """Torquato 2002, equation 5.35: none of the balls covers either of the two points."""
    ball = 4 / 3 * math.pi * RADIUS**3
    x = np.minimum(r / RADIUS, 2)
    return np.exp(-DENSITY * ball * (1 + 3 / 4 * x - x**3 / 16))


def by_hand(mask, counted, max_lag):
    counts = np.zeros((2, max_lag[0] + 1, *(2 * lag + 1 for lag in max_lag[1:])), np.int64)
    for one, other in itertools.product(np.argwhere(counted), repeat=2):
        step = other - one
        if tuple(step) >= (0,) * mask.ndim and (abs(step) <= max_lag).all():
            place = (step[0], *(step[1:] + max_lag[1:]))
            counts[(1, *place)] += 1
            counts[(0, *place)] += mask[tuple(one)] & mask[tuple(other)]
    return counts


class TestCounts:
    @settings(max_examples=15, deadline=None)
    @given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=3, max_side=4)), st.data())
    def test_each_pair_once(self, mask, data):
        max_lag = tuple(data.draw(st.integers(0, side - 1)) for side in mask.shape)
        counted = data.draw(hnp.arrays(np.bool_, mask.shape))
        np.testing.assert_array_equal(
            correlation.correlation_counts(mask, max_lag, counted), by_hand(mask, counted, max_lag)
        )
        everything = np.ones_like(mask)
        np.testing.assert_array_equal(
            correlation.correlation_counts(mask, max_lag), by_hand(mask, everything, max_lag)
        )

    @settings(max_examples=40, deadline=None)
    @given(MASKS, st.integers(1, 5), st.booleans(), st.data())
    def test_slabs_add_up_to_the_whole(self, mask, step, some_ignored, data):
        max_lag = tuple(data.draw(st.integers(0, side - 1)) for side in mask.shape)
        counted = data.draw(hnp.arrays(np.bool_, mask.shape)) if some_ignored else None
        total = 0
        for first in range(0, len(mask), step):
            begin = max(0, first - max_lag[0])
            slab = slice(begin, first + step)
            part = None if counted is None else counted[slab]
            total = total + correlation.correlation_counts(
                mask[slab], max_lag, part, repeated=first - begin
            )
        np.testing.assert_array_equal(total, correlation.correlation_counts(mask, max_lag, counted))

    def test_pieces_within_a_slab_add_up(self):
        mask = np.random.default_rng(0).random((50, 7, 6)) < 0.3
        long = correlation.correlation_counts(mask, (40, 3, 3))  # in one piece
        short = correlation.correlation_counts(mask, (2, 3, 3))  # in several
        np.testing.assert_array_equal(long[:, :3], short)

    @settings(max_examples=40, deadline=None)
    @given(MASKS, st.permutations([0, 1, 2]))
    def test_turning_changes_nothing(self, mask, axes):
        spacing = (2.0, 1.0, 0.5)[: mask.ndim]
        axes = [axis for axis in axes if axis < mask.ndim]
        lags = tuple(side - 1 for side in mask.shape)
        before = correlation.correlation_counts(mask, lags)
        turned = np.flip(mask.transpose(axes), 0)
        after = correlation.correlation_counts(turned, tuple(lags[axis] for axis in axes))
        for place, axis in enumerate(axes):
            np.testing.assert_array_equal(
                correlation.correlation_along(after, place),
                correlation.correlation_along(before, axis),
            )
        one = correlation.radial_correlation(before, spacing)
        other = correlation.radial_correlation(after, tuple(spacing[axis] for axis in axes))
        np.testing.assert_allclose(one.distance, other.distance)
        np.testing.assert_allclose(one.s2, other.s2)


class TestKnownStructures:
    def test_checkerboard(self):
        board = np.indices((8, 8)).sum(axis=0) % 2 == 0
        counts = correlation.correlation_counts(board, (3, 3))
        for axis in (0, 1):
            np.testing.assert_array_equal(
                correlation.correlation_along(counts, axis), [0.5, 0, 0.5, 0]
            )

    def test_laminate(self):
        layers = np.broadcast_to(np.arange(40) % 4 < 2, (6, 5, 40))
        counts = correlation.correlation_counts(layers, (3, 3, 8))
        np.testing.assert_array_equal(correlation.correlation_along(counts, 1), 0.5)
        across = correlation.correlation_along(counts, 2)
        np.testing.assert_allclose(across[[0, 4, 8]], 0.5)
        np.testing.assert_array_equal(across[[2, 6]], 0)

    def test_ignored_voxels_do_not_count(self):
        counted = np.random.default_rng(0).random((30, 30)) < 0.7
        counts = correlation.correlation_counts(np.ones_like(counted), (4, 4), counted)
        np.testing.assert_array_equal(correlation.radial_correlation(counts, (1.0, 1.0)).s2, 1)

    def test_overlapping_balls(self, pore_counts):
        radial = correlation.radial_correlation(pore_counts, CUBES)
        np.testing.assert_allclose(radial.s2, exact_s2(radial.distance), atol=0.02)
        np.testing.assert_allclose(radial.distance, np.arange(16), atol=0.3)
        distance = np.linspace(0, 2 * RADIUS, 1000)
        rho = (exact_s2(distance) - POROSITY**2) / (POROSITY - POROSITY**2)
        expected = distance[np.argmax(rho < math.exp(-1))]
        found = correlation.autocorrelation_length(radial)
        assert found == pytest.approx(expected, rel=0.07)
        volume = np.trapezoid(4 * math.pi * distance**2 * rho, distance)
        found = correlation.integral_range(pore_counts, CUBES)
        assert found == pytest.approx(volume, rel=0.2)

    def test_slope_at_0_is_a_quarter_of_the_surface(self, pores, pore_counts):
        slopes = []
        for axis in range(3):
            s2 = correlation.correlation_along(pore_counts, axis)
            slopes.append(s2[0] - s2[1])
        surface = interfaces.interface_areas(pores.astype(np.uint8), 2, CUBES)[0, 1]
        assert 4 * np.mean(slopes) == pytest.approx(surface, rel=0.05)
        # The slope over one voxel: where balls meet, chords are shorter than that.
        exact = 4 * (exact_s2(np.array(0.0)) - exact_s2(np.array(1.0)))
        assert 4 * np.mean(slopes) == pytest.approx(exact, rel=0.03)

    @pytest.mark.parametrize("edge", [1, 4])
    def test_integral_range_of_random_blocks_is_their_volume(self, edge):
        blocks = np.random.default_rng(1).random((24, 24, 24)) < 0.5
        mask = np.kron(blocks, np.ones((edge,) * 3, np.bool_)).astype(np.bool_)
        counts = correlation.correlation_counts(mask, (8, 8, 8))
        spacing = (0.5, 0.5, 0.5)
        found = correlation.integral_range(counts, spacing)
        assert found == pytest.approx((edge * 0.5) ** 3, rel=0.15)


class TestUndefined:
    def test_a_phase_that_is_absent_or_everywhere(self):
        for mask in (np.zeros((5, 5), np.bool_), np.ones((5, 5), np.bool_)):
            counts = correlation.correlation_counts(mask, (2, 2))
            radial = correlation.radial_correlation(counts, (1.0, 1.0))
            assert np.isnan(radial.rho).all()
            assert math.isnan(correlation.autocorrelation_length(radial))
            assert math.isnan(correlation.integral_range(counts, (1.0, 1.0)))

    def test_nothing_counts(self):
        mask = np.ones((5, 5), np.bool_)
        counts = correlation.correlation_counts(mask, (2, 2), ~mask)
        assert np.isnan(correlation.correlation_along(counts, 0)).all()
        assert math.isnan(correlation.integral_range(counts, (1.0, 1.0)))

    def test_lags_too_short_to_see_the_length(self):
        mask = np.arange(40) < 20
        counts = correlation.correlation_counts(np.tile(mask, (40, 1)), (2, 2))
        radial = correlation.radial_correlation(counts, (1.0, 1.0))
        assert correlation.autocorrelation_length(radial) == math.inf
        assert correlation.integral_range(counts, (1.0, 1.0)) == math.inf

    def test_a_volume_one_voxel_thick(self):
        mask = np.random.default_rng(0).random((1, 9, 9)) < 0.5
        counts = correlation.correlation_counts(mask, (0, 4, 4))
        flat = correlation.correlation_counts(mask[0], (4, 4))
        np.testing.assert_array_equal(
            correlation.correlation_along(counts, 1), correlation.correlation_along(flat, 0)
        )
        assert correlation.integral_range(counts, CUBES) == math.inf


class TestBadInput:
    @pytest.mark.parametrize("lags", [(1, 1), (1, 1, -1), (1, 1, 4), (-1, 1, 1)])
    def test_lags(self, lags):
        with pytest.raises(InputError, match="give one lag per axis, shorter than the side"):
            correlation.correlation_counts(np.zeros((4, 4, 4), np.bool_), lags)

    def test_axis_and_spacing(self):
        counts = correlation.correlation_counts(np.zeros((4, 4), np.bool_), (1, 1))
        with pytest.raises(InputError, match="there is no axis 2"):
            correlation.correlation_along(counts, 2)
        with pytest.raises(InputError, match="does not fit 2 axes"):
            correlation.radial_correlation(counts, CUBES)
        with pytest.raises(InputError, match="does not fit 2 axes"):
            correlation.integral_range(counts, CUBES)
