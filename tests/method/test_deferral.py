import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.method import deferral, hcl_idk
from matphase.method.aggregate import aggregate
from matphase.method.results import GlobalPrediction, GlobalStack, LocalPrediction, Partition
from matphase.networks.idk import IDKClassifier
from matphase.settings import IDKSettings

SETTINGS = IDKSettings(epochs=12, batch_size=256, learning_rate=5e-3, target="gain")
Case = tuple[GlobalPrediction, Partition, LocalPrediction, np.ndarray]


def sure(labels: np.ndarray, how: np.ndarray) -> np.ndarray:
    """Two-phase probabilities (..., 2) of answers given with probability `how`."""
    second = np.where(labels == 1, how, 1 - how)
    return np.stack([1 - second, second], axis=-1).astype(np.float32)


def rivals(local_right: float, *, told: bool, seed: int = 0) -> Case:
    """Both are asked in half of the pixels and contradict each other there, one of them right.

    Args:
        local_right: in which share of these pixels LCGAR is.
        told: LCGAR is surer where it is right; else nothing tells.
        seed: of it all.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (4, 40, 40)).astype(np.uint8)
    better = rng.random(truth.shape) < local_right
    globally = np.where(better, 1 - truth, truth).astype(np.uint8)
    logits = np.moveaxis(np.log(sure(globally, np.full(truth.shape, 0.6))), -1, 1)
    known = GlobalPrediction(globally, logits, np.full(truth.shape, 0.67, np.float32))
    idk = rng.random(truth.shape) < 0.5
    answers = (1 - globally)[idk]
    how = np.where(better[idk], 0.9, 0.7) if told else np.full(answers.shape, 0.8)
    local = LocalPrediction(answers, sure(answers, how))
    return known, Partition(idk, idk.astype(np.float32)), local, truth


def by_slice(case: Case) -> list[tuple[GlobalPrediction, Partition, LocalPrediction, np.ndarray]]:
    """The same, each slice by itself."""
    known, asked, local, truth = case
    numbers = np.nonzero(asked.idk)[0]
    parts = []
    for number in range(len(truth)):
        one, here = slice(number, number + 1), numbers == number
        parts.append(
            (
                GlobalPrediction(known.labels[one], known.logits[one], known.entropy[one]),
                Partition(asked.idk[one], asked.score[one]),
                LocalPrediction(local.labels[here], local.probabilities[here]),
                truth[number],
            )
        )
    return parts


def fitted(case: Case, settings: IDKSettings = SETTINGS, seed: int = 0) -> IDKClassifier:
    known, *_, truth = case
    answers = [(asked, local) for _, asked, local, _ in by_slice(case)]
    return deferral.fit(GlobalStack.of(known), answers, truth, settings, Run(seed=seed))


def accuracy(case: Case, network: object) -> float:
    known, asked, local, truth = case
    weight = deferral.weights(network, known, asked, local, "replace")
    return float(np.mean(aggregate(known, asked, local, weight)[0][asked.idk] == truth[asked.idk]))


def test_learns_where_the_local_network_is_the_better_one() -> None:
    network = fitted(rivals(0.4, told=True), seed=1)
    unseen = rivals(0.4, told=True, seed=9)
    assert accuracy(unseen, None) == pytest.approx(0.4, abs=0.03), "LCGAR wherever it is asked"
    assert accuracy(unseen, network) > 0.95


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_where_nothing_tells_it_takes_whoever_is_right_more_often(share: float) -> None:
    """Learned from balanced pixels the score would be 1/2 either way."""
    case = rivals(share, told=False)
    network = fitted(case)
    np.testing.assert_allclose(deferral.predict(network, *case[:3]), share, atol=0.06)
    assert accuracy(case, network) == pytest.approx(max(share, 1 - share), abs=0.03)


def test_learns_only_where_exactly_one_is_right() -> None:
    truth = np.array([[[0, 1, 2, 0, 1, IGNORE_INDEX]]], np.uint8)
    globally = np.array([[[0, 0, 0, 1, 1, 0]]], np.uint8)
    answers = np.array([1, 1, 1, 1, 0], np.uint8)  # at all but the fifth, where UGSM is right
    idk = np.array([[[True, True, True, True, False, True]]])
    known = GlobalPrediction(
        globally, np.zeros((1, 3, 1, 6), np.float32), np.zeros((1, 1, 6), np.float32)
    )
    local = LocalPrediction(answers, np.full((5, 3), 1 / 3, np.float32))
    asked = Partition(idk, idk.astype(np.float32))
    chosen, right = deferral._decisive_pixels(known, asked, local, truth[0])
    np.testing.assert_array_equal(chosen, [0, 1])  # the third and fourth: both wrong
    np.testing.assert_array_equal(right, [False, True])


def test_takes_at_most_so_many_pixels_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of each image, each with the features and the answer of its own."""
    case = rivals(0.5, told=True)
    known, asked, local, truth = case
    numbers = np.arange(truth.size, dtype=np.float32).reshape(truth.shape)
    known = GlobalPrediction(known.labels, known.logits, numbers)
    given = []
    monkeypatch.setattr(
        hcl_idk,
        "train_on_pixels",
        lambda _, values, right, *_a, **_k: given.append((values, right)),
    )
    fitted((known, asked, local, truth), SETTINGS.model_copy(update={"pixels_per_image": 10}))
    ((values, right),) = given
    place = values[:, 2].astype(int)
    assert np.bincount(place // 1600).tolist() == [10] * 4
    assert len(np.unique(place)) == 40
    assert asked.idk.ravel()[place].all()
    # where both contradict each other and one is right, it is LCGAR where UGSM is wrong
    np.testing.assert_array_equal(right, (known.labels != truth).ravel()[place])
    answers = np.zeros(truth.size)
    answers[np.flatnonzero(asked.idk)] = local.probabilities[:, 0]
    np.testing.assert_allclose(np.exp(values[:, 3]), answers[place], rtol=1e-5)


def test_features_belong_to_the_pixels_asked_for() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    entropy = rng.random((2, 5, 4)).astype(np.float32)
    idk = rng.random(entropy.shape) < 0.5
    said = rng.dirichlet(np.ones(3), int(idk.sum())).astype(np.float32)
    known = GlobalPrediction(logits.argmax(1).astype(np.uint8), logits, entropy)
    chosen = np.arange(1, len(said), 2)
    found = deferral.features(known, np.flatnonzero(idk)[chosen], said[chosen])
    assert found.dtype == np.float32
    assert found.shape == (len(chosen), 8)
    for row, number in zip(found, chosen, strict=True):
        z, y, x = (part[number] for part in np.nonzero(idk))
        np.testing.assert_array_equal(row[:3], logits[z, :, y, x])
        assert row[3] == entropy[z, y, x]
        np.testing.assert_allclose(row[4:7], np.log(said[number]), rtol=1e-6)
        assert row[7] == pytest.approx(-np.sum(said[number] * np.log(said[number])), rel=1e-5)


def test_where_both_agree_there_is_nothing_to_learn_and_nothing_changes() -> None:
    known, asked, _, truth = rivals(0.5, told=True)
    same = known.labels[asked.idk]
    local = LocalPrediction(same, sure(same, np.full(same.shape, 0.9)))
    network = fitted((known, asked, local, truth))
    weight = deferral.weights(network, known, asked, local, "replace")
    assert weight is not None
    assert not weight.any()


def test_the_score_decides_or_weighs() -> None:
    known, asked, local, truth = rivals(0.5, told=True)
    network = fitted((known, asked, local, truth))
    score = deferral.predict(network, known, asked, local)
    assert score.min() < 0.5 < score.max()
    soft = deferral.weights(network, known, asked, local, "soft")
    np.testing.assert_array_equal(soft, score)
    hard = deferral.weights(network, known, asked, local, "replace")
    np.testing.assert_array_equal(hard, score >= 0.5)
    assert deferral.weights(None, known, asked, local, "replace") is None
    unsure = Partition(
        asked.idk, np.linspace(0, 1, asked.idk.size, dtype=np.float32).reshape(asked.idk.shape)
    )
    soft = deferral.weights(None, known, unsure, local, "soft")
    np.testing.assert_array_equal(soft, unsure.score[asked.idk])


def test_a_disabled_classifier_never_takes_the_local_answer() -> None:
    case = rivals(1.0, told=True)
    network = deferral.build(2, SETTINGS)
    hcl_idk.disable(network)
    assert accuracy(case, network) == 0


def test_a_score_does_not_depend_on_the_pass_it_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    case = rivals(0.5, told=True)
    network = deferral.build(2, SETTINGS).eval()
    whole = deferral.predict(network, *case[:3])
    monkeypatch.setattr(hcl_idk, "PIXELS_PER_PASS", 1000)
    assert len(whole) % 1000
    np.testing.assert_allclose(deferral.predict(network, *case[:3]), whole, atol=1e-6)
    assert len(np.unique(whole)) > 1
