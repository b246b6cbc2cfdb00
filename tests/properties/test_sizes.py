import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from matphase.properties import sizes
from matphase.support.errors import InputError

CUBES = (1.0, 1.0, 1.0)


def masks(max_side=6):
    return hnp.arrays(
        np.bool_,
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=max_side),
        elements=st.booleans(),
    )


def by_hand(mask, spacing, counted):
    """Local thickness by its definition."""
    outside = np.argwhere(~mask & counted) * spacing
    thickness = np.zeros(mask.shape)
    places = np.argwhere(mask)
    for centre in places:
        radius = np.linalg.norm(outside - centre * spacing, axis=1).min(initial=math.inf)
        reached = np.linalg.norm((places - centre) * spacing, axis=1) < radius * (1 - 1e-5)
        for place in places[reached]:
            thickness[tuple(place)] = max(thickness[tuple(place)], 2 * radius)
    return thickness


@settings(max_examples=40, deadline=None)
@given(masks(4), st.sampled_from([(1.0, 1.0, 1.0), (2.0, 0.5, 0.7)]), st.data())
def test_agrees_with_the_definition(mask, spacing, data):
    counted = data.draw(hnp.arrays(np.bool_, mask.shape))
    spacing = spacing[: mask.ndim]
    found = sizes.local_thickness(mask & counted, spacing, counted, resolution=0)
    expected = by_hand(mask & counted, spacing, counted)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(masks(), st.permutations([0, 1, 2]))
def test_turning_changes_nothing(mask, axes):
    spacing = (2.0, 1.0, 0.6)[: mask.ndim]
    axes = [axis for axis in axes if axis < mask.ndim]
    before = sizes.local_thickness(mask, spacing)
    turned = np.flip(mask.transpose(axes), 0)
    after = sizes.local_thickness(turned, tuple(spacing[axis] for axis in axes))
    np.testing.assert_allclose(np.flip(after, 0), before.transpose(axes), rtol=1e-5)


def test_share_at_least_is_the_opening():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((40,) * 3), 3)
    mask = smooth > 0
    found = sizes.size_distribution(mask, CUBES, resolution=0)
    assert len(found.diameters) > 10
    assert (np.diff(found.share_at_least) < 0).all()
    inside = ndimage.distance_transform_edt(mask)
    opened = np.zeros_like(mask)
    for diameter, share in zip(found.diameters[::-1], found.share_at_least[::-1], strict=True):
        radius = diameter / 2 * (1 - 1e-5)
        # With the openings by larger balls, for on a grid a ball is no union of smaller ones.
        opened |= ndimage.distance_transform_edt(inside < radius) < radius
        assert share == pytest.approx((opened & mask).sum() / mask.sum())


def test_coarser_levels_hardly_change_the_numbers():
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((48,) * 3), 4)
    fine, coarse = (sizes.size_distribution(smooth > 0, CUBES, resolution=r) for r in (0, 0.05))
    assert len(coarse.diameters) < len(fine.diameters)
    for name in ("mean", "d10", "d50", "d90"):
        assert getattr(coarse, name) == pytest.approx(getattr(fine, name), rel=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_plates_are_as_thick_as_they_are_or_a_voxel_more(width, axis):
    plate = np.zeros((14, 14, 14), np.bool_)
    plate[3 : 3 + width] = True
    found = sizes.size_distribution(np.moveaxis(plate, 0, axis), (0.5, 0.5, 0.5))
    expected = (width + width % 2) * 0.5
    assert found.mean == found.d10 == found.d50 == found.d90 == pytest.approx(expected)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("radius", [5, 10])
def test_balls_and_discs_come_out_about_a_voxel_too_small(radius, ndim):
    random = np.random.default_rng(radius)
    errors = []
    for _ in range(5):
        grid = np.ogrid[(slice(2 * radius + 6),) * ndim]
        squares = sum((p - radius - 2.5 - random.random()) ** 2 for p in grid)
        found = sizes.size_distribution(squares < radius**2, (1.0,) * ndim)
        errors.append(found.d50 - 2 * radius)
    assert -1.5 < np.mean(errors) < 0


def test_flat_voxels():
    plate = np.zeros((9, 12, 12), np.bool_)
    plate[:, 4:8] = True
    found = sizes.size_distribution(plate, (3.0, 0.5, 0.5))
    assert found.mean == pytest.approx(4 * 0.5)


def test_two_sizes_by_volume():
    plates = np.zeros((30, 8, 8), np.bool_)
    plates[2:4] = True
    plates[10:18] = True
    found = sizes.size_distribution(plates, CUBES)
    np.testing.assert_allclose(found.diameters, [2, 8])
    np.testing.assert_allclose(found.share_at_least, [1, 8 / 10])
    assert (found.d10, found.d50) == pytest.approx((2, 8))
    assert found.mean == pytest.approx((2 * 2 + 8 * 8) / 10)


def test_what_is_ignored_or_outside_does_not_limit_a_phase():
    mask = np.zeros((12, 9), np.bool_)
    mask[:4] = True  # cut by the border
    assert sizes.size_distribution(mask, (1.0, 1.0)).mean == pytest.approx(2 * 4)
    counted = np.ones_like(mask)
    counted[4:6] = False
    thickness = sizes.local_thickness(mask, (1.0, 1.0), counted)
    assert thickness[:4].min() > 10
    assert not thickness[4:].any()


def test_absent_phase_and_phase_everywhere():
    nothing = sizes.size_distribution(np.zeros((4, 4, 4), np.bool_), CUBES)
    assert nothing.diameters.size == 0
    assert math.isnan(nothing.mean)
    assert math.isnan(nothing.d50)
    everything = sizes.size_distribution(np.ones((4, 4, 4), np.bool_), CUBES)
    assert everything.mean == everything.d50 == math.inf


def test_a_volume_one_voxel_thick_is_measured_as_if_it_went_on():
    disc = np.add.outer((np.arange(15) - 7) ** 2, (np.arange(15) - 7) ** 2) < 30
    np.testing.assert_array_equal(
        sizes.local_thickness(disc[np.newaxis], CUBES)[0],
        sizes.local_thickness(disc, (1.0, 1.0)),
    )


def test_bad_input_is_told():
    mask = np.zeros((4, 4), np.bool_)
    with pytest.raises(InputError, match="does not fit 2 axes"):
        sizes.size_distribution(mask, CUBES)
    with pytest.raises(InputError, match="a resolution of -1 is not possible"):
        sizes.local_thickness(mask, (1.0, 1.0), resolution=-1)
    with pytest.raises(InputError, match="give a boolean array of shape"):
        sizes.distances(mask.astype(np.uint8), (1.0, 1.0))
