import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import laplace
from matphase.properties.multigrid import Multigrid
from matphase.properties.transport import transport
from matphase.support.errors import InputError

TIGHT = 1e-12
CUBE = (1.0, 1.0, 1.0)


def channels(shape, axis):
    """Separate straight channels along an axis that fill a quarter (3D) or a half (2D)."""
    position = np.indices(shape)
    across = [position[other] % 2 == 0 for other in range(len(shape)) if other != axis]
    return np.all(across, axis=0).astype(np.uint8)


def random_phases(seed, shape, phases=2):
    return np.random.default_rng(seed).integers(0, phases, shape).astype(np.uint8)


def porous(shape, seed=0, share=0.6):
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


def solved_densely(sigma, axis, spacing):
    """Conductance of each face written down one by one, and a dense solution."""
    shape, n = sigma.shape, sigma.size
    number = np.arange(n).reshape(shape)
    matrix, source = np.zeros((n, n)), np.zeros(n)
    for voxel in itertools.product(*map(range, shape)):
        here = number[voxel]
        if sigma[voxel] == 0:
            matrix[here, here] = 1
            continue
        for other in range(len(shape)):
            area = np.prod(spacing) / spacing[other]
            if voxel[other] + 1 < shape[other]:
                far = tuple(place + (d == other) for d, place in enumerate(voxel))
                if sigma[far] > 0:
                    half = spacing[other] / 2 / area
                    face = 1 / (half / sigma[voxel] + half / sigma[far])
                    there = number[far]
                    matrix[[here, there], [here, there]] += face
                    matrix[[here, there], [there, here]] -= face
            if other == axis:
                end = sigma[voxel] * area / (spacing[axis] / 2)
                if voxel[axis] == 0:
                    matrix[here, here] += end
                    source[here] = end
                if voxel[axis] == shape[axis] - 1:
                    matrix[here, here] += end
    # Clusters that touch neither end have no potential of their own: the smallest norm is as good.
    potential = np.linalg.lstsq(matrix, source, rcond=None)[0]
    current = source @ (1 - potential)
    lengths = np.array(shape) * spacing
    return current * lengths[axis] ** 2 / np.prod(lengths)


# --- ignored voxels -------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [32, 30, 17.3])
def test_a_cylinder_of_pores_is_not_tortuous_along_it_and_has_no_value_across(radius):
    y, x = np.indices((64, 64)) - 31.5
    image = np.zeros((8, 64, 64), np.uint8)
    image[:, y**2 + x**2 >= radius**2] = IGNORE_INDEX
    along = transport(image, {0: 1.0}, 0, CUBE)
    assert along.tortuosity_factor == pytest.approx(1, abs=1e-10)
    assert along.effective == pytest.approx(1, abs=1e-10)
    assert along.volume_fraction == 1
    for axis in (1, 2):
        across = transport(image, {0: 1.0}, axis, CUBE)
        assert np.isnan(across.tortuosity_factor)
        assert np.isnan(across.effective)


def test_ignored_voxels_seal_the_sides_as_the_end_of_the_volume_does():
    box = porous((12, 9, 10), share=0.8)
    image = np.full((12, 15, 17), IGNORE_INDEX, np.uint8)
    image[:, 2:11, 4:14] = box
    alone, within = (transport(one, {1: 1.0}, 0, CUBE, TIGHT) for one in (box, image))
    assert within.effective == pytest.approx(alone.effective, rel=1e-9)
    assert within.tortuosity_factor == pytest.approx(alone.tortuosity_factor, rel=1e-9)


def test_one_layer_with_another_ignored_voxel_leaves_no_value():
    image = np.zeros((6, 5, 5), np.uint8)
    image[:, 2, 2] = IGNORE_INDEX
    assert transport(image, {0: 1.0}, 0, CUBE).tortuosity_factor == pytest.approx(1)
    image[3, 2, 2], image[3, 2, 3] = 0, IGNORE_INDEX  # as many, but others
    assert np.isnan(transport(image, {0: 1.0}, 0, CUBE).tortuosity_factor)


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis", "spacing"),
    [
        ((6, 5, 7), 0, CUBE),
        ((6, 5, 7), 2, (1.0, 2.0, 0.3)),
        ((4, 9), 0, (1.0, 1.0)),
        ((9, 4), 1, (3.0, 0.5)),
        ((20, 60, 60), 0, CUBE),  # 900 channels: too many to be solved for directly
    ],
)
def test_straight_channels_are_not_tortuous(shape, axis, spacing):
    image = channels(shape, axis)
    found = transport(image, {1: 1.0}, axis, spacing)
    assert found.tortuosity_factor == pytest.approx(1, abs=1e-10)
    assert found.effective == pytest.approx(image.mean(), abs=1e-10)
    assert found.volume_fraction == image.mean()
    assert found.percolates


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5, 5), np.uint8), channels((6, 5, 5), 1), np.eye(6, dtype=np.uint8)],
    ids=["no conductor", "channels across", "edges only"],
)
def test_what_does_not_percolate_has_infinite_tortuosity(image):
    found = transport(image, {1: 1.0}, 0, (1.0,) * image.ndim)
    assert found.tortuosity_factor == np.inf
    assert found.effective == 0
    assert found.volume_fraction == image.mean()
    assert not found.percolates


