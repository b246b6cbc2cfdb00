import hashlib
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from matphase.errors import InputError
from matphase.progress import Silent
from matphase.virtual import Microstructure
from matphase.virtual.microstructure import (
    CARBON,
    NICKEL,
    PORE,
    _diameters,
    _pack,
    _periodic_offset,
    _radii,
    grow,
)

SMALL = (4, 32, 32)
MIDDLE = (40, 96, 96)


def fractions(labels):
    return np.bincount(labels.ravel(), minlength=3) / labels.size


def faces(labels, axis):
    """Boundaries of nickel per voxel that a line along `axis` crosses."""
    nickel = labels == NICKEL
    return float(np.mean(np.diff(nickel.astype(np.int8), axis=axis) != 0))


def gap_width(labels):
    """Length of the shortest of the three axis-parallel runs outside nickel, for each voxel."""
    void = labels != NICKEL
    shortest = np.full(labels.shape, np.inf)
    for axis in range(3):
        line = np.moveaxis(void, axis, -1)
        length = np.zeros(line.shape)
        ahead = np.zeros(line.shape[:-1])
        back = np.zeros(line.shape[:-1])
        n = line.shape[-1]
        for k in range(n):
            ahead = (ahead + 1) * line[..., k]
            back = (back + 1) * line[..., n - 1 - k]
            length[..., k] += ahead
            length[..., n - 1 - k] += back
        shortest = np.minimum(shortest, np.moveaxis(length - 1, -1, axis))
    return shortest


@pytest.fixture(scope="module")
def middle():
    return grow(Microstructure(shape=MIDDLE), seed=5)


@given(
    nickel=st.floats(0.35, 0.70),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
    flattening=st.sampled_from([0.0, 0.4]),
)
@settings(max_examples=15, deadline=None)
def test_fractions_are_met_for_any_setting(nickel, share, seed, flattening):
    carbon = (1 - nickel) * share
    microstructure = Microstructure(
        shape=SMALL,
        nickel=nickel,
        carbon=carbon,
        pore=1 - nickel - carbon,
        flattening=flattening,
    )

    labels = grow(microstructure, seed)

    assert labels.shape == SMALL
    assert labels.dtype == np.uint8
    # A thousandth, or the one voxel that is more than that in so small a volume.
    np.testing.assert_allclose(
        fractions(labels), [1 - nickel - carbon, carbon, nickel], atol=max(1e-3, 1 / labels.size)
    )


@pytest.mark.parametrize("cracked", [0.0, 0.5])
def test_fractions_of_the_default_electrode(cracked):
    labels = grow(Microstructure(shape=MIDDLE, cracked=cracked), seed=1)

    np.testing.assert_allclose(fractions(labels), [0.14, 0.26, 0.60], atol=1e-5)


def test_same_seed_same_labels_and_another_seed_another_electrode(middle):
    again = grow(Microstructure(shape=MIDDLE), seed=5)
    other = grow(Microstructure(shape=MIDDLE), seed=6)

    assert again.tobytes() == middle.tobytes()
    # Two independent structures agree in about .14^2 + .26^2 + .60^2 = .45 of the voxels.
    assert np.mean(other == middle) < 0.55


def test_labels_are_the_same_on_every_machine():
    labels = grow(Microstructure(shape=SMALL, flattening=0.2, cracked=0.5), seed=0)

    assert hashlib.sha256(labels.tobytes()).hexdigest() == (
        "1971b6d6ab6736c1ba838b86d7baee541709f60555533930fa59d0d2304c7351"
    )


def test_opposite_faces_do_not_repeat_each_other(middle):
    assert np.mean(middle[0] == middle[-1]) < 0.60
    assert np.mean(middle[0] == middle[1]) > 0.85


def test_particle_volumes_follow_d10_d50_d90():
    microstructure = Microstructure(d10=2.0, d50=6.0, d90=9.0)
    volume = 1e5

    radii = np.sort(_radii(_diameters(microstructure), volume, np.random.default_rng(0)))

    volumes = 4 / 3 * math.pi * radii**3
    assert volumes.sum() == pytest.approx(volume, rel=1e-4)
    share = np.cumsum(volumes) / volume
    measured = [2 * radii[np.searchsorted(share, q)] for q in (0.1, 0.5, 0.9)]
    assert measured == pytest.approx([2.0, 6.0, 9.0], rel=0.03)


@pytest.mark.parametrize("sizes", [(3.0, 6.0, 10.0), (5.0, 5.0, 5.0)])
def test_particles_hardly_overlap_at_the_densest_packing(sizes):
    d10, d50, d90 = sizes
    microstructure = Microstructure(nickel=0.7, carbon=0.2, pore=0.1, d10=d10, d50=d50, d90=d90)
    rng = np.random.default_rng(0)
    box = np.array([24.0, 27.0, 30.0])
    radii = _radii(_diameters(microstructure), 0.7 * float(box.prod()), rng)

    center = _pack(radii, box, rng, Silent())

    i, j = np.triu_indices(len(radii), 1)
    _, distance = _periodic_offset(center[i], center[j], box)
    depth = 1 - distance / (radii[i] + radii[j])
    assert depth.max() < 0.15
    # And they do touch: a packing, not a gas.
    assert 2 * np.count_nonzero(depth > 0) / len(radii) > 3


