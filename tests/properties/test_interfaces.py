import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import interfaces
from matphase.support.errors import InputError

CUBES = (1.0, 1.0, 1.0)
AXIS_PLANE = 0.9271
"""Share that is seen of a plane normal to an axis of cubic voxels."""


def volumes(low=1):
    return hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=low, max_side=6),
        elements=st.sampled_from([0, 1, 2, IGNORE_INDEX]),
    )


def area_of_body(body, spacing):
    """Area of a body that lies well inside, as if the volume went on around it."""
    counts = interfaces.interface_counts(body.astype(np.uint8), 2)
    counts[:, 0, 0] += body.size - counts.sum(axis=(1, 2))
    return interfaces.areas_from_counts(counts, spacing)[0, 1] * body.size * math.prod(spacing)


def ball(radius, spacing, seed=0):
    shift = np.random.default_rng(seed).random(len(spacing))
    sides = [int(2 * radius / length) + 6 for length in spacing]
    grid = np.ogrid[tuple(slice(side) for side in sides)]
    squares = [
        ((places - side / 2 + moved) * length) ** 2
        for places, side, moved, length in zip(grid, sides, shift, spacing, strict=True)
    ]
    return sum(squares) < radius**2


class TestDirections:
    def test_each_pair_of_neighbours_once(self):
        for ndim, number in ((2, 4), (3, 13)):
            steps = set(interfaces.directions(ndim))
            assert len(steps) == number
            assert not steps & {tuple(-d for d in step) for step in steps}

    def test_weights_of_cubic_voxels_are_those_of_ohser_and_muecklich(self):
        known = {1: 0.0915561, 2: 0.0739612, 3: 0.0703913}
        weights = interfaces.direction_weights(CUBES)
        steps = interfaces.directions(3)
        np.testing.assert_allclose(
            weights, [known[np.count_nonzero(step)] for step in steps], atol=1e-6
        )
        np.testing.assert_allclose(interfaces.direction_weights((2.0, 2.0)), 1 / 4)

    @pytest.mark.parametrize("spacing", [(3.0, 1.0, 1.0), (1.0, 2.0, 0.5), (2.0, 1.0)])
    def test_weights_are_shares_of_the_nearest_directions(self, spacing):
        random = np.random.default_rng(0).standard_normal((200_000, len(spacing)))
        vectors = np.array(interfaces.directions(len(spacing))) * spacing
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        nearest = abs(random @ vectors.T).argmax(axis=1)
        shares = np.bincount(nearest, minlength=len(vectors)) / len(random)
        np.testing.assert_allclose(interfaces.direction_weights(spacing), shares, atol=0.004)


class TestKnownAreas:
    @pytest.mark.parametrize(("radius", "within"), [(5, 0.02), (10, 0.005), (20, 0.003)])
    def test_balls(self, radius, within):
        found = np.mean([area_of_body(ball(radius, CUBES, seed), CUBES) for seed in range(3)])
        assert found == pytest.approx(4 * math.pi * radius**2, rel=within)

    def test_balls_in_flat_voxels(self):
        spacing = (0.6, 0.3, 0.3)
        found = np.mean([area_of_body(ball(3.0, spacing, seed), spacing) for seed in range(3)])
        assert found == pytest.approx(4 * math.pi * 3.0**2, rel=0.02)

    def test_cube_has_the_bias_of_axis_planes(self):
        body = np.zeros((40, 40, 40), np.bool_)
        body[5:35, 5:35, 5:35] = True
        # Lines along diagonals cross edges and corners twice or not at all.
        assert area_of_body(body, CUBES) == pytest.approx(AXIS_PLANE * 6 * 30**2, rel=0.03)

    def test_planes_of_all_tilts_are_right_in_the_mean(self):
        random = np.random.default_rng(1)
        places = np.indices((30, 30, 30)) - 14.5
        seen = []
        for _ in range(30):
            normal = random.standard_normal(3)
            normal /= np.linalg.norm(normal)
            layers = np.floor((np.tensordot(normal, places, 1) + random.random()) / 6) % 2
            area = interfaces.interface_areas(layers.astype(np.uint8), 2, CUBES)[0, 1]
            seen.append(area * 6)
        assert np.mean(seen) == pytest.approx(1, abs=0.02)
        assert min(seen) > 0.88
        assert max(seen) < 1.1

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_laminate(self, axis):
        layers = np.zeros((21, 21, 21), np.uint8)
        layers[5:10] = 1
        layers[15:20] = 1  # 4 interfaces on a length of 20 between the outer voxel centres
        layers = np.moveaxis(layers, 0, axis)
        found = interfaces.interface_areas(layers, 2, (0.5, 0.5, 0.5))[0, 1]
        assert found == pytest.approx(AXIS_PLANE * 4 / (20 * 0.5), rel=1e-3)

    def test_checkerboard(self):
        board = np.indices((6, 6, 6)).sum(axis=0).astype(np.uint8) % 2
        # Every step along an axis or through the voxel changes, none along a diagonal of a face.
        expected = 2 * (3 * 0.0915561 + 4 * 0.0703913 / math.sqrt(3))
        found = interfaces.interface_areas(board, 2, CUBES)
        np.testing.assert_allclose(found, [[0, expected], [expected, 0]], rtol=1e-5)

    def test_disc_in_an_image(self):
        disc = ball(20, (1.0, 1.0))
        assert area_of_body(disc, (1.0, 1.0)) == pytest.approx(2 * math.pi * 20, rel=0.01)

    def test_sections_of_balls_tell_their_surface(self):
        body = ball(12, CUBES)
        per_slice = []
        for plane in body:
            padded = np.pad(plane, 20)
            boundary = interfaces.interface_areas(padded.astype(np.uint8), 2, (1.0, 1.0))[0, 1]
            per_slice.append(interfaces.surface_from_sections(boundary) * padded.size)
        assert sum(per_slice) == pytest.approx(4 * math.pi * 12**2, rel=0.05)


