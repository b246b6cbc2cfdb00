"""Deferral to LCGAR where it is the one that is right, through `MatPhase`."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import Killed, Killer
from stages import local_pool, pool_of

import matphase as mp
from matphase.learning import loop as training
from matphase.learning.run import Run
from matphase.method import deferral, hcl, hcl_idk, local
from matphase.method.fit import fold_numbers
from matphase.method.results import GlobalPrediction, Partition
from matphase.settings import Settings
from matphase.support.errors import InputError
from samples import Sample, striped

NAMES = ["pore", "carbon", "nickel"]
GAIN = {
    "ugsm": {"epochs": 12},
    "idk": {"target": "gain", "folds": 2, "threshold": 0.3, "epochs": 2, "batch_size": 128},
    "lcgar": {"h": 7},
}


@pytest.fixture(scope="module")
def gaining(tiny_settings: Settings) -> Settings:
    return tiny_settings.updated(GAIN)


@pytest.fixture(scope="module")
def fitted(sample: Sample, gaining: Settings) -> mp.MatPhase:
    """A model with a deferral classifier; do not change it."""
    return mp.MatPhase(settings=gaining, seed=3).fit(sample.images[:4], sample.labels[:4], NAMES)


@pytest.fixture(scope="module")
def chooser(fitted: mp.MatPhase, sample: Sample) -> mp.MatPhase:
    """The same, its scores moved so that half of the IDK pixels go to either network."""
    model = fitted._model
    refiner = refiner_of(fitted)
    images = np.stack([model.scale.apply(image)[None] for image in sample.images[:2]])
    known = model.segmenter.predict(images)
    asked = hcl_idk.predict(refiner.idk, known, model.settings.idk)
    _, said = local.predict(refiner.local, images, known, asked, model.settings)
    assert refiner.deferral is not None
    middle = np.median(deferral.predict(refiner.deferral, known, asked, said))
    moved = copy.deepcopy(refiner.deferral)
    with torch.no_grad():
        moved.layers[-1].bias -= float(np.log(middle / (1 - middle)))
    other = mp.MatPhase(settings=fitted.settings, seed=fitted.seed)
    other._trained = replace(model, refiner=replace(refiner, deferral=moved))
    return other


@pytest.fixture(scope="module")
def plain(chooser: mp.MatPhase) -> mp.MatPhase:
    """The same networks without it."""
    return changed(chooser, {"idk": {"target": "wrong"}})


def refiner_of(model: mp.MatPhase) -> hcl.HCL:
    refiner = model._model.refiner
    assert isinstance(refiner, hcl.HCL)
    return refiner


def changed(model: mp.MatPhase, values: dict[str, object]) -> mp.MatPhase:
    """The same networks with other settings at prediction."""
    settings = model._model.settings.updated(values)
    other = mp.MatPhase(settings=settings, seed=model.seed)
    refiner = refiner_of(model)
    kept = refiner.deferral if settings.idk.target == "gain" else None
    other._trained = replace(
        model._model,
        settings=settings,
        refiner=replace(refiner, settings=settings, deferral=kept),
    )
    return other


def test_one_or_the_other_answers_and_it_is_known_who(
    chooser: mp.MatPhase, plain: mp.MatPhase, sample: Sample
) -> None:
    result, everywhere = (each.predict(sample.images[:2]) for each in (chooser, plain))
    assert everywhere.deferred is None
    assert result.deferred is not None
    np.testing.assert_array_equal(result.idk, everywhere.idk)
    here, kept = result.deferred, ~result.deferred
    assert here[result.idk].mean() == pytest.approx(0.5, abs=0.1)
    assert not (here & ~result.idk).any()
    np.testing.assert_array_equal(result.labels[here], everywhere.labels[here])
    np.testing.assert_array_equal(result.labels[kept], result.global_labels[kept])
    np.testing.assert_array_equal(
        result.probabilities[:, kept], result.global_probabilities[:, kept]
    )
    assert (result.labels != everywhere.labels).any(), "else the classifier decides nothing"


@pytest.mark.parametrize("target", ["wrong", "gain"])
def test_soft_fusion_lies_between_both(
    chooser: mp.MatPhase, plain: mp.MatPhase, sample: Sample, target: str
) -> None:
    local = plain.predict(sample.images[:2]).probabilities
    soft = changed(chooser, {"aggregator": {"fusion": "soft"}, "idk": {"target": target}})
    result = soft.predict(sample.images[:2])
    globally, idk = result.global_probabilities, result.idk
    low, high = np.minimum(local, globally) - 1e-6, np.maximum(local, globally) + 1e-6
    assert ((low <= result.probabilities) & (result.probabilities <= high)).all()
    assert np.abs(result.probabilities - local)[:, idk].max() > 1e-3
    assert np.abs(result.probabilities - globally)[:, idk].max() > 1e-3
    np.testing.assert_array_equal(result.probabilities[:, ~idk], globally[:, ~idk])
    np.testing.assert_array_equal(result.labels, result.probabilities.argmax(axis=0))
    if target == "wrong":
        weight = result.idk_score[idk]
        expected = weight * local[:, idk] + (1 - weight) * globally[:, idk]
        np.testing.assert_allclose(result.probabilities[:, idk], expected, atol=1e-6)


@pytest.mark.parametrize("fusion", ["replace", "soft"])
def test_a_saved_model_chooses_the_same(
    chooser: mp.MatPhase, sample: Sample, tmp_path: Path, fusion: str
) -> None:
    model = changed(chooser, {"aggregator": {"fusion": fusion}})
    model.save(tmp_path / "model")
    assert (tmp_path / "model" / "deferral.safetensors").exists()
    before, after = (
        each.predict(sample.images[:2], samples=4, keep_samples=True)
        for each in (model, mp.load(tmp_path / "model"))
    )
    for name in ("labels", "probabilities", "deferred", "samples"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_samples_of_ugsm_where_it_answers(
    chooser: mp.MatPhase, plain: mp.MatPhase, sample: Sample
) -> None:
    """A pixel that UGSM keeps has UGSM's samples, whatever LCGAR says there."""
    alone = changed(plain, {"idk": {"threshold": 1.0}})  # no pixel is IDK
    drawn, globally, everywhere = (
        each.predict(sample.images[:2], samples=4, keep_samples=True)
        for each in (chooser, alone, plain)
    )
    assert not globally.idk.any()
    assert drawn.samples is not None
    assert globally.samples is not None
    assert everywhere.samples is not None
    here, kept = drawn.deferred, ~drawn.deferred
    np.testing.assert_array_equal(drawn.samples[:, kept], globally.samples[:, kept])
    np.testing.assert_array_equal(drawn.samples[:, here], everywhere.samples[:, here])
    assert (everywhere.samples != drawn.samples).any()


