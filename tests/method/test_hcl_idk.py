import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.trainer import Run
from matphase.method import hcl_idk
from matphase.method.results import GlobalPrediction
from matphase.settings import IDKSettings

SETTINGS = IDKSettings(epochs=12, batch_size=256, learning_rate=5e-3)


def guesses(n: int = 4, side: int = 40, seed: int = 0) -> tuple[GlobalPrediction, np.ndarray]:
    """Two phases; where the entropy is high, half of the answers are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (n, side, side)).astype(np.uint8)
    unsure = rng.random(truth.shape) < 0.2
    wrong = unsure & (rng.random(truth.shape) < 0.5)
    labels = np.where(wrong, 1 - truth, truth).astype(np.uint8)
    margin = np.where(unsure, 0.2, 3.0) * np.where(labels == 1, 1, -1)
    logits = np.stack([-margin, margin], axis=1).astype(np.float32)
    entropy = np.where(unsure, 0.67, 0.02).astype(np.float32)
    return GlobalPrediction(labels, logits, entropy), truth


def test_learns_where_the_global_model_errs() -> None:
    known, truth = guesses()
    network = hcl_idk.fit(known, truth, SETTINGS, Run(seed=1))
    unseen, unseen_truth = guesses(seed=9)
    partition = hcl_idk.predict(network, unseen, SETTINGS)
    wrong = unseen.labels != unseen_truth
    assert partition.idk[wrong].mean() > 0.95
    assert partition.idk.mean() < 0.3
    np.testing.assert_array_equal(partition.idk, partition.score >= 0.5)


def test_training_pixels_are_balanced_and_ignored_ones_left_out() -> None:
    known, truth = guesses()
    truth[:, :10] = IGNORE_INDEX
    pixels, wrong = hcl_idk._balanced(known.labels, truth, 0, seed=0)
    assert wrong.mean() == 0.5
    assert len(np.unique(pixels)) == len(pixels)
    assert (truth.ravel()[pixels] != IGNORE_INDEX).all()
    np.testing.assert_array_equal((known.labels != truth).ravel()[pixels], wrong)
    few, _ = hcl_idk._balanced(known.labels, truth, 10, seed=0)
    assert len(few) == 4 * 10


def test_where_nothing_is_wrong_nothing_is_idk() -> None:
    known, _ = guesses()
    network = hcl_idk.fit(known, known.labels, SETTINGS, Run())
    assert not hcl_idk.predict(network, known, SETTINGS).idk.any()


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.99])
def test_tuned_threshold_finds_the_share_asked_for(recall: float) -> None:
    rng = np.random.default_rng(0)
    score = rng.random(10_000).astype(np.float32)
    wrong = rng.random(10_000) < score
    threshold = hcl_idk.tuned_threshold(score, wrong, recall)
    found = (score[wrong] >= threshold).mean()
    assert recall <= found < recall + 0.01
