import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from matphase.properties.connectivity import (
    connectivity,
    connectivity_of,
    find_clusters,
    percolating,
)
from matphase.support.errors import InputError

SHAPES = st.one_of(
    st.tuples(*[st.integers(1, 9)] * 2),
    st.tuples(*[st.integers(1, 6)] * 3),
)


@st.composite
def masks(draw):
    shape = draw(SHAPES)
    share = draw(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random(shape) < share


def cuts(length):
    return (
        st.lists(st.integers(1, length - 1), unique=True).map(sorted) if length > 1 else st.just([])
    )


def sorted_rows(clusters):
    rows = np.column_stack([clusters.sizes, clusters.touches[..., 0], clusters.touches[..., 1]])
    return rows[np.lexsort(rows.T)]


# --- known answers --------------------------------------------------------------------------------


def test_two_clusters_of_which_one_spans():
    mask = np.zeros((4, 5), bool)
    mask[:, 1] = True  # 4 voxels, spans axis 0
    mask[2, 3:] = True  # 2 voxels, touches one end of axis 1
    found = connectivity_of(mask)
    assert found.largest_share == 4 / 6
    assert found.percolating_share == (4 / 6, 0.0)
    assert found.percolates == (True, False)
    np.testing.assert_array_equal(percolating(mask, 0), mask & (np.arange(5) == 1))
    assert not percolating(mask, 1).any()


def test_both_ends_have_to_be_touched_by_one_cluster():
    mask = np.ones((5, 3, 3), bool)
    mask[2] = False
    found = connectivity_of(mask)
    assert found.percolates == (False, True, True)
    assert found.percolating_share == (0.0, 1.0, 1.0)
    assert found.largest_share == 0.5


def test_edges_and_corners_do_not_connect():
    diagonal = np.eye(3, dtype=bool)
    found = connectivity_of(diagonal)
    assert found.largest_share == 1 / 3
    assert found.percolates == (False, False)
    corner = np.zeros((2, 2, 2), bool)
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert connectivity_of(corner).largest_share == 0.5


def test_dead_ends_of_a_spanning_cluster_belong_to_it():
    mask = np.zeros((3, 4), bool)
    mask[:, 0] = True
    mask[1, 1:3] = True
    assert percolating(mask, 0).sum() == 5
    assert connectivity_of(mask).percolating_share[0] == 1.0


def test_a_phase_without_voxels_has_no_shares():
    found = connectivity_of(np.zeros((3, 3, 3), bool))
    assert np.isnan([found.largest_share, *found.percolating_share]).all()
    assert found.percolates == (False, False, False)
    assert not percolating(np.zeros((3, 3), bool), 0).any()


def test_everything_percolates_in_a_full_volume():
    found = connectivity_of(np.ones((2, 3, 4), bool))
    assert found.largest_share == 1.0
    assert found.percolating_share == (1.0, 1.0, 1.0)


# --- slabs ----------------------------------------------------------------------------------------


def test_clusters_that_meet_only_in_a_later_slab_are_one():
    # A U lying on its back: its arms are two clusters until the last slab joins them.
    mask = np.zeros((4, 5), bool)
    mask[:, 0] = mask[:, 4] = True
    mask[3] = True
    parts = find_clusters([mask[:1], mask[1:3], mask[3:]])
    assert parts.sizes.tolist() == [11]
    assert parts.touches.all()


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_slabs_have_exactly_the_clusters_of_the_whole(data):
    mask = data.draw(masks())
    at = data.draw(cuts(mask.shape[0]))
    parts = find_clusters(iter(np.split(mask, at)))
    whole = find_clusters([mask])
    np.testing.assert_array_equal(sorted_rows(parts), sorted_rows(whole))
    # NaN, where the phase is absent, is not equal to itself.
    assert repr(connectivity(parts)) == repr(connectivity_of(mask))


# --- against counting by hand ---------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(masks())
def test_shares_are_those_counted_cluster_by_cluster(mask):
    labels, n = ndimage.label(mask)
    found = connectivity_of(mask)
    if n == 0:
        assert np.isnan(found.largest_share)
        return
    assert found.largest_share == max((labels == k).sum() for k in range(1, n + 1)) / mask.sum()
    for axis in range(mask.ndim):
        ends = np.moveaxis(labels, axis, 0)
        spanning = [k for k in range(1, n + 1) if (ends[0] == k).any() and (ends[-1] == k).any()]
        expected = np.isin(labels, spanning)
        np.testing.assert_array_equal(percolating(mask, axis), expected)
        assert found.percolating_share[axis] == expected.sum() / mask.sum()
        assert found.percolates[axis] == bool(spanning)


@settings(deadline=None, max_examples=60)
@given(masks(), st.data())
def test_flips_and_the_order_of_axes_change_nothing(mask, data):
    order = data.draw(st.permutations(range(mask.ndim)))
    turned = np.flip(mask, data.draw(st.integers(0, mask.ndim - 1))).transpose(order)
    before, after = connectivity_of(mask), connectivity_of(turned)
    assert repr(after.largest_share) == repr(before.largest_share)
    assert repr(after.percolating_share) == repr(
        tuple(before.percolating_share[axis] for axis in order)
    )


@settings(deadline=None, max_examples=40)
@given(arrays(bool, (4, 4, 4)))
def test_more_of_a_phase_never_percolates_less(mask):
    more = mask | (np.random.default_rng(0).random(mask.shape) < 0.3)
    for axis in range(3):
        assert (percolating(mask, axis) <= percolating(more, axis)).all()


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slabs", "message"),
    [
        ([], "no slabs"),
        ([np.ones((2, 2), np.uint8)], "type uint8 and shape"),
        ([np.ones(4, bool)], "shape .4,."),
        ([np.ones((0, 2), bool)], "has no voxels"),
        ([np.ones((1, 2, 3), bool), np.ones((1, 3, 2), bool)], "follows slices of"),
    ],
)
def test_what_is_no_volume_of_masks_is_refused(slabs, message):
    with pytest.raises(InputError, match=message):
        find_clusters(slabs)


@pytest.mark.parametrize("axis", [-1, 2])
def test_an_axis_that_is_not_there_is_refused(axis):
    with pytest.raises(InputError, match=f"no axis {axis}"):
        percolating(np.ones((3, 3), bool), axis)