def test_deformation_makes_particles_less_round():
    def sphericity(deformation):
        labels = grow(
            Microstructure(
                shape=(48, 64, 64), nickel=0.1, carbon=0.2, pore=0.7, deformation=deformation
            ),
            seed=3,
        )
        parts, _ = ndimage.label(labels == NICKEL)
        whole = set(np.unique(parts)) - set(
            np.unique(np.concatenate([np.take(parts, [0, -1], a).ravel() for a in range(3)]))
        )
        shapes = []
        for part in whole:
            points = np.argwhere(parts == part) * 0.2
            if len(points) < 300:
                continue
            # Second moments: a sphere has the least for its volume.
            radius = (len(points) * 0.2**3 * 3 / (4 * math.pi)) ** (1 / 3)
            shapes.append(points.var(axis=0).sum() / (0.6 * radius**2))
        return np.mean(shapes)

    assert sphericity(0.0) == pytest.approx(1.0, abs=0.02)
    assert sphericity(0.15) > 1.03


@pytest.mark.parametrize(("axis", "name"), [(0, "z"), (2, "x")])
def test_flattening_shortens_chords_along_its_axis(axis, name):
    labels = grow(Microstructure(shape=(80, 96, 96), flattening=0.5, flattening_axis=name), seed=2)

    crossed = [faces(labels, a) for a in range(3)]
    along = crossed.pop(axis)
    # An affine map: chords along the axis are half as long as those across.
    assert along / np.mean(crossed) == pytest.approx(2.0, rel=0.12)


def test_the_default_is_isotropic():
    labels = grow(Microstructure(shape=(80, 96, 96)), seed=2)

    crossed = [faces(labels, axis) for axis in range(3)]
    assert max(crossed) / min(crossed) < 1.1


def test_binder_goes_where_its_weights_send_it():
    def binder(**weights):
        mix = {"bridge": 0.0, "film": 0.0, "cluster": 0.0, **weights}
        return grow(Microstructure(shape=MIDDLE, carbon=0.12, pore=0.28, **mix), seed=4)

    bridge, film, cluster = binder(bridge=1), binder(film=1), binder(cluster=1)

    # The particles are the same; only the binder moves.
    assert np.array_equal(bridge == NICKEL, cluster == NICKEL)
    assert np.array_equal(bridge == NICKEL, film == NICKEL)
    distance = ndimage.distance_transform_edt(bridge != NICKEL)
    gap = gap_width(bridge)

    def mean(values, labels, phase=CARBON):
        return values[labels == phase].mean()

    # Bridges sit in narrow gaps, with a particle on either side ...
    assert mean(gap, bridge) < 0.8 * mean(gap, film)
    assert mean(gap, bridge) < 0.5 * mean(gap, bridge, PORE)
    # ... films on surfaces, and clusters anywhere.
    assert mean(distance, film) < 0.5 * mean(distance, film, PORE)
    assert mean(distance, film) < mean(distance, bridge)
    assert mean(distance, cluster) == pytest.approx(mean(distance, cluster, PORE), rel=0.15)


def test_cluster_size_sets_the_coarseness_of_clusters():
    def boundary(size):
        labels = grow(
            Microstructure(shape=MIDDLE, bridge=0, film=0, cluster=1, cluster_size=size), seed=4
        )
        return np.mean((labels[:, :, 1:] == PORE) & (labels[:, :, :-1] == CARBON))

    assert boundary(2.0) < 0.7 * boundary(0.6)


def test_cracks_open_pores_inside_particles(middle):
    cracked = grow(Microstructure(shape=MIDDLE, cracked=1.0), seed=5)

    deep = ndimage.distance_transform_edt(middle == NICKEL) > 4
    opened = cracked[deep] != NICKEL
    assert 0.02 < opened.mean() < 0.4
    # Most are pore: binder does not enter a crack, only overlapping rims are mistaken for one.
    assert np.mean(cracked[deep][opened] == PORE) > 0.95


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nickel": 0.5}, "sum to 0.9; make them sum to 1"),
        ({"nickel": 0.8, "carbon": 0.1, "pore": 0.1}, "cannot be packed; give at most 0.7"),
        ({"nickel": 0.0, "carbon": 0.8, "pore": 0.2}, "nickel: "),
        ({"pore": -0.14, "carbon": 0.54}, "pore: "),
        ({"shape": (4, 31, 64)}, "too small"),
        ({"shape": (4, 64, 31)}, "too small"),
        ({"shape": (0, 64, 64)}, "too small"),
        ({"shape": (64, 64)}, "shape"),
        ({"voxel_size": 0}, "voxel_size: "),
        ({"voxel_size": math.nan}, "voxel_size: "),
        ({"voxel_size": 5.0}, "smaller than two voxels"),
        ({"voxel_size": 0.01}, "smaller than a particle"),
        ({"d50": -6.0}, "d50: "),
        ({"d10": 12.0}, "must rise from d10 to d90"),
        ({"d90": 5.0}, "must rise from d10 to d90"),
        ({"deformation": 0.5}, "deformation: "),
        ({"flattening": 1.0}, "flattening: "),
        ({"flattening_axis": "w"}, "flattening_axis: "),
        ({"cracked": 1.5}, "cracked: "),
        ({"bridge": 0, "film": 0, "cluster": 0}, "give at least one a weight"),
        ({"film": -1}, "film: "),
        ({"porosity": 0.3}, "has no setting 'porosity'"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(wrong, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        Microstructure(**wrong)

    assert "\n" not in str(caught.value)


def test_too_many_particles_are_refused_before_any_is_made():
    with pytest.raises(InputError, match="at most 200000 are made; raise d10"):
        grow(Microstructure(d10=0.4, d50=3.0, d90=30.0), seed=0)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Microstructure().nickel = 0.5
