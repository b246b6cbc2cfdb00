import hashlib

import numpy as np
import pytest
from scipy import ndimage

from matphase.images.phases import IGNORE_INDEX
from matphase.virtual import Microstructure
from matphase.virtual.ground_truth import _displacement, measured_labels
from matphase.virtual.microstructure import grow
from matphase.virtual.recipes import GroundTruth


@pytest.fixture(scope="module")
def labels():
    return grow(Microstructure(shape=(8, 96, 96)), seed=8)


def measured(labels, seed=0, **truth):
    return measured_labels(labels, 3, GroundTruth(**truth), seed)


def test_without_errors_the_labels_are_exact(labels):
    assert np.array_equal(measured(labels), labels)


def test_misregistration_has_its_size_is_smooth_and_bounded():
    truth = GroundTruth(misregistration=1.2, misregistration_size=20)
    shift = _displacement((30, 96, 96), truth, np.random.default_rng(0))
    length = np.sqrt((shift**2).sum(axis=1))
    assert np.sqrt((length**2).mean()) == pytest.approx(1.2, rel=0.05)
    assert length.max() <= 2.4 + 1e-9
    assert np.abs(np.diff(shift, axis=2)).max() < 0.6


def test_displaced_labels_come_from_no_further_than_the_displacement(labels):
    moved = measured(labels, misregistration=1.0)
    assert 0.01 < (moved != labels).mean() < 0.2
    for phase in range(3):
        # 2 px of displacement, and a half each for the rounding along y and x
        reach = np.hypot(*np.mgrid[-3:4, -3:4]) <= 2.8
        near = ndimage.binary_dilation(labels == phase, reach[None])
        assert near[moved == phase].all()


def test_eds_errs_near_boundaries_only(labels):
    seen = measured(labels, eds_blur=1.0, eds_noise=0.1)
    wrong = seen != labels
    assert 0.005 < wrong.mean() < 0.2
    edge = ndimage.maximum_filter(labels, (1, 3, 3)) != ndimage.minimum_filter(labels, (1, 3, 3))
    assert wrong[ndimage.binary_dilation(edge, np.ones((1, 3, 3)))].sum() > 0.95 * wrong.sum()


def test_more_blur_is_more_error(labels):
    errors = [(measured(labels, eds_blur=blur) != labels).mean() for blur in (0.5, 1.0, 2.0)]
    assert errors == sorted(errors)


def test_slices_between_sections_have_no_labels(labels):
    seen = measured(labels, section_spacing=3, eds_blur=0.8)
    known = (seen != IGNORE_INDEX).all(axis=(1, 2))
    assert known.tolist() == [n % 3 == 0 for n in range(8)]
    assert (seen[~known] == IGNORE_INDEX).all()


def test_the_seed_names_the_labels_on_any_machine(labels):
    settings = {"misregistration": 1.0, "eds_blur": 0.8, "eds_noise": 0.1}
    first, again, other = (measured(labels, seed, **settings) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    digest = hashlib.sha256(first.tobytes()).hexdigest()[:16]
    assert digest == "03dc195ad871fa8a"