class TestPairs:
    @settings(max_examples=40, deadline=None)
    @given(volumes(low=2))
    def test_pairs_add_up_to_the_area_of_the_phase_against_all_others(self, volume):
        areas = interfaces.interface_areas(volume, 3, CUBES)
        np.testing.assert_array_equal(areas, areas.T)
        own = interfaces.specific_surface_areas(areas)
        for phase in range(3):
            alone = np.where(volume == IGNORE_INDEX, volume, volume == phase).astype(np.uint8)
            expected = interfaces.interface_areas(alone, 2, CUBES)[0, 1]
            np.testing.assert_allclose(own[phase], expected, rtol=1e-12)

    @settings(max_examples=60, deadline=None)
    @given(volumes(), st.integers(1, 6))
    def test_slabs_add_up_to_the_whole(self, volume, step):
        total = sum(
            interfaces.interface_counts(volume[max(0, z - 1) : z + step], 3, repeated=int(z > 0))
            for z in range(0, len(volume), step)
        )
        np.testing.assert_array_equal(total, interfaces.interface_counts(volume, 3))

    @settings(max_examples=40, deadline=None)
    @given(
        volumes(low=2),
        st.permutations([0, 1, 2]),
        st.tuples(*[st.sampled_from([1, -1])] * 3),
        st.permutations([0, 1, 2]),
    )
    def test_turning_and_renaming_changes_nothing(self, volume, axes, signs, names):
        spacing = (2.0, 1.0, 0.5)
        before = interfaces.interface_areas(volume, 3, spacing)
        flipped = volume[tuple(slice(None, None, sign) for sign in signs)]
        table = np.arange(256, dtype=np.uint8)
        table[:3] = names
        turned = table[flipped].transpose(axes)
        after = interfaces.interface_areas(turned, 3, tuple(spacing[axis] for axis in axes))
        np.testing.assert_allclose(after[np.ix_(names, names)], before, rtol=1e-9)

    def test_ignored_voxels_make_no_surface(self):
        volume = np.zeros((4, 5, 6), np.uint8)
        volume[:, 2] = IGNORE_INDEX
        volume[:, 3:] = 1
        assert not interfaces.interface_areas(volume, 2, CUBES).any()
        assert interfaces.interface_counts(volume, 2)[:, 1, 1].sum() > 0

    def test_absent_phase_has_no_area_and_no_coverage(self):
        volume = np.indices((4, 4, 4))[0].astype(np.uint8) % 2
        areas = interfaces.interface_areas(volume, 3, CUBES)
        assert not areas[2].any()
        assert areas[0, 1] > 0
        assert math.isnan(interfaces.coverage(areas, 2, 1))
        assert interfaces.coverage(areas, 1, 2) == 0

    def test_many_phases(self):
        volume = np.array([[[0, 199], [0, 199]], [[0, 199], [0, 199]]], np.uint8)
        areas = interfaces.interface_areas(volume, 200, CUBES)
        assert np.argwhere(areas).tolist() == [[0, 199], [199, 0]]

    def test_a_volume_one_voxel_thick_has_no_areas_but_its_image_has(self):
        image = np.array([[0, 0, 1], [0, 1, 1]], np.uint8)
        assert np.isnan(interfaces.interface_areas(image[np.newaxis], 2, CUBES)).all()
        assert interfaces.interface_areas(image, 2, (1.0, 1.0))[0, 1] > 0


def test_coverage_is_the_share_of_the_surface():
    areas = np.array([[0, 3.0, 1.0], [3.0, 0, 2.0], [1.0, 2.0, 0]])
    assert interfaces.coverage(areas, 0, 2) == 1 / 4
    assert interfaces.coverage(areas, 2, 0) == 1 / 3


class TestBadInput:
    @pytest.mark.parametrize(
        "spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, math.nan, 1.0)]
    )
    def test_spacing(self, spacing):
        with pytest.raises(InputError, match="give one positive length for each axis"):
            interfaces.interface_areas(np.zeros((3, 3, 3), np.uint8), 2, spacing)

    def test_number_of_axes(self):
        with pytest.raises(InputError, match="areas need 2 or 3 axes"):
            interfaces.direction_weights((1.0,))
        counts = interfaces.interface_counts(np.zeros((3, 3), np.uint8), 2)
        with pytest.raises(InputError, match="counts in 4 directions do not fit"):
            interfaces.areas_from_counts(counts, CUBES)

    @pytest.mark.parametrize("repeated", [-1, 3])
    def test_overlap(self, repeated):
        with pytest.raises(InputError, match="cannot be repeated"):
            interfaces.interface_counts(np.zeros((2, 3, 3), np.uint8), 2, repeated)

    @pytest.mark.parametrize(("phase", "by"), [(0, 3), (3, 0), (1, 1)])
    def test_coverage(self, phase, by):
        with pytest.raises(InputError, match="cannot cover"):
            interfaces.coverage(np.zeros((3, 3)), phase, by)
