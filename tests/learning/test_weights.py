import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.weights import phase_fractions, phase_weights
from matphase.support.errors import InputError


def test_hand_computed_example():
    labels = np.array([[0, 0, 0, 0], [1, 1, 2, IGNORE_INDEX]], np.uint8)
    np.testing.assert_allclose(phase_fractions(labels, 3), [4 / 7, 2 / 7, 1 / 7])
    # 1/4 : 1/2 : 1, with mean 1.
    weights = phase_weights(labels, 3)
    np.testing.assert_allclose(weights, [3 / 7, 6 / 7, 12 / 7], rtol=1e-6)
    assert weights.dtype == np.float32


@given(hnp.arrays(np.uint8, 60, elements=st.sampled_from([0, 1, 2, IGNORE_INDEX])))
def test_every_phase_weighs_the_same_in_total(labels):
    labels = np.append(labels, [0, 1, 2]).astype(np.uint8)
    weights = phase_weights(labels, 3)
    assert weights.mean() == pytest.approx(1)
    totals = weights * np.bincount(labels, minlength=3)[:3]
    np.testing.assert_allclose(totals, totals[0], rtol=1e-5)


def test_missing_phases_are_named():
    labels = np.array([0, 0, 2], np.uint8)
    with pytest.raises(InputError, match="phase 1, 3;"):
        phase_weights(labels, 4)
    with pytest.raises(InputError, match=r"phase 1 \(carbon\)"):
        phase_weights(labels, 3, ["pore", "carbon", "nickel"])


def test_bad_labels():
    with pytest.raises(InputError, match="index 3"):
        phase_weights(np.array([0, 1, 3], np.uint8), 2)
    with pytest.raises(InputError, match="ignored"):
        phase_weights(np.full((3, 3), IGNORE_INDEX, np.uint8), 2)