def test_a_slanted_strip():
    # A bar of 2 x 2 voxels that moves by one diagonally in each of its 20 layers; TauFactor's tests
    # have it. Layers are joined by one face (resistance 1) each. Between opposite corners of an
    # inner layer the resistance is 1, between a corner and the end face of an outer one 7/24.
    image = np.zeros((20, 21, 21), np.uint8)
    for z in range(20):
        image[z, z : z + 2, z : z + 2] = 1
    resistance = 19 * 1 + 18 * 1 + 2 * 7 / 24
    straight = 20 / 4
    found = transport(image, {1: 1.0}, 0, CUBE, TIGHT)
    assert found.tortuosity_factor == pytest.approx(resistance / straight, rel=1e-10)
    assert found.tortuosity_factor == pytest.approx(7.51667, abs=5e-6)


@pytest.mark.parametrize("spacing", [CUBE, (0.2, 1.5, 4.0)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_laminates_conduct_as_they_should(axis, spacing):
    image = np.zeros((10, 10, 10), np.uint8)
    image[:3] = 1
    image[3:5] = 2
    sigma = {0: 2.0, 1: 0.25, 2: 1.0}
    shares = {0: 0.5, 1: 0.3, 2: 0.2}
    parallel = sum(shares[phase] * sigma[phase] for phase in sigma)
    series = 1 / sum(shares[phase] / sigma[phase] for phase in sigma)
    found = transport(image, sigma, axis, spacing, TIGHT)
    assert found.effective == pytest.approx(series if axis == 0 else parallel, rel=1e-9)
    assert np.isnan(found.tortuosity_factor)
    assert found.volume_fraction == 1


def test_a_chequerboard_of_four_pixels_solved_by_hand():
    # Potentials u and w of the first row and, by symmetry, 1 - w and 1 - u of the second.
    a, b = 1.0, 3.0
    face = 2 * a * b / (a + b)
    current = face * (a / (a + face) + b / (b + face))
    found = transport(np.array([[0, 1], [1, 0]], np.uint8), {0: a, 1: b}, 0, (1.0, 1.0), TIGHT)
    assert found.effective == pytest.approx(current, rel=1e-10)
    assert current == pytest.approx(1.6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.data())
def test_small_volumes_agree_with_a_dense_solution(seed, data):
    shape = data.draw(st.sampled_from([(2, 2), (5, 4), (2, 3, 4), (4, 4, 3), (5, 1, 3)]))
    axis = data.draw(st.sampled_from([d for d, length in enumerate(shape) if length > 1]))
    spacing = tuple(data.draw(st.sampled_from([0.3, 1.0, 2.5])) for _ in shape)
    sigma = data.draw(st.sampled_from([{1: 1.0, 2: 1.0}, {0: 0.02, 2: 3.0}, {0: 1.0, 1: 5, 2: 9}]))
    image = random_phases(seed, shape, 3)
    conductivity = np.array([sigma.get(phase, 0.0) for phase in range(3)])[image]
    expected = solved_densely(conductivity, axis, np.array(spacing))
    found = transport(image, sigma, axis, spacing, TIGHT)
    assert found.effective == pytest.approx(expected, rel=1e-8, abs=1e-12)


# --- physics --------------------------------------------------------------------------------------


def spheres(n, share):
    """One sphere in the middle of a cube, whose sides mirror it into a simple cubic array."""
    radius = n * (share * 3 / (4 * np.pi)) ** (1 / 3)
    z, y, x = np.indices((n, n, n)) - (n - 1) / 2
    return (x * x + y * y + z * z <= radius * radius).astype(np.uint8)


def conductivity_of_spheres(inside, share):
    """Simple cubic array in a matrix of conductivity 1 (Meredith & Tobias 1960)."""
    contrast = (2 + inside) / (1 - inside)
    seventh = 0.409 * (6 + 3 * inside) / (4 + 3 * inside) * share ** (7 / 3)
    tenth = (3 - 3 * inside) / (4 + 3 * inside) * share ** (10 / 3)
    return (contrast - 2 * share + seventh - 2.133 * tenth) / (
        contrast + share + seventh - 0.906 * tenth
    )


@pytest.mark.parametrize("inside", [0.0, 0.1, 10.0])
def test_an_array_of_spheres_conducts_as_known_and_within_hashin_shtrikman_bounds(inside):
    errors = []
    for n in (20, 40):
        image = spheres(n, 0.4)
        share = image.mean()
        # Hashin & Shtrikman 1962: spheres of one phase in coats of the other.
        coat = 1 + share / (1 / (inside - 1) + (1 - share) / 3)
        swapped = inside + (1 - share) / (1 / (1 - inside) + share / (3 * inside)) if inside else 0
        found = transport(image, {0: 1.0, 1: inside}, 0, CUBE).effective
        assert min(coat, swapped) < found < max(coat, swapped)
        errors.append(found / conductivity_of_spheres(inside, share) - 1)
    assert abs(errors[1]) < 0.03
    # The staircase of voxels obstructs the current, less so the finer it is.
    assert inside > 1 or 1.6 < errors[0] / errors[1] < 2.4


def test_flow_does_not_enter_dead_ends_and_floating_clusters():
    bare = np.zeros((8, 9, 9), np.uint8)
    bare[:, 4, 4] = 1
    more = bare.copy()
    more[3, 4, 5:8] = 1  # a dead end
    more[0:4, 0, 0] = 1  # touches one end only
    more[5, 1, 1] = 1  # touches nothing
    one, other = (transport(image, {1: 1.0}, 0, CUBE, TIGHT) for image in (bare, more))
    assert other.effective == pytest.approx(one.effective, rel=1e-10)
    assert other.volume_fraction == more.mean()
    assert other.tortuosity_factor == pytest.approx(more.mean() / one.effective, rel=1e-10)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.data())
def test_mirrors_and_the_order_of_axes_change_nothing(seed, data):
    image = random_phases(seed, (5, 6, 4), 3)
    spacing, sigma = (1.0, 0.5, 2.0), {0: 1.0, 1: 0.1}
    axis = data.draw(st.integers(0, 2))
    order = data.draw(st.permutations(range(3)))
    mirrored = np.flip(image, data.draw(st.integers(0, 2)))
    before = transport(image, sigma, axis, spacing, TIGHT)
    after = transport(
        mirrored.transpose(order),
        sigma,
        order.index(axis),
        tuple(spacing[d] for d in order),
        TIGHT,
    )
    assert after.effective == pytest.approx(before.effective, rel=1e-8)
    assert after.percolates == before.percolates


def test_only_ratios_of_lengths_matter():
    image = porous((12, 12, 12))
    one = transport(image, {1: 1.0}, 1, (1.0, 2.0, 3.0), TIGHT)
    other = transport(image, {1: 1.0}, 1, (0.1, 0.2, 0.3), TIGHT)
    assert other.tortuosity_factor == pytest.approx(one.tortuosity_factor, rel=1e-9)


def test_a_union_of_phases_is_a_phase():
    three = random_phases(3, (10, 9, 8), 3)
    two = np.where(three == 2, 1, three).astype(np.uint8)
    union = transport(three, {1: 1.0, 2: 1.0}, 0, CUBE)
    assert union == transport(two, {1: 1.0}, 0, CUBE)
    assert 1 < union.tortuosity_factor < np.inf


def test_effective_conductivity_has_the_unit_of_those_given():
    image = porous((10, 10, 10))
    relative, absolute = (transport(image, {1: value}, 0, CUBE, TIGHT) for value in (1.0, 250.0))
    assert absolute.effective == pytest.approx(250 * relative.effective, rel=1e-10)
    assert absolute.tortuosity_factor == pytest.approx(relative.tortuosity_factor, rel=1e-10)


def test_what_lies_outside_of_a_cylinder_is_no_part_of_the_volume():
    y, x = np.indices((15, 15)) - 7
    image = porous((12, 15, 15))
    image[:, x * x + y * y > 49] = 2
    insulated = transport(image, {1: 1.0}, 0, CUBE, TIGHT)
    inside = (image != 2).mean()
    image[image == 2] = IGNORE_INDEX
    ignored = transport(image, {1: 1.0}, 0, CUBE, TIGHT)
    assert ignored.effective == pytest.approx(insulated.effective / inside, rel=1e-10)
    assert ignored.volume_fraction == pytest.approx(insulated.volume_fraction / inside)
    assert ignored.tortuosity_factor == pytest.approx(insulated.tortuosity_factor, rel=1e-10)


def test_a_volume_of_ignored_voxels_conducts_nothing():
    found = transport(np.full((3, 3, 3), IGNORE_INDEX, np.uint8), {0: 1.0}, 0, CUBE)
    assert np.isnan(found.volume_fraction)
    assert found.tortuosity_factor == np.inf


# --- the solver -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "sigma", "spacing"),
    [
        (porous((30, 30, 30), share=0.34), {1: 1.0}, CUBE),
        (porous((30, 30, 30), share=0.9), {1: 1.0}, CUBE),
        (porous((30, 30, 30)), {1: 1.0}, (1.0, 1.0, 8.0)),
        (porous((20, 40, 40)), {1: 1.0}, (1.0, 100.0, 100.0)),
        (random_phases(1, (30, 30, 30), 3), {0: 1.0, 1: 1e-2, 2: 1e-5}, CUBE),
        (porous((150, 150), share=0.7), {1: 1.0}, (1.0, 1.0)),
    ],
    ids=["barely percolating", "dense", "long voxels", "flat voxels", "three conductors", "2D"],
)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_the_error_left_is_positive_and_as_small_as_promised(image, sigma, spacing, tolerance):
    exact = transport(image, sigma, 0, spacing, 1e-10)
    found = transport(image, sigma, 0, spacing, tolerance)
    error = found.effective / exact.effective - 1
    assert 0 < error < found.residual <= tolerance
    assert found.iterations < exact.iterations < 40
    assert exact.flux_imbalance < 1e-2 * found.flux_imbalance


