import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from matphase.properties.dispersion import dispersion_index
from matphase.support.errors import InputError

CUBES = (1.0, 1.0, 1.0)
EVERYWHERE = np.ones((32, 32, 32), np.bool_)


def gathered(scale):
    """A quarter of the voxels, in clusters of about `scale` voxels."""
    noise = np.random.default_rng(0).standard_normal(EVERYWHERE.shape)
    smooth = ndimage.gaussian_filter(noise, scale, mode="wrap") if scale else noise
    return smooth > np.quantile(smooth, 0.75)


def test_even_boxes_are_1_and_boxes_of_one_kind_0():
    board = np.indices(EVERYWHERE.shape).sum(axis=0) % 2 == 0
    assert dispersion_index(board, EVERYWHERE, CUBES, 4.0) == 1
    blocks = np.indices(EVERYWHERE.shape)[0] // 8 % 2 == 0
    assert dispersion_index(blocks, EVERYWHERE, CUBES, 8.0) == 0


def test_random_voxels_fall_short_of_1_by_what_chance_leaves():
    boxes = 8**3
    found = dispersion_index(gathered(0), EVERYWHERE, CUBES, 4.0)
    assert 1 - found == pytest.approx((boxes - 1) / (EVERYWHERE.size - 1), rel=0.2)


def test_clusters_are_less_dispersed_the_larger_they_are():
    found = [dispersion_index(gathered(scale), EVERYWHERE, CUBES, 8.0) for scale in (0, 1, 2, 4)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.99
    assert found[-1] < 0.65


def test_active_material_does_not_count_as_uneven():
    room = np.random.default_rng(1).random(EVERYWHERE.shape) < 0.2 + 0.6 * (
        np.indices(EVERYWHERE.shape)[0] > 16
    )
    binder = room & (np.indices(EVERYWHERE.shape).sum(axis=0) % 2 == 0)
    assert dispersion_index(binder, room, CUBES, 8.0) > 0.99


def test_finer_voxels_of_the_same_structure_say_the_same():
    binder = gathered(2)
    fine = binder.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    assert dispersion_index(fine, np.ones_like(fine), (0.5, 0.5, 0.5), 8.0) == pytest.approx(
        dispersion_index(binder, EVERYWHERE, CUBES, 8.0)
    )


def test_flat_voxels_and_boxes_that_do_not_fit():
    binder = gathered(2)
    padded = np.pad(binder, [(0, 1), (0, 3), (0, 5)], constant_values=True)
    spacing = (2.0, 1.0, 1.0)
    assert dispersion_index(padded, np.ones_like(padded), spacing, 8.0) == dispersion_index(
        binder, EVERYWHERE, spacing, 8.0
    )


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.uint8, (4, 6, 4), elements=st.integers(0, 2)),
    st.permutations([0, 1, 2]),
    st.integers(1, 2),
)
def test_turning_changes_nothing_and_the_range_holds(phases, axes, box):
    binder, room = phases == 1, phases > 0
    before = dispersion_index(binder, room, CUBES, box)
    turned = [np.flip(mask.transpose(axes), 0) for mask in (binder, room)]
    assert dispersion_index(*turned, CUBES, box) == pytest.approx(before, nan_ok=True)
    assert math.isnan(before) or -1e-12 <= before <= 1


def test_an_image():
    binder = np.kron([[1, 0], [0, 1]], np.ones((4, 4))).astype(np.bool_)
    room = np.ones_like(binder)
    assert dispersion_index(binder, room, (1.0, 1.0), 4.0) == 0
    assert math.isnan(dispersion_index(binder, room, (1.0, 1.0), 8.0))  # one box


def test_without_binder_or_pores_it_is_nan():
    assert math.isnan(dispersion_index(~EVERYWHERE, EVERYWHERE, CUBES, 8.0))
    assert math.isnan(dispersion_index(EVERYWHERE, EVERYWHERE, CUBES, 8.0))
    assert math.isnan(dispersion_index(~EVERYWHERE, ~EVERYWHERE, CUBES, 8.0))


@pytest.mark.parametrize("box", [0.4, 33.0, math.inf, math.nan, -1.0])
def test_bad_boxes(box):
    with pytest.raises(InputError, match="choose an edge between a voxel and the shortest side"):
        dispersion_index(gathered(0), EVERYWHERE, CUBES, box)


def test_binder_outside_its_room():
    with pytest.raises(InputError, match="give the voxels of pore and binder as room"):
        dispersion_index(EVERYWHERE, ~EVERYWHERE, CUBES, 8.0)
