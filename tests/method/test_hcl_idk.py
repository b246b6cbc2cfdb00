from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.method import hcl_idk
from matphase.method.results import GlobalPrediction, GlobalStack
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
    network = hcl_idk.fit(GlobalStack.of(known), truth, SETTINGS, Run(seed=1))
    unseen, unseen_truth = guesses(seed=9)
    partition = hcl_idk.predict(network, unseen, SETTINGS)
    wrong = unseen.labels != unseen_truth
    assert partition.idk[wrong].mean() > 0.95
    assert partition.idk.mean() < 0.3
    np.testing.assert_array_equal(partition.idk, partition.score >= 0.5)


def numbered(n: int = 4) -> tuple[GlobalPrediction, np.ndarray]:
    """`guesses`, their entropy the flat number of each pixel, so that it is known when drawn."""
    known, truth = guesses(n)
    numbers = np.arange(truth.size, dtype=np.float32).reshape(truth.shape)
    return replace(known, entropy=numbers), truth


def test_training_pixels_are_balanced_and_ignored_ones_left_out() -> None:
    known, truth = numbered()
    truth[:, :10] = IGNORE_INDEX
    values, wrong = hcl_idk._balanced_pixels(GlobalStack.of(known), truth, 0, seed=0)
    assert wrong.mean() == 0.5
    pixels = values[:, -1].astype(int)
    assert len(np.unique(pixels)) == len(pixels)
    assert (truth.ravel()[pixels] != IGNORE_INDEX).all()
    np.testing.assert_array_equal((known.labels != truth).ravel()[pixels], wrong)
    np.testing.assert_array_equal(values, hcl_idk.features(known)[pixels])
    few, _ = hcl_idk._balanced_pixels(GlobalStack.of(known), truth, 10, seed=0)
    assert len(few) == 4 * 10
    assert np.bincount(few[:, -1].astype(int) // 1600).tolist() == [10] * 4


def test_pixels_are_drawn_from_the_whole_image_by_the_seed() -> None:
    known, truth = numbered(1)
    drawn = [
        hcl_idk._balanced_pixels(GlobalStack.of(known), truth, 100, seed)[0][:, -1].astype(int)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert set(drawn[0]) != set(drawn[2])
    assert 0.4 < np.mean(drawn[0]) / 1600 < 0.6


def test_splits_of_many_slices_are_those_of_each(tmp_path: Path) -> None:
    known, _ = guesses()
    network = hcl_idk.build(2, SETTINGS).eval()
    whole = hcl_idk.predict(network, known, SETTINGS)
    found = hcl_idk.partition_of(network, GlobalStack.of(known), SETTINGS, tmp_path)
    assert len(found) == 4
    for number, part in enumerate(found):
        np.testing.assert_allclose(part.score[0], whole.score[number], atol=1e-6)
        np.testing.assert_array_equal(part.idk, part.score >= SETTINGS.threshold)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_is_wrong_nothing_is_idk() -> None:
    known, _ = guesses()
    network = hcl_idk.fit(GlobalStack.of(known), known.labels, SETTINGS, Run())
    assert not hcl_idk.predict(network, known, SETTINGS).idk.any()


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.99])
def test_tuned_threshold_finds_the_share_asked_for(recall: float) -> None:
    rng = np.random.default_rng(0)
    score = rng.random(10_000).astype(np.float32)
    wrong = rng.random(10_000) < score
    threshold = hcl_idk.tuned_threshold(score[wrong], recall)
    found = (score[wrong] >= threshold).mean()
    assert recall <= found < recall + 0.01


def test_a_threshold_is_at_least_a_hundredth_and_a_half_where_nothing_is_wrong() -> None:
    assert hcl_idk.tuned_threshold(np.full(9, 1e-4, np.float32), 0.9) == 0.01
    assert hcl_idk.tuned_threshold(np.empty(0, np.float32), 0.9) == 0.5
