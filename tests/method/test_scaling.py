"""Scaling of probabilities: known temperatures are found, and reliability is won."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from matphase.images.phases import IGNORE_INDEX
from matphase.method import scaling
from matphase.method.scaling import WEIGHTS, Scaling
from matphase.scores.metrics.calibration import expected_calibration_error
from matphase.support.errors import InputError


def drawn(
    seed: int, weights: object, biases: object = 0, side: int = 160
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """What a model says (2, 3, side, side), and labels that it is scaled right for by w and b."""
    rng = np.random.default_rng(seed)
    said = softmax(rng.normal(0, 2, (2, 3, side, side)), axis=1).astype(np.float32)
    weights, biases = (np.broadcast_to(part, 3)[:, None, None] for part in (weights, biases))
    # the highest of scores with Gumbel noise is phase k with the probability softmax(scores)_k
    scores = np.log(said) * weights + biases + rng.gumbel(size=said.shape)
    return said, scores.argmax(axis=1).astype(np.uint8)


# --- it finds what it must ------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_is_found(temperature: float) -> None:
    found = scaling.fit(*drawn(0, 1 / temperature), "temperature", seed=0)
    assert found.weights == pytest.approx([1 / temperature] * 3, rel=0.03)
    assert found.biases == (0, 0, 0)


def test_a_vector_finds_a_weight_and_a_bias_of_each_phase() -> None:
    weights, biases = (0.8, 0.5, 0.3), (0.7, -0.3, -0.4)
    found = scaling.fit(*drawn(0, weights, biases), "vector", seed=0)
    assert found.weights == pytest.approx(weights, abs=0.03)
    assert found.biases == pytest.approx(biases, abs=0.05)


@pytest.mark.parametrize("kind", ["temperature", "vector"])
def test_reliability_is_won_on_slices_that_were_not_seen(kind: scaling.Kind) -> None:
    found = scaling.fit(*drawn(1, 0.4), kind, seed=0)
    said, truth = drawn(2, 0.4)
    before = expected_calibration_error(said, truth)
    after = expected_calibration_error(found.apply(said), truth)
    assert before > 0.1
    assert after < 0.01


def test_only_a_vector_mends_a_model_that_favours_a_phase() -> None:
    biases = (-2, 0, 1)
    (said, labels), (unseen, truth) = drawn(3, 1, biases), drawn(4, 1, biases)
    after = {}
    for kind in ("temperature", "vector"):
        found = scaling.fit(said, labels, kind, seed=0)
        answer, scaled = found.answer(unseen.argmax(axis=1).astype(np.uint8), unseen)
        after[kind] = expected_calibration_error(scaled, truth), np.mean(answer == truth)
    assert after["vector"][0] < 0.01
    assert after["vector"][0] < after["temperature"][0]
    assert after["vector"][1] > after["temperature"][1], "it may change the answer, for the better"


# --- what stays -----------------------------------------------------------------------------------


def test_a_temperature_changes_no_answer_however_close() -> None:
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(0, 1e-7, (1, 3, 80, 80)), axis=1).astype(np.float32)
    labels = probabilities.argmax(axis=1).astype(np.uint8)
    for weight in WEIGHTS:
        answer, scaled = Scaling("temperature", (weight,) * 3, (0.0,) * 3).answer(
            labels, probabilities
        )
        np.testing.assert_array_equal(answer, labels)
        np.testing.assert_allclose(scaled.max(axis=1), 1 / 3, atol=1e-4)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_certain_probabilities_stay_finite_and_sum_to_one(weight: float) -> None:
    certain = np.moveaxis(np.eye(3, dtype=np.float32)[np.zeros((1, 4, 4), int)], -1, 1)
    scaled = Scaling("vector", (weight,) * 3, (10.0, 0.0, -10.0)).apply(certain)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["temperature", "vector"])
def test_slices_without_an_error_give_finite_numbers(kind: scaling.Kind) -> None:
    said, _ = drawn(0, 1, side=40)
    found = scaling.fit(said, said.argmax(axis=1).astype(np.uint8), kind, seed=0)
    assert all(WEIGHTS[0] <= weight <= WEIGHTS[1] for weight in found.weights)
    assert np.isfinite(found.apply(said)).all()


def test_pixels_without_a_known_phase_do_not_count() -> None:
    said, labels = drawn(5, 0.5)
    spoiled = labels.copy()
    said[:, :, :80], spoiled[:, :80] = 1 / 3, IGNORE_INDEX
    ignoring = scaling.fit(said, spoiled, "temperature", seed=0)
    alone = scaling.fit(said[:, :, 80:], labels[:, 80:], "temperature", seed=0)
    assert ignoring == alone


def test_of_many_pixels_a_share_drawn_by_the_seed_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said, labels = drawn(6, 0.5, side=60)
    monkeypatch.setattr(scaling, "PIXELS", labels.size // 2)
    found = [scaling.fit(said, labels, "temperature", seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found[2].weights == pytest.approx([0.5] * 3, rel=0.1)


def test_labels_that_name_nothing_are_refused() -> None:
    said, labels = drawn(8, 1, side=8)
    with pytest.raises(InputError, match="every pixel of the labels is ignored"):
        scaling.fit(said, np.full_like(labels, IGNORE_INDEX), "vector", seed=0)


# --- on disk --------------------------------------------------------------------------------------


def test_it_comes_back() -> None:
    one = Scaling("vector", (1.0, 2.0, 0.5), (0.25, 0.0, -0.25))
    assert Scaling.from_json(one.to_json(), 3) == one


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"kind": "vector"},
        {"kind": "matrix", "weights": [1, 1, 1], "biases": [0, 0, 0]},
        {"kind": "vector", "weights": [1, 1], "biases": [0, 0]},
        {"kind": "vector", "weights": [1, 1, float("nan")], "biases": [0, 0, 0]},
        {"kind": "vector", "weights": [1, 1, "x"], "biases": [0, 0, 0]},
    ],
)
def test_what_is_no_scaling_is_refused(content: object) -> None:
    with pytest.raises(InputError, match="the scaling of the probabilities is"):
        Scaling.from_json(content, 3)