def test_refitting_the_local_network_learns_anew_when_to_ask_it(
    fitted: mp.MatPhase, sample: Sample, tmp_path: Path
) -> None:
    smaller = fitted.settings.lcgar.model_copy(update={"h": 5})
    other = fitted.refit_local(
        sample.images[:4], sample.labels[:4], lcgar_settings=smaller, folder=tmp_path / "run"
    )
    assert (tmp_path / "run" / "lcgar_fold2.safetensors").exists()
    first, second = (refiner_of(each).deferral for each in (fitted, other))
    assert first is not None
    assert second is not None
    one, two = (each.layers[0].weight.detach().numpy() for each in (first, second))
    assert not np.array_equal(one, two)
    assert other.predict(sample.images[:2]).deferred is not None


def test_the_mask_of_who_answered_is_written(
    chooser: mp.MatPhase, sample: Sample, tmp_path: Path
) -> None:
    result = chooser.predict(sample.images[:2])
    assert result.deferred is not None
    out = tmp_path / "out.tif"
    stored = chooser.predict(sample.images[:2], out=out)
    np.testing.assert_array_equal(stored.deferred, result.deferred)
    written = mp.open(tmp_path / "out_deferred.tif").to_array()
    np.testing.assert_array_equal(written != 0, result.deferred)
    record = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert record["deferred_share"] == pytest.approx(result.deferred.mean())


