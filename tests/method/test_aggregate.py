import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from matphase.method.aggregate import aggregate, sample_labels
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition


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


def both(seed: int) -> tuple[GlobalPrediction, Partition, LocalPrediction]:
    """Random answers of both for two slices, the local ones in half of the pixels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    moves = rng.normal(size=(6, *logits.shape)).astype(np.float16)
    known = GlobalPrediction(
        logits.argmax(1).astype(np.uint8),
        logits,
        np.zeros((2, 5, 4), np.float32),
        samples=(moves - moves.mean(axis=0)).astype(np.float16),
    )
    idk = rng.random((2, 5, 4)) < 0.5
    said = rng.dirichlet(np.ones(3), int(idk.sum())).astype(np.float32)
    local = LocalPrediction(said.argmax(1).astype(np.uint8), said)
    return known, Partition(idk, idk.astype(np.float32)), local


def test_weights_mix_the_probabilities() -> None:
    """By hand: (.9, .1) of UGSM and (.2, .8) of LCGAR."""
    logits = np.log(np.array([0.9, 0.1], np.float32)).reshape(1, 2, 1, 1).repeat(4, axis=3)
    known = GlobalPrediction(np.zeros((1, 1, 4), np.uint8), logits, np.zeros((1, 1, 4), np.float32))
    idk = np.array([[[True, True, False, True]]])
    local = LocalPrediction(np.full(3, 1, np.uint8), np.tile(np.float32([0.2, 0.8]), (3, 1)))
    weight = np.array([0.75, 0.25, 0], np.float32)
    labels, probabilities = aggregate(known, Partition(idk, idk.astype(np.float32)), local, weight)
    np.testing.assert_allclose(probabilities[0, 0, 0], [0.375, 0.725, 0.9, 0.9], rtol=1e-5)
    np.testing.assert_array_equal(labels, [[[1, 0, 0, 0]]])


@given(st.integers(0, 2**32 - 1))
def test_full_weight_is_replacing_and_none_is_leaving(seed: int) -> None:
    known, asked, local = both(seed)
    ones = np.ones(len(local.labels), np.float32)
    for weight, expected in (
        (ones, aggregate(known, asked, local)),
        (0 * ones, (known.labels, known.probabilities)),
    ):
        labels, probabilities = aggregate(known, asked, local, weight)
        np.testing.assert_array_equal(labels, expected[0])
        np.testing.assert_array_equal(probabilities, expected[1])


@given(st.integers(0, 2**32 - 1))
def test_samples_scatter_around_the_weighed_answer(seed: int) -> None:
    known, asked, local = both(seed)
    assert known.samples is not None
    weight = np.random.default_rng(seed).random(len(local.labels)).astype(np.float32)
    weight[::3] = 0
    labels, _ = aggregate(known, asked, local, weight)
    still = GlobalPrediction(
        known.labels, known.logits, known.entropy, samples=np.zeros_like(known.samples)
    )
    for one in sample_labels(still, asked, local, weight=weight):
        np.testing.assert_array_equal(one, labels)
    drawn = sample_labels(known, asked, local, weight=weight)
    globally = (known.logits + known.samples).argmax(axis=2)
    kept = ~asked.idk
    kept[asked.idk] = weight == 0
    np.testing.assert_array_equal(drawn[:, kept], globally[:, kept])
    assert (drawn != globally).any()
