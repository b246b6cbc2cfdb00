import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.properties import chords
from matphase.support.errors import InputError

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6))


def line(text):
    """One row: # phase, . something else, ? ignored."""
    row = np.array(list(text))[np.newaxis]
    return row == "#", row != "?"


def test_chords_are_whole_cut_or_through():
    mask, _ = line("##.###.#.###")
    counts = chords.chord_counts(mask, 1)
    assert counts.whole.nonzero()[0].tolist() == [1, 3]
    assert counts.cut_once.nonzero()[0].tolist() == [2, 3]
    assert not counts.through.any()
    assert chords.chord_counts(np.ones((3, 4), np.bool_), 1).through[4] == 3


def test_chords_do_not_go_on_in_the_next_line():
    mask = np.array([[0, 0, 1], [1, 0, 0]], np.bool_)
    counts = chords.chord_counts(mask, 1)
    assert counts.cut_once[1] == 2
    assert not counts.whole.any()
    assert not counts.through.any()


def test_ignored_voxels_cut_like_the_border():
    mask, counted = line(".###?##.##?##?.")
    counts = chords.chord_counts(mask, 1, counted)
    assert not counts.whole.any()
    assert counts.cut_once[[2, 3]].tolist() == [2, 1]
    assert counts.through[2] == 1
    np.testing.assert_array_equal(
        chords.chord_counts(mask | ~counted, 1, counted).through, counts.through
    )


def test_means_of_a_line():
    mask, _ = line("##.###.#.###")
    seen = chords.chord_lengths(mask, 1, 0.5)
    assert seen.number_mean == pytest.approx((1 + 3) / 2 * 0.5)
    assert seen.length_mean == pytest.approx((1 + 9) / (1 + 3) * 0.5)
    assert seen.mean_intercept == pytest.approx(2 * (9 / 12) / (6 / (11 * 0.5)))
    assert seen.cut_share == pytest.approx(5 / 9)
    np.testing.assert_allclose(seen.lengths[:3], [0.5, 1, 1.5])
    assert seen.number[:3].tolist() == [1, 0, 1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_laminate(axis):
    layers = np.arange(200) % 5 < 3  # 3 of the phase, 2 of another
    volume = np.moveaxis(np.broadcast_to(layers, (4, 4, 200)), 2, axis)
    across = chords.chord_lengths(volume, axis, 2.0)
    assert across.number_mean == across.length_mean == 3 * 2.0
    assert across.mean_intercept == pytest.approx(3 * 2.0, rel=0.01)
    along = chords.chord_lengths(volume, (axis + 1) % 3, 2.0)
    assert along.number.sum() == 0
    assert along.cut_share == 1
    assert math.isnan(along.number_mean)
    assert math.isnan(along.mean_intercept)


def test_mean_intercept_is_unbiased_in_a_narrow_window_where_whole_chords_are_not():
    random = np.random.default_rng(0)
    # Phase and other alternate with geometric lengths of mean 20 and 10 in windows of 40.
    stay = np.where(np.arange(2) == 1, 1 - 1 / 20, 1 - 1 / 10)
    rows = np.empty((40_000, 40), np.bool_)
    rows[:, 0] = random.random(len(rows)) < 20 / 30
    for place in range(1, 40):
        before = rows[:, place - 1]
        rows[:, place] = before ^ (random.random(len(rows)) > stay[before.astype(int)])
    seen = chords.chord_lengths(rows, 1, 1.0)
    assert seen.mean_intercept == pytest.approx(20, rel=0.02)
    assert seen.number_mean < 15


@settings(max_examples=40, deadline=None)
@given(MASKS, st.data())
def test_flips_change_nothing_and_parts_across_the_axis_add_up(mask, data):
    axis = data.draw(st.integers(0, mask.ndim - 1))
    cut = data.draw(st.integers(0, mask.shape[axis - 1]))
    counted = data.draw(hnp.arrays(np.bool_, mask.shape))
    whole = chords.chord_counts(mask, axis, counted)
    flipped = chords.chord_counts(np.flip(mask), axis, np.flip(counted))
    turned = chords.chord_counts(mask.T, mask.ndim - 1 - axis, counted.T)
    parts = [
        chords.chord_counts(one, axis, other)
        for one, other in zip(
            np.split(mask, [cut], axis - 1), np.split(counted, [cut], axis - 1), strict=True
        )
    ]
    added = [one + other for one, other in zip(*parts, strict=True)]
    for first, *others in zip(whole, flipped, turned, added, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)
    voxels = sum(np.arange(len(number)) @ number for number in whole[:3])
    assert voxels == np.count_nonzero(mask & counted)


def test_absent_phase_has_no_chords():
    seen = chords.chord_lengths(np.zeros((3, 3, 1), np.bool_), 2, 1.0)
    assert seen.number.tolist() == [0]
    assert math.isnan(seen.number_mean)
    assert math.isnan(seen.cut_share)


def test_bad_input_is_told():
    mask = np.zeros((3, 3), np.bool_)
    with pytest.raises(InputError, match="there is no axis 2; choose one from 0 to 1"):
        chords.chord_counts(mask, 2)
    with pytest.raises(InputError, match="the voxel size 0"):
        chords.chord_lengths(mask, 0, 0)
    with pytest.raises(InputError, match="give a boolean array of shape"):
        chords.chord_counts(np.zeros((3, 3), np.uint8), 0)
    with pytest.raises(InputError, match="give a boolean array of the mask's shape"):
        chords.chord_counts(mask, 0, np.ones((3, 4), np.bool_))
