import math

import numpy as np
import pytest

from matphase.properties import particles
from matphase.support.errors import InputError

CUBES = (1.0, 1.0, 1.0)


def balls(shape, *bodies, spacing=CUBES):
    """Union of balls, each a centre and a radius in units of length."""
    grid = np.ogrid[tuple(slice(side) for side in shape)]
    mask = np.zeros(shape, np.bool_)
    for *centre, radius in bodies:
        squares = [
            ((place + 0.5) * length - middle) ** 2
            for place, length, middle in zip(grid, spacing, centre, strict=True)
        ]
        mask |= sum(squares) < radius**2
    return mask


def test_two_balls_that_overlap_are_two_particles():
    mask = balls((30, 30, 50), (15, 15, 14, 10), (15, 15, 31, 9))
    labels = particles.particle_labels(mask, CUBES)
    assert (labels > 0).tolist() == mask.tolist()
    seen = particles.measure_particles(labels, CUBES)
    order = np.argsort(seen.centroid[:, 2])
    assert len(order) == 2
    assert not seen.at_border.any()
    np.testing.assert_allclose(seen.volume[order], [4184, 3050], rtol=0.05)
    np.testing.assert_allclose(seen.diameter[order], [20, 18], rtol=0.03)
    np.testing.assert_allclose(seen.centroid[order], [[15, 15, 14], [15, 15, 31]], atol=0.7)


def test_flat_voxels_give_the_same_particles():
    spacing = (2.0, 1.0, 1.0)
    mask = balls((15, 30, 50), (15, 15, 14, 10), (15, 15, 31, 9), spacing=spacing)
    seen = particles.measure_particles(particles.particle_labels(mask, spacing), spacing)
    assert sorted(seen.diameter) == pytest.approx([18, 20], rel=0.03)
    assert sorted(seen.centroid[:, 2]) == pytest.approx([14, 31], abs=0.7)


def test_h_decides_on_a_neck():
    mask = balls((30, 30, 50), (15, 15, 15, 10), (15, 15, 27, 10))  # neck of radius 8
    count = {h: particles.particle_labels(mask, CUBES, h=h).max() for h in (0.05, 0.1, 0.3, 0.6)}
    assert count[0.05] == count[0.1] == 2
    assert count[0.3] == count[0.6] == 1


def test_a_packing_is_counted():
    centres = [(z, y, x, 6) for z in (8, 20) for y in (8, 20, 32) for x in (8, 20, 32)]
    mask = balls((28, 40, 40), *centres)
    assert particles.particle_labels(mask, CUBES).max() == len(centres)
    turned = particles.particle_labels(np.flip(mask.transpose(2, 0, 1), 1), CUBES)
    assert turned.max() == len(centres)


def test_particles_at_the_border_are_flagged_and_left_out_of_sizes():
    mask = balls((40, 40, 40), (20, 20, 20, 8), (0, 20, 20, 6), (20, 40, 5, 6))
    seen = particles.measure_particles(particles.particle_labels(mask, CUBES), CUBES)
    assert sorted(seen.diameter[~seen.at_border]) == pytest.approx([16], rel=0.02)
    summary = particles.summarise_particles(seen)
    assert (summary.count, summary.at_border) == (3, 2)
    assert summary.d10 == summary.d90 == pytest.approx(16, rel=0.02)
    border = seen.volume[seen.at_border].sum()
    assert summary.border_share == pytest.approx(border / mask.sum())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("before", [True, False])
def test_ignored_voxels_are_a_border(axis, before):
    labels = np.zeros((9, 9, 9), np.int32)
    labels[3:6, 3:6, 3:6] = 1
    counted = np.ones(labels.shape, np.bool_)
    np.moveaxis(counted, axis, 0)[2 if before else 6] = False
    assert not particles.measure_particles(labels, CUBES).at_border[0]
    assert particles.measure_particles(labels, CUBES, counted).at_border[0]


def test_quantiles_are_by_volume():
    labels = np.zeros((1 + 8 + 4, 20, 20), np.int32)
    labels[2:10, 2:10, 2:10] = 7  # 512 voxels
    for number in range(6):
        labels[11, 2 + 2 * number, 5] = 20 + number  # 1 voxel each
    seen = particles.measure_particles(labels, CUBES)
    assert sorted(seen.volume) == [1] * 6 + [512]
    summary = particles.summarise_particles(seen)
    assert summary.count == 7
    assert summary.d10 == summary.d50 == pytest.approx((6 * 512 / math.pi) ** (1 / 3))


def test_centroids_are_measured_from_the_corner_of_the_volume():
    labels = np.zeros((4, 5, 6), np.int32)
    labels[0, 1:3, 4] = 1
    seen = particles.measure_particles(labels, (2.0, 1.0, 0.5))
    np.testing.assert_allclose(seen.centroid, [[1.0, 2.0, 2.25]])


def test_an_image_has_sections_of_area():
    mask = balls((40, 60), (20, 20, 12), (20, 41, 11), spacing=(1.0, 1.0))
    labels = particles.particle_labels(mask, (1.0, 1.0))
    seen = particles.measure_particles(labels, (0.5, 0.5))
    assert sorted(seen.diameter) == pytest.approx([11, 12], rel=0.03)
    assert seen.centroid.shape == (2, 2)


def test_absent_phase_and_phase_everywhere():
    nothing = np.zeros((5, 5, 5), np.bool_)
    seen = particles.measure_particles(particles.particle_labels(nothing, CUBES), CUBES)
    assert seen.centroid.shape == (0, 3)
    summary = particles.summarise_particles(seen)
    assert summary.count == 0
    assert math.isnan(summary.d50)
    assert math.isnan(summary.border_share)
    everything = particles.particle_labels(~nothing, CUBES)
    assert (everything == 1).all()
    counted = np.ones_like(nothing)
    counted[2] = False
    apart = particles.particle_labels(~nothing & counted, CUBES, counted)
    assert apart.max() == 2


def test_bad_input_is_told():
    mask = np.zeros((5, 5), np.bool_)
    for h in (0, 1, math.nan):
        with pytest.raises(InputError, match="give a number between 0 and 1"):
            particles.particle_labels(mask, (1.0, 1.0), h=h)
    with pytest.raises(InputError, match="number the particles from 1"):
        particles.measure_particles(np.full((5, 5), -1), (1.0, 1.0))
    with pytest.raises(InputError, match="number the particles from 1"):
        particles.measure_particles(np.zeros((5, 5)), (1.0, 1.0))
    with pytest.raises(InputError, match="does not fit 2 axes"):
        particles.measure_particles(np.zeros((5, 5), np.int32), CUBES)
