import hashlib
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed

from matphase.support.errors import InputError
from matphase.support.progress import Silent
from matphase.virtual import Microstructure
from matphase.virtual import microstructure as microstructure_module
from matphase.virtual.microstructure import (
    CARBON,
    NICKEL,
    PORE,
    _binder_score,
    _diameters,
    _near_pairs,
    _pack,
    _ParticleField,
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


def nearest_two(labels):
    """Distances, in voxels, to the nearest and the second nearest particle of a loose packing."""
    solid = labels == NICKEL
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(solid), 1)
    peaks = solid & (depth == ndimage.maximum_filter(depth, 5))
    parts = watershed(-depth, ndimage.label(peaks)[0], mask=solid)  # parts that touch are several
    distances = [ndimage.distance_transform_edt(parts != n) for n in range(1, parts.max() + 1)]
    return np.sort(distances, axis=0)[:2]


@pytest.fixture(scope="module")
def middle():
    return grow(Microstructure(shape=MIDDLE), seed=5)


@given(
    nickel=st.floats(0.35, 0.70),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
    flattening=st.sampled_from([0.0, 0.4]),
)
@hypothesis_settings(max_examples=15, deadline=None)
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
        "fee2b0ea44e5ccba7dd06fd1b99e5bcbc076b2bb84dbe18da8cb9b03a4faddcd"
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


def test_neighbour_search_over_many_sizes_finds_what_brute_force_finds():
    rng = np.random.default_rng(0)
    box = np.array([20.0, 22.0, 25.0])
    radii = np.sort(rng.uniform(0.2, 3.0, 300))[::-1]
    center = rng.random((300, 3)) * box

    pairs = _near_pairs(center, radii, box, skin=0.1)

    i, j = np.triu_indices(300, 1)
    _, distance = _periodic_offset(center[i], center[j], box)
    near = distance < radii[i] + radii[j] + 0.1
    np.testing.assert_array_equal(pairs, np.column_stack([i[near], j[near]]))


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
    def moment(deformation):
        """Second moment of whole particles, relative to spheres of their volume."""
        dilute = Microstructure(
            **{"shape": (96, 96, 96), "nickel": 0.1, "carbon": 0.2, "pore": 0.7},
            **{"d10": 2.8, "d50": 3.0, "d90": 3.2, "deformation": deformation},
        )
        parts, _ = ndimage.label(grow(dilute, seed=3) == NICKEL)
        cut = np.unique([parts[index] for index in (0, -1)])
        cut = np.union1d(cut, np.unique([parts[:, [0, -1]], parts[:, :, [0, -1]].swapaxes(1, 2)]))
        moments = []
        for part in np.setdiff1d(parts, cut):
            points = np.argwhere(parts == part)
            radius = (len(points) * 3 / (4 * math.pi)) ** (1 / 3)
            moments.append(points.var(axis=0).sum() / (0.6 * radius**2))
        assert len(moments) >= 5
        return np.median(moments)  # a few particles touch and count as one

    assert moment(0.0) == pytest.approx(1.0, abs=0.02)
    assert moment(0.15) > 1.03


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
        loose = {"shape": (32, 64, 64), "nickel": 0.3, "carbon": 0.03, "pore": 0.67}
        return grow(Microstructure(**loose, **mix, d10=2.5, d50=4.0, d90=6.0), seed=4)

    bridge, film, cluster = binder(bridge=1), binder(film=1), binder(cluster=1, cluster_size=0.4)

    # The particles are the same; only the binder moves.
    assert np.array_equal(bridge == NICKEL, cluster == NICKEL)
    assert np.array_equal(bridge == NICKEL, film == NICKEL)
    first, second = nearest_two(bridge)
    # Bridges sit where another particle is close besides the nearest ...
    assert np.mean(first[bridge == CARBON]) < 1.5
    assert np.mean(second[bridge == CARBON]) < 0.6 * np.mean(second[film == CARBON])
    assert np.mean(second[bridge == CARBON]) < 0.4 * np.mean(second[bridge == PORE])
    # ... films on surfaces, and clusters anywhere.
    assert np.mean(first[film == CARBON]) < np.mean(first[bridge == CARBON])
    assert np.mean(first[cluster == CARBON]) == pytest.approx(
        np.mean(first[cluster == PORE]), rel=0.15
    )


def test_a_bridge_is_a_neck_between_two_spheres():
    z, y, x = np.indices((41, 41, 61)) - np.array([20, 20, 30])[:, None, None, None]
    spheres = [np.sqrt(z**2 + y**2 + (x - c) ** 2) - 12 for c in (-13, 13)]
    field = _ParticleField(z.shape, reach=10.0)
    field.first[:], field.second[:] = np.minimum(np.sort(spheres, axis=0), 10.0)
    void = field.first > 0
    settings = Microstructure(shape=void.shape, bridge=1, film=0, cluster=0)

    score = _binder_score(settings, field, void, np.ones(3), seed=0)

    best = score >= np.quantile(score, 0.99)
    # Mirror-symmetric about the plane between them, between the centres, and around the axis.
    assert np.abs(x[void][best].mean()) < 0.1
    assert np.abs(x[void][best]).max() < 13
    assert np.hypot(y, z)[void][best].max() < 12
    assert score[(np.hypot(y, z) + np.abs(x))[void] == 0] == score.max()


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
        ({"porosity": 0.3}, "no setting 'porosity'"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(wrong, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        Microstructure(**wrong)

    assert "\n" not in str(caught.value)


def test_too_many_particles_are_refused_before_any_is_made():
    with pytest.raises(InputError, match="at most 200000 are made; raise d10"):
        grow(Microstructure(d10=0.4, d50=3.0, d90=30.0), seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_the_smallest_field_is_never_empty(seed):
    sparse = Microstructure(shape=(1, 32, 32), nickel=0.05, carbon=0.25, pore=0.7)

    np.testing.assert_allclose(fractions(grow(sparse, seed)), [0.7, 0.25, 0.05], atol=1e-3)


def test_a_field_that_particles_do_not_reach_is_refused(monkeypatch):
    empty = _ParticleField(SMALL, reach=1.8)
    monkeypatch.setattr(microstructure_module, "_particle_field", lambda *_: empty)

    with pytest.raises(InputError, match=r"too few particles reach into .* raise shape"):
        grow(Microstructure(shape=SMALL), seed=0)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Microstructure().nickel = 0.5
