import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matphase.learning.weights import phase_fractions, phase_weights
from matphase.support.errors import InputError


def test_hand_computed_example():
    counts = np.array([4, 2, 1])
    np.testing.assert_allclose(phase_fractions(counts), [4 / 7, 2 / 7, 1 / 7])
    # 1/4 : 1/2 : 1, with mean 1.
    weights = phase_weights(counts)
    np.testing.assert_allclose(weights, [3 / 7, 6 / 7, 12 / 7], rtol=1e-6)
    assert weights.dtype == np.float32


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=6))
def test_every_phase_weighs_the_same_in_total(counts):
    weights = phase_weights(np.array(counts))
    assert weights.mean() == pytest.approx(1)
    totals = weights * np.array(counts)
    np.testing.assert_allclose(totals, totals[0], rtol=1e-5)


def test_missing_phases_are_named():
    counts = np.array([2, 0, 1, 0])
    with pytest.raises(InputError, match="phase 1, 3;"):
        phase_weights(counts)
    with pytest.raises(InputError, match=r"phase 1 \(carbon\)"):
        phase_weights(counts[:3], ["pore", "carbon", "nickel"])


def test_labels_without_a_known_pixel():
    for function in (phase_fractions, phase_weights):
        with pytest.raises(InputError, match="every pixel of the labels is ignored"):
            function(np.zeros(3, np.int64))
