"""Classical features as a segmenter: what it learns from, and that it behaves as the others do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from stages import pool_of

import matphase as mp
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.method import classical
from matphase.method.passes import Passes
from matphase.method.pool_predictions import predict_pool
from matphase.networks.linear import Linear
from matphase.networks.pixel_classifier import PixelClassifier
from matphase.settings import ClassicalSettings, Settings
from matphase.support.errors import InputError
from matphase.support.progress import Silent
from samples import Sample, striped

NAMES = ["pore", "carbon", "nickel"]
KINDS = {
    "forest": {"classifier": "forest", "trees": 12, "depth": 8},
    "linear": {"classifier": "linear"},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def settings_of(kind: str, base: Settings, **others: object) -> Settings:
    return base.updated({"model": "classical", "classical": KINDS[kind], **others})


def score(model: mp.MatPhase, made: Sample) -> float:
    return float(np.mean(model.predict(made.images).labels == made.labels))


@kinds
@pytest.mark.parametrize("scale", ["volume", "slice", "both"])
def test_it_learns(kind: str, scale: str, sample: Sample, tiny_settings: Settings) -> None:
    settings = settings_of(kind, tiny_settings, data={"scale": scale})
    model = mp.MatPhase(settings=settings).fit(sample.images, sample.labels, NAMES)
    unseen = striped(2, 48, 56, seed=5)
    assert score(model, unseen) > 0.93
    result = model.predict(unseen.images, mutual_information=True)
    np.testing.assert_allclose(result.probabilities.sum(axis=0), 1, atol=1e-4)
    right = result.labels == unseen.labels
    assert result.entropy[~right].mean() > 2 * result.entropy[right].mean()
    assert not result.mutual_information.any()
    with pytest.raises(InputError, match="has no samples to keep"):
        model.predict(unseen.images, keep_samples=True)


@kinds
def test_a_few_strokes_are_enough(kind: str, sample: Sample, tiny_settings: Settings) -> None:
    """A dozen pixels of two phases, and two of the third."""
    rng = np.random.default_rng(0)
    strokes = np.full_like(sample.labels, IGNORE_INDEX)
    for phase, pixels in enumerate((12, 2, 12)):
        where = rng.choice(np.flatnonzero(sample.labels[0] == phase), pixels, replace=False)
        strokes[0].flat[where] = phase
    phases = {**dict(zip(NAMES, range(3), strict=True)), "ignore": IGNORE_INDEX}
    model = mp.MatPhase(settings=settings_of(kind, tiny_settings))
    model.fit(sample.images, strokes, phases)
    assert score(model, sample) > 0.6


@kinds
def test_what_is_outside_of_the_sample_is_not_predicted(
    kind: str, sample: Sample, tiny_settings: Settings
) -> None:
    images = sample.images.copy()
    images[:, :, :9] = np.nan
    model = mp.MatPhase(settings=settings_of(kind, tiny_settings))
    model.fit(images, sample.labels, NAMES)
    result = model.predict(images)
    inside = ~np.isnan(images)
    assert (result.labels[~inside] == result.phases.ignored[0]).all()
    assert np.mean((result.labels == sample.labels)[inside]) > 0.93


@kinds
def test_a_model_depends_on_its_seed_and_not_on_threads(kind: str, tiny_settings: Settings) -> None:
    made = striped(2, 48, 56)
    settings = settings_of(kind, tiny_settings).updated({"classical": {"pixels": 900}})

    def weights(seed: int, threads: int) -> list[NDArray[np.float32]]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            found = classical.train(pool_of(made.images, made.labels), settings, Run(seed))
        finally:
            torch.set_num_threads(before)
        return [array.numpy() for array in found.network.state_dict().values()]

    one, again, other = weights(0, 1), weights(0, 2), weights(1, 1)
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(not np.array_equal(*pair) for pair in zip(one, other, strict=True))


@kinds
@pytest.mark.parametrize("slices", [1, 3])
def test_tiles_give_what_the_whole_slice_gives(
    kind: str, slices: int, tiny_settings: Settings
) -> None:
    made = striped(slices, 204, 211)
    pool = pool_of(made.images[np.newaxis] / 100, made.labels[slices // 2 : slices // 2 + 1])
    settings = settings_of(kind, tiny_settings, ugsm={"slices": slices})
    segmenter = classical.train(pool, settings, Run())
    whole = predict_pool(segmenter, pool)
    little = segmenter.pass_bytes(110, 110) + 110 * 110 * 80
    assert little < segmenter.pass_bytes(204, 211)
    parts = predict_pool(segmenter, pool, Passes(memory=little))
    np.testing.assert_allclose(parts.logits[0], whole.logits[0], atol=1e-5)
    with pytest.raises(InputError, match="but the memory limit is"):
        segmenter.predict(pool.images, Passes(memory=1000))


def test_the_linear_classifier_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(800, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, 0]).astype(np.float32)
    values[:, 3] = 7  # a feature without any information
    for n_phases in (2, 3):
        labels = np.digitize(values[:, 0] + values[:, 1] / 10 + rng.normal(0, 1, 800), [0, 1.2])
        labels = np.minimum(labels, n_phases - 1).astype(np.uint8)
        settings = ClassicalSettings(classifier="linear", balance=0)
        network = classical.fit(values, labels, n_phases, settings, 0)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / classical.PENALTY))
        with torch.inference_mode():
            found = network(torch.from_numpy(values.T.copy())).exp().T.numpy()
        expected = model.fit(values, labels).predict_proba(values)
        np.testing.assert_allclose(found, expected, atol=1e-3)


@kinds
def test_a_phase_without_a_pixel_gets_no_probability(kind: str) -> None:
    """Strokes may lack a phase; the classifier then knows of the others only."""
    values = np.linspace(-1, 1, 60, dtype=np.float32)[:, np.newaxis]
    labels = np.where(values[:, 0] > 0, 3, 1).astype(np.uint8)
    network = classical.fit(values, labels, 4, ClassicalSettings(**KINDS[kind]), 0)
    with torch.inference_mode():
        found = network(torch.from_numpy(values.T.copy())).exp().numpy()
    assert np.mean(found.argmax(axis=0) == labels) > 0.95
    assert found[[0, 2]].max() < 1e-4


@kinds
def test_balance_decides_how_often_rare_phases_are_found(kind: str) -> None:
    """Of pixels that look alike, one in ten is of the rare phase: it wins where all count alike."""
    values = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32)
    labels = (np.arange(4000) % 10 == 0).astype(np.uint8)

    def found(balance: float, fractions: list[float] | None = None) -> float:
        settings = ClassicalSettings(**KINDS[kind], balance=balance)
        known = None if fractions is None else np.array(fractions)
        network = classical.fit(values, labels, 2, settings, 0, fractions=known)
        with torch.inference_mode():
            return float(network(torch.from_numpy(values.T.copy()))[1].exp().mean())

    assert found(0) == pytest.approx(0.1, abs=0.02)
    assert found(0.5) == pytest.approx(0.25, abs=0.03)
    assert found(1) == pytest.approx(0.5, abs=0.03)
    # a sample in which the rare phase is more frequent than among all known pixels
    assert found(0, [0.98, 0.02]) == pytest.approx(0.02, abs=0.01)


@pytest.mark.parametrize("balance", [0, 0.5, 1])
def test_sampled_pixels_are_known_ones_with_their_features(balance: float) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 2, 90, 70)).astype(np.float32)
    labels = rng.choice(3, (3, 90, 70), p=[0.8, 0.195, 0.005]).astype(np.uint8)
    labels[1, :40] = IGNORE_INDEX
    labels[2] = IGNORE_INDEX
    pool = pool_of(images, labels)
    settings = Settings.from_mapping(
        {
            "model": "classical",
            "data": {"scale": "both"},
            "classical": {"pixels": 1500, "balance": balance},
        }
    )
    network = classical.untrained(3, settings).network
    values, found = classical.sample(network, pool, settings.classical, 7, Silent())
    counts = np.bincount(found, minlength=3)
    known = pool.counts()
    assert known[2] < classical.MIN_PIXELS_OF_PHASE
    shares = (known / known.sum()) ** (1 - balance)
    np.testing.assert_allclose(counts[:2], 1500 * shares[:2] / shares.sum(), atol=1)
    assert counts[2] == known[2]
    # the grey values, which are the first feature of each channel, tell one pixel from another
    with torch.inference_mode():
        maps = network.bank(torch.from_numpy(images))
    every = maps.permute(0, 2, 3, 1).flatten(0, 2).numpy()
    grey = [0, network.bank.count]
    places = {tuple(pair): number for number, pair in enumerate(every[:, grey].tolist())}
    chosen = [places[tuple(pair)] for pair in values[:, grey].tolist()]
    assert len(set(chosen)) == len(found)
    np.testing.assert_array_equal(found, labels.ravel()[chosen])
    np.testing.assert_array_equal(values, every[chosen])


def test_neighbours_are_seen_as_their_mean() -> None:
    """Of three slices at two grey scales, the middle one and the mean of all, at each scale."""
    settings = Settings.from_mapping(
        {"model": "classical", "data": {"scale": "both"}, "ugsm": {"slices": 3}}
    )
    network = classical.untrained(3, settings).network
    image = torch.rand(6, 40, 36)
    with torch.inference_mode():
        values = torch.cat([part for _, part in network.strips(image)], 1)
        planes = [image[2], image[3], image[0::2].mean(0), image[1::2].mean(0)]
        expected = [network.bank(plane[None, None])[0].flatten(1) for plane in planes]
    assert network.features == len(values)
    torch.testing.assert_close(values, torch.cat(expected))


def test_the_first_network_is_kept_for_an_interrupted_training(
    sample: Sample, tiny_settings: Settings, tmp_path: Path
) -> None:
    pool = pool_of(sample.images / 100, sample.labels)
    settings = settings_of("forest", tiny_settings)
    first = classical.train(pool, settings, Run(folder=tmp_path), name="ugsm_fold1")
    assert (tmp_path / "classical_fold1.safetensors").exists()
    again = classical.train(pool, settings, Run(seed=9, folder=tmp_path), name="ugsm_fold1")
    for key, array in first.network.state_dict().items():
        assert torch.equal(array, again.network.state_dict()[key])


def test_alignment_and_folds_work_with_it(sample: Sample, tiny_settings: Settings) -> None:
    settings = settings_of("forest", tiny_settings).updated(
        {"model": "classical_lcgar", "align": {"after": 0.5}, "idk": {"folds": 2}}
    )
    model = mp.MatPhase(settings=settings).fit(sample.images, sample.labels, NAMES)
    assert set(model._model.networks) == {"classical", "idk", "lcgar"}
    assert model._model.record["alignment"]["labels_changed"] < 0.2
    assert score(model, striped(1, 48, 56, seed=5)) > 0.8


def test_the_network_is_small_on_disk() -> None:
    settings = Settings.from_mapping({"model": "classical"})
    network = classical.untrained(3, settings).network
    assert isinstance(network, PixelClassifier)
    size = sum(array.numel() * array.element_size() for array in network.state_dict().values())
    assert size < 10**7
    linear = settings.updated({"classical": {"classifier": "linear"}})
    assert isinstance(classical.untrained(3, linear).network.classifier, Linear)
