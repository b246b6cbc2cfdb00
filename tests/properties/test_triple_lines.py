import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import triple_lines
from matphase.support.errors import InputError

VOLUMES = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=6),
    elements=st.sampled_from([0, 1, 2, 3, IGNORE_INDEX]),
)


def junction(depth):
    """Three phases that meet in one line along z, in 6 by 8 voxels."""
    plane = np.zeros((6, 8), np.uint8)
    plane[:3, 4:], plane[3:, 4:] = 1, 2
    return np.stack([plane] * depth)


def test_a_straight_line_along_an_axis_has_two_thirds_of_its_length():
    spacing = (3.0, 0.5, 0.25)
    found = triple_lines.triple_line_length(junction(5), spacing)
    assert found == pytest.approx(2 / 3 / (5 * 7 * 0.5 * 0.25))


def test_an_image_has_points():
    found = triple_lines.triple_line_length(junction(1)[0], (0.5, 0.25))
    assert found == pytest.approx(1 / (5 * 7 * 0.5 * 0.25))


def test_two_phases_have_no_line_and_four_have_one():
    volume = junction(4)
    assert triple_lines.triple_line_length(np.minimum(volume, 1), (1.0, 1.0, 1.0)) == 0
    four = volume.copy()
    four[:, :3, :4] = 3
    assert triple_lines.triple_line_counts(four)[:, 0].tolist() == [0, 0, 4]


def test_ignored_voxels_make_no_line():
    volume = junction(4)
    volume[:, 2, 4] = IGNORE_INDEX
    counts = triple_lines.triple_line_counts(volume)
    assert not counts[:, 0].any()
    assert counts[2, 1] == 4 * (5 * 7 - 4)


def test_the_rim_of_a_ball_on_tilted_planes_is_right_within_its_bias():
    random = np.random.default_rng(0)
    places = np.indices((36, 36, 36)) - 17.5
    ratios = []
    for _ in range(20):
        centre, normal = random.random(3) - 0.5, random.standard_normal(3)
        shifted = places - centre[:, np.newaxis, np.newaxis, np.newaxis]
        volume = (np.tensordot(normal, shifted, 1) > 0).astype(np.uint8)
        volume[(shifted**2).sum(axis=0) < 14**2] = 2
        found = triple_lines.triple_line_length(volume, (1.0, 1.0, 1.0))
        # Edges that are counted lie around 35 * 36 * 36 places, not 36^3.
        ratios.append(found * 35 * 35 * 36 / (2 * math.pi * 14))
    assert 1 < np.mean(ratios) < 1.1


@settings(max_examples=60, deadline=None)
@given(VOLUMES, st.integers(1, 6))
def test_slabs_add_up_to_the_whole(volume, step):
    total = sum(
        triple_lines.triple_line_counts(volume[max(0, z - 1) : z + step], repeated=int(z > 0))
        for z in range(0, len(volume), step)
    )
    np.testing.assert_array_equal(total, triple_lines.triple_line_counts(volume))


@settings(max_examples=40, deadline=None)
@given(VOLUMES, st.permutations([0, 1, 2]), st.permutations([0, 1, 2, 3]))
def test_turning_and_renaming_changes_nothing(volume, axes, names):
    spacing = (2.0, 1.0, 0.5)
    table = np.arange(256, dtype=np.uint8)
    table[:4] = names
    turned = np.flip(table[volume].transpose(axes), axis=1)
    np.testing.assert_allclose(
        triple_lines.triple_line_length(turned, tuple(spacing[axis] for axis in axes)),
        triple_lines.triple_line_length(volume, spacing),
    )


def test_a_volume_one_voxel_thick_has_no_lines():
    assert math.isnan(triple_lines.triple_line_length(junction(1), (1.0, 1.0, 1.0)))


def test_bad_input_is_told():
    with pytest.raises(InputError, match="give one positive length for each axis"):
        triple_lines.triple_line_length(junction(3), (1.0, 1.0))
    counts = triple_lines.triple_line_counts(junction(3))
    with pytest.raises(InputError, match="counts in 3 planes do not fit"):
        triple_lines.triple_lines_from_counts(counts, (1.0, 1.0))
