import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from matphase.stages.aggregate import aggregate
from matphase.stages.results import GlobalPrediction, LocalPrediction, Partition


def test_local_where_idk_and_global_elsewhere() -> None:
    """A 2 x 2 slice by hand; the equation printed in the paper would give the opposite."""
    logits = np.zeros((1, 2, 2, 2), np.float32)
    logits[0, 0] = 5.0
    known = GlobalPrediction(np.zeros((1, 2, 2), np.uint8), logits, np.zeros((1, 2, 2), np.float32))
    idk = np.array([[[False, True], [True, False]]])
    local = LocalPrediction(
        np.array([1, 0], np.uint8), np.array([[0.1, 0.9], [0.7, 0.3]], np.float32)
    )
    labels, probabilities = aggregate(known, Partition(idk, idk.astype(np.float32)), local)
    np.testing.assert_array_equal(labels, [[[0, 1], [0, 0]]])
    np.testing.assert_allclose(probabilities[0, :, 0, 1], [0.1, 0.9])
    np.testing.assert_allclose(probabilities[0, :, 1, 0], [0.7, 0.3])
    np.testing.assert_allclose(probabilities[0, 0, 0, 0], 1 / (1 + np.exp(-5)), rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_changes_no_pixel_outside_the_idk_set(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (2, 5, 4)).astype(np.uint8)
    logits = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    idk = rng.random(labels.shape) < share
    chosen = rng.random((int(idk.sum()), 3)).astype(np.float32)
    local = LocalPrediction(chosen.argmax(1).astype(np.uint8), chosen)
    before = labels.copy()
    known = GlobalPrediction(labels, logits, np.zeros(labels.shape, np.float32))
    fused, _ = aggregate(known, Partition(idk, idk.astype(np.float32)), local)
    np.testing.assert_array_equal(fused[~idk], before[~idk])
    np.testing.assert_array_equal(fused[idk], local.labels)
    np.testing.assert_array_equal(labels, before)