# --- out of fold ----------------------------------------------------------------------------------


def test_folds_are_blocks_that_keep_copies_together() -> None:
    source = np.repeat(np.arange(5), 3)
    pool = pool_of(np.zeros((15, 4, 4), np.float32), np.zeros((15, 4, 4), np.uint8))
    pool = replace(pool, source=source)
    chosen = pool.take(np.array([0, 2, 7, 9, 14]))  # slices 0, 0, 2, 3, 4
    np.testing.assert_array_equal(fold_numbers(pool, pool, 2), np.repeat([0, 0, 0, 1, 1], 3))
    np.testing.assert_array_equal(fold_numbers(pool, chosen, 2), [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(fold_numbers(pool, chosen, 1), np.zeros(5))


@pytest.mark.parametrize("folds", [1, 2])
def test_a_fold_answers_without_having_seen_its_labels(gaining: Settings, folds: int) -> None:
    """Other labels of the second half of the slices change the answers on the first half alone."""
    made = striped(4, 40, 40)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 3, 40, 40)).astype(np.float32)
    known = GlobalPrediction(
        logits.argmax(1).astype(np.uint8), logits, rng.random((4, 40, 40)).astype(np.float32)
    )
    idk = rng.random((4, 40, 40)) < 0.5
    partition = Partition(idk, idk.astype(np.float32))
    number = np.repeat([0, folds - 1], 2)

    def answers(labels: np.ndarray) -> np.ndarray:
        data = local_pool(made.images / 100, labels, known, partition)
        # without folds the network answers that learned from all of them
        whole = local.kind(gaining).fit(data, gaining, Run())
        found = list(hcl.training_answers(data, whole, number, gaining, Run()))
        np.testing.assert_array_equal(np.concatenate([asked.idk for asked, _ in found]), idk)
        return np.concatenate([said.probabilities for _, said in found])

    other = made.labels.copy()
    other[2:] = (other[2:] + 1) % 3
    first, second = answers(made.labels), answers(other)
    half = int(idk[:2].sum())
    assert (first[:half] != second[:half]).any()
    unchanged = np.array_equal(first[half:], second[half:])
    assert unchanged == (folds == 2)


# --- stopping, refusing ---------------------------------------------------------------------------


def test_a_training_stopped_twice_equals_an_undisturbed_one(
    fitted: mp.MatPhase,
    sample: Sample,
    gaining: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)

    def fit(reporter: object = None) -> mp.MatPhase:
        return mp.MatPhase(settings=gaining, seed=3).fit(
            sample.images[:4], sample.labels[:4], NAMES, folder=tmp_path / "run", reporter=reporter
        )

    for stage in ("lcgar_fold2", "deferral"):
        with pytest.raises(Killed):
            fit(Killer(f"train {stage}", 2))
    one, other = fit().predict(sample.images[:2]), fitted.predict(sample.images[:2])
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.deferred, other.deferred)


def test_a_model_without_a_local_part_has_nobody_to_defer_to(
    sample: Sample, gaining: Settings, tmp_path: Path
) -> None:
    model = mp.MatPhase(settings=gaining.updated({"model": "ugsm"}))
    with pytest.raises(InputError, match=r"no meaning for the model ugsm.*leave it out"):
        model.fit(sample.images[:4], sample.labels[:4], NAMES, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_local_network_may_be_deferred_to(sample: Sample, gaining: Settings) -> None:
    settings = gaining.updated({"model": "local_unet", "ugsm": {"epochs": 1}})
    model = mp.MatPhase(settings=settings).fit(sample.images[:4], sample.labels[:4], NAMES)
    result = model.predict(sample.images[:2])
    assert result.deferred is not None
    assert not (result.deferred & ~result.idk).any()
