"""Calibration by validation slices, through `MatPhase`: what it changes, and what it leaves."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matphase as mp
from matphase.method import scaling
from matphase.scores.metrics.calibration import expected_calibration_error
from matphase.settings import Settings
from matphase.support.errors import InputError, ModelError
from samples import Sample, striped

NAMES = ["pore", "carbon", "nickel"]


@pytest.fixture(scope="module")
def unseen() -> Sample:
    """Validation slices."""
    return striped(4, 48, 56, seed=1)


def fitted(sample: Sample, unseen: Sample, settings: Settings) -> mp.MatPhase:
    return mp.MatPhase(settings=settings).fit(
        *(sample.images, sample.labels, NAMES), validation=(unseen.images, unseen.labels)
    )


@pytest.fixture(scope="module")
def tempered(sample: Sample, unseen: Sample, tiny_settings: Settings) -> mp.MatPhase:
    """The model of `conftest`, with a temperature and a guarantee."""
    section = {"scaling": "temperature", "risk": 0.2, "block": (1, 12, 14)}
    return fitted(sample, unseen, tiny_settings.updated({"calibration": section}))


@pytest.fixture(scope="module")
def vectored(sample: Sample, unseen: Sample, tiny_settings: Settings) -> mp.MatPhase:
    """A model with a vector, and no guarantee."""
    return fitted(sample, unseen, tiny_settings.updated({"calibration": {"scaling": "vector"}}))


@pytest.fixture(scope="module")
def before(model: mp.MatPhase, unseen: Sample) -> mp.Prediction:
    """Of the model that is not calibrated."""
    return model.predict(unseen.images, keep_samples=True, mutual_information=True)


@pytest.fixture(scope="module")
def by_temperature(tempered: mp.MatPhase, unseen: Sample) -> mp.Prediction:
    return tempered.predict(unseen.images, keep_samples=True, mutual_information=True)


@pytest.fixture(scope="module")
def by_vector(vectored: mp.MatPhase, unseen: Sample) -> mp.Prediction:
    return vectored.predict(unseen.images, keep_samples=True)


def error_of(result: mp.Prediction, truth: Sample) -> float:
    return expected_calibration_error(np.moveaxis(result.probabilities, 0, 1), truth.labels)


def likelihood(result: mp.Prediction, truth: Sample) -> float:
    """Mean log-likelihood of the true phases."""
    chosen = np.take_along_axis(result.probabilities, truth.labels[None], axis=0)
    return float(np.log(np.maximum(chosen, 1e-30)).mean())


# --- what it changes ------------------------------------------------------------------------------


def test_a_temperature_changes_probabilities_and_nothing_else(
    before: mp.Prediction, by_temperature: mp.Prediction, unseen: Sample
) -> None:
    after = by_temperature
    same = ("labels", "entropy", "idk", "idk_score", "global_labels", "global_probabilities")
    for name in (*same, "mutual_information", "samples"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_allclose(after.probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(after.labels, after.probabilities.argmax(axis=0))
    assert likelihood(after, unseen) > likelihood(before, unseen)
    assert error_of(after, unseen) < error_of(before, unseen)


def test_a_vector_may_change_the_answer_and_the_samples_with_it(
    before: mp.Prediction, by_vector: mp.Prediction, unseen: Sample
) -> None:
    after = by_vector
    for name in ("entropy", "idk", "idk_score", "global_labels", "global_probabilities"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    changed = after.labels != before.labels
    assert changed.any()
    np.testing.assert_array_equal(after.labels, after.probabilities.argmax(axis=0))
    assert before.samples is not None
    assert after.samples is not None
    assert np.mean(after.samples == after.labels) > np.mean(before.samples == after.labels)
    assert likelihood(after, unseen) > likelihood(before, unseen)


def test_the_score_on_validation_slices_is_of_the_scaled_answer(
    by_vector: mp.Prediction, unseen: Sample
) -> None:
    assert by_vector.validation is not None
    right = np.trace(by_vector.validation.confusion.sum(axis=0))
    assert right == np.count_nonzero(by_vector.labels == unseen.labels)


def test_a_scaling_may_learn_from_aligned_validation_labels(
    sample: Sample, unseen: Sample, tiny_settings: Settings
) -> None:
    moved = np.roll(unseen.labels, 2, axis=1)
    section = {"scaling": "vector", "align": True}
    settings = tiny_settings.updated({"calibration": section, "align": {"size": 1e-4}})
    found = fitted(sample, Sample(unseen.images, moved), settings)
    assert found.scaling is not None
    aligned = found.align(unseen.images, moved, NAMES).labels
    assert np.mean(aligned == unseen.labels) > np.mean(moved == unseen.labels)
    bare = fitted(sample, Sample(unseen.images, moved), tiny_settings)
    said = np.moveaxis(bare.predict(unseen.images).probabilities, 0, 1)
    assert found.scaling == scaling.fit(said, aligned, "vector", 0)
    assert found.validation is not None
    assert found.validation.confusion.sum() == moved.size, "the score is that of the labels given"


# --- trusted pixels -------------------------------------------------------------------------------


def test_on_the_validation_slices_the_guarantee_is_kept_as_it_says(
    tempered: mp.MatPhase, by_temperature: mp.Prediction, unseen: Sample
) -> None:
    guarantee, result = tempered.guarantee, by_temperature
    assert guarantee is not None
    assert result.trusted is not None
    assert 0 < guarantee.trusted == np.count_nonzero(result.trusted) < result.trusted.size
    assert guarantee.wrong == np.count_nonzero((result.labels != unseen.labels) & result.trusted)
    assert guarantee.wrong < 0.2 * guarantee.trusted
    doubted = ~result.trusted
    assert result.probabilities.max(axis=0)[doubted].mean() < (
        result.probabilities.max(axis=0)[result.trusted].mean()
    )


@pytest.mark.parametrize("shape", [(48, 56), (2, 40, 33)])
def test_the_mask_has_the_shape_of_the_volume(
    tempered: mp.MatPhase, unseen: Sample, shape: tuple[int, ...]
) -> None:
    images = unseen.images[0] if len(shape) == 2 else unseen.images[:2, :40, :33]
    trusted = tempered.predict(images).trusted
    assert trusted is not None
    assert (trusted.shape, trusted.dtype) == (shape, np.bool_)


def test_without_a_guarantee_there_is_no_mask(
    model: mp.MatPhase, vectored: mp.MatPhase, before: mp.Prediction, by_vector: mp.Prediction
) -> None:
    assert (model.guarantee, vectored.guarantee) == (None, None)
    assert (before.trusted, by_vector.trusted) == (None, None)


# --- saved, loaded, refitted ----------------------------------------------------------------------


def test_a_loaded_model_scales_and_trusts_alike(
    tempered: mp.MatPhase, vectored: mp.MatPhase, unseen: Sample, tmp_path: Path
) -> None:
    for number, one in enumerate((tempered, vectored)):
        one.save(tmp_path / f"{number}")
        loaded = mp.load(tmp_path / f"{number}")
        assert (loaded.scaling, loaded.guarantee) == (one.scaling, one.guarantee)
        first, second = one.predict(unseen.images[:1]), loaded.predict(unseen.images[:1])
        np.testing.assert_array_equal(first.probabilities, second.probabilities)
        np.testing.assert_array_equal(first.trusted, second.trusted)


@pytest.mark.parametrize("name", ["scaling.json", "guarantee.json"])
def test_what_was_learned_is_readable_and_guarded(
    tempered: mp.MatPhase, tmp_path: Path, name: str
) -> None:
    tempered.save(tmp_path / "model")
    path = tmp_path / "model" / name
    content = json.loads(path.read_text("utf-8"))
    assert {"scaling.json": "weights", "guarantee.json": "threshold"}[name] in content
    path.write_text(json.dumps(content | {"risk": 0.001}), "utf-8")
    with pytest.raises(ModelError, match=f"{name} was altered after training"):
        mp.load(tmp_path / "model")
    path.unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        mp.load(tmp_path / "model")


def test_a_model_of_the_version_before_is_read(
    tempered: mp.MatPhase, by_temperature: mp.Prediction, unseen: Sample, tmp_path: Path
) -> None:
    """MatPhase 0.1 had the guarantee in `promise.json`; all else is as it was, format 1."""
    folder = tmp_path / "model"
    tempered.save(folder)
    assert tomllib.loads((folder / "config.toml").read_text("utf-8"))["format"] == 1
    (folder / "guarantee.json").rename(folder / "promise.json")
    sums = json.loads((folder / "manifest.json").read_text("utf-8"))
    sums["promise.json"] = sums.pop("guarantee.json")
    (folder / "manifest.json").write_text(json.dumps(sums), "utf-8")
    loaded = mp.load(folder)
    assert loaded.guarantee == tempered.guarantee
    np.testing.assert_array_equal(loaded.predict(unseen.images).trusted, by_temperature.trusted)
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "guarantee.json").exists()
    assert not (tmp_path / "again" / "promise.json").exists()
    (folder / "promise.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError, match=r"promise\.json was altered after training"):
        mp.load(folder)


def test_a_refitted_model_is_not_calibrated(
    tempered: mp.MatPhase, sample: Sample, unseen: Sample
) -> None:
    usi = tempered.settings.usi.model_copy(update={"order": "none"})
    other = tempered.refit_local(sample.images, sample.labels, usi=usi)
    assert (other.scaling, other.guarantee) == (None, None)
    assert not other.settings.calibration.is_on
    result = other.predict(unseen.images[:1])
    assert (result.trusted, result.validation) == (None, None)


def test_auto_scales_by_a_vector_if_validation_slices_show_every_phase(
    tmp_path: Path,
    sample: Sample,
    unseen: Sample,
    vectored: mp.MatPhase,
    tiny_settings: Settings,
) -> None:
    settings = tiny_settings.updated({"calibration": {"scaling": "auto"}})
    with_all = fitted(sample, unseen, settings)
    assert with_all.scaling == vectored.scaling
    without = mp.MatPhase(settings=settings).fit(sample.images, sample.labels, NAMES)
    lacking = np.where(unseen.labels == 2, 0, unseen.labels)
    with_some = mp.MatPhase(settings=settings).fit(
        *(sample.images, sample.labels, NAMES), validation=(unseen.images, lacking)
    )
    assert (without.scaling, with_some.scaling) == (None, None)
    assert with_some.validation is not None
    without.save(tmp_path / "model")
    assert mp.load(tmp_path / "model").settings.calibration.scaling == "none"


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "slices", "message"),
    [
        ({"scaling": "temperature"}, None, "calibration needs validation slices; give some"),
        ({"risk": 0.1}, None, "calibration needs validation slices; give some"),
        ({"risk": 0.02, "block": (1, 24, 28)}, np.s_[:2], "at least 49 blocks .* got 8; give"),
        ({"scaling": "vector"}, np.s_[:1, :32, :32], "the phase 'nickel' .* never occurs"),
    ],
)
def test_slices_that_do_not_suffice_are_told_before_the_training(
    sample: Sample,
    unseen: Sample,
    tiny_settings: Settings,
    tmp_path: Path,
    section: dict[str, Any],
    slices: Any,
    message: str,
) -> None:
    labels = np.where(unseen.labels == 2, 0, unseen.labels) if "scaling" in section else None
    validation = None
    if slices is not None:
        known = unseen.labels if labels is None else labels
        validation = unseen.images[slices], known[slices]
    settings = tiny_settings.updated({"calibration": section})
    with pytest.raises(InputError, match=message):
        mp.MatPhase(settings=settings).fit(
            *(sample.images, sample.labels, NAMES), validation=validation, folder=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