def test_multigrid_is_symmetric_and_positive():
    image = porous((25, 25, 25), share=0.9) > 0
    image = image & (np.indices(image.shape)[1] % 3 > 0)
    sigma = np.random.default_rng(0).uniform(0.01, 1, int(image.sum()))
    inverse = Multigrid(laplace.equations(image, sigma, CUBE).matrix)
    one, other = np.random.default_rng(1).normal(size=(2, sigma.size))
    assert one @ inverse(other) == pytest.approx(other @ inverse(one), rel=1e-9)
    assert one @ inverse(one) > 0


def test_a_potential_that_is_not_found_is_said(monkeypatch):
    monkeypatch.setattr(laplace, "MAX_ITERATIONS", 2)
    with pytest.raises(InputError, match="after 2 iterations"):
        transport(porous((20, 20, 20)), {1: 1.0}, 0, CUBE, 1e-8)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"indices": np.ones((3, 3, 3))}, "indices of type float64"),
        ({"indices": np.ones(3, np.uint8)}, "shape .3,."),
        ({"indices": np.ones((3, 0, 3), np.uint8)}, "shape .3, 0, 3."),
        ({"indices": np.ones((1, 3, 3), np.uint8)}, "one voxel thick along axis 0"),
        ({"axis": 3}, "no axis 3"),
        ({"axis": -1}, "no axis -1"),
        ({"spacing": (1.0, 1.0)}, "does not fit 3 axes"),
        ({"spacing": (1.0, 0.0, 1.0)}, "does not fit 3 axes"),
        ({"conductivity": {}}, "no phase conducts"),
        ({"conductivity": {1: 0.0}}, "no phase conducts"),
        ({"conductivity": {1: -1.0}}, "conductivity of phase 1 is -1"),
        ({"conductivity": {1: float("nan")}}, "conductivity of phase 1 is nan"),
        ({"conductivity": {IGNORE_INDEX: 1.0}}, "no phase with index 255"),
        ({"conductivity": {0: 1.0, 1: 1e-12}}, "too far apart"),
        ({"tolerance": 0.0}, "tolerance is 0"),
    ],
)
def test_what_cannot_be_solved_is_refused(changed, message):
    arguments = {
        "indices": np.ones((3, 3, 3), np.uint8),
        "conductivity": {1: 1.0},
        "axis": 0,
        "spacing": CUBE,
        **changed,
    }
    with pytest.raises(InputError, match=message):
        transport(**arguments)


def test_more_voxels_than_the_solver_can_number_are_refused(monkeypatch):
    monkeypatch.setattr(laplace, "_MAX_ENTRIES", 100)
    with pytest.raises(InputError, match="27 conducting voxels are too many"):
        transport(np.ones((3, 3, 3), np.uint8), {1: 1.0}, 0, CUBE)
