import copy
import json
import math
import os
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w

import matphase as mp
from matphase.images.grey_scale import IntensityScale
from matphase.method import model_folder as folders
from matphase.method.calibrator import Calibrator
from matphase.method.hcl import HCL
from matphase.method.model_folder import MANIFEST
from matphase.method.scaling import Scaling
from matphase.support.errors import DivergedError, InputError, ModelError, OutputError
from samples import Sample


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> Path:
    """A model that may be spoiled."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def sign_again(folder: Path) -> None:
    """Make the checksums fit, as somebody would who changes a model on purpose."""
    sums = {
        path.name: folders._checksum(path) for path in folder.iterdir() if path.name != MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps(sums), "utf-8")


def change(folder: Path, **values: object) -> None:
    path = folder / "config.toml"
    config = tomllib.loads(path.read_text("utf-8")) | values
    path.write_text(tomli_w.dumps(config), "utf-8")
    sign_again(folder)


def test_a_saved_model_predicts_the_same(
    model: mp.MatPhase, model_folder: Path, sample: Sample
) -> None:
    before, after = model.predict(sample.images), mp.load(model_folder).predict(sample.images)
    for name in ("labels", "probabilities", "entropy", "idk", "idk_score", "global_probabilities"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_a_model_survives_being_saved_twice(model_folder: Path, tmp_path: Path) -> None:
    mp.load(model_folder).save(tmp_path / "again")
    for path in model_folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_network_for_whole_slices_survives_being_saved(
    model: mp.MatPhase, sample: Sample, tmp_path: Path
) -> None:
    settings = model.settings.lcgar.model_copy(update={"padding": "image"})
    other = model.refit_local(sample.images, sample.labels, lcgar_settings=settings)
    other.save(tmp_path / "model")
    loaded = mp.load(tmp_path / "model")
    assert loaded.settings.lcgar.padding == "image"
    before, after = (each.predict(sample.images) for each in (other, loaded))
    assert before.idk.any()
    np.testing.assert_array_equal(before.probabilities, after.probabilities)


def test_all_that_is_known_of_a_model_comes_back(model: mp.MatPhase, model_folder: Path) -> None:
    loaded = mp.load(model_folder)
    assert loaded.settings == model.settings
    assert loaded.phases == model.phases
    assert loaded.seed == model.seed


def test_the_folder_is_readable_by_people(model_folder: Path, model: mp.MatPhase) -> None:
    config = tomllib.loads((model_folder / "config.toml").read_text("utf-8"))
    assert config["matphase"] == mp.__version__
    assert config["settings"]["ugsm"]["width"] == 4
    assert config["intensity"]["low"] < config["intensity"]["high"]
    phases = json.loads((model_folder / "phases.json").read_text("utf-8"))
    assert [phase["name"] for phase in phases["phases"]] == ["pore", "carbon", "nickel"]


def test_everybody_may_read_it_whom_the_umask_allows(model: mp.MatPhase, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        model.save(tmp_path / "model")
    finally:
        os.umask(before)
    for path in (tmp_path / "model").iterdir():
        assert path.stat().st_mode & 0o777 == 0o644, path.name


def test_an_existing_folder_stays_unless_told(model: mp.MatPhase, copied: Path) -> None:
    (copied / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match="model exists"):
        model.save(copied)
    assert (copied / "notes.txt").read_text("utf-8") == "mine"
    with pytest.raises(OutputError, match=r"contains notes\.txt, which was not written with it"):
        model.save(copied, overwrite=True)
    assert (copied / "notes.txt").read_text("utf-8") == "mine"
    (copied / "notes.txt").unlink()
    model.save(copied, overwrite=True)
    mp.load(copied)


def test_an_untrained_model_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not trained yet"):
        mp.MatPhase("quick").save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# --- what is not a model --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "phases.json", "config.toml", "lcgar.safetensors"])
def test_a_file_that_is_missing(copied: Path, name: str | None) -> None:
    (copied / (name or MANIFEST)).unlink()
    with pytest.raises(ModelError, match=f"{name or MANIFEST}"):
        mp.load(copied)


def test_a_network_that_the_manifest_does_not_list(copied: Path) -> None:
    (copied / "idk.safetensors").unlink()
    sign_again(copied)
    with pytest.raises(ModelError, match=r"idk\.safetensors is missing"):
        mp.load(copied)


def test_a_folder_inside(copied: Path) -> None:
    (copied / "old").mkdir()
    with pytest.raises(ModelError, match="old does not belong to the model"):
        mp.load(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"ugsm"'])
def test_a_damaged_manifest(copied: Path, text: str) -> None:
    (copied / MANIFEST).write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"manifest\.json cannot be read; copy the folder again"):
        mp.load(copied)


def test_a_manifest_that_names_files_elsewhere(copied: Path) -> None:
    sums = json.loads((copied / MANIFEST).read_text("utf-8")) | {"../secret": "0"}
    (copied.parent / "secret").write_text("x", "utf-8")
    (copied / MANIFEST).write_text(json.dumps(sums), "utf-8")
    with pytest.raises(ModelError, match="secret is missing"):
        mp.load(copied)


def test_a_newer_format(copied: Path) -> None:
    change(copied, format=99, matphase="9.0")
    with pytest.raises(ModelError, match=r"MatPhase 9\.0 in model format 99.*update matphase"):
        mp.load(copied)


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"ugsm": {"epochs": -1}}},
        {"settings": {"unheard": {}}},
        {"intensity": {"low": 0.0}},
        {"intensity": {"low": 0.0, "high": 1.0, "kind": "best"}},
        {"intensity": {"low": 0.0, "high": 1.0, "kind": "both"}},  # a network of one channel
        {"seed": "first"},
    ],
)
def test_a_config_that_describes_no_model(copied: Path, values: dict[str, object]) -> None:
    change(copied, **values)
    with pytest.raises(ModelError, match="does not describe a model"):
        mp.load(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"phases": []}'])
def test_phases_that_are_none(copied: Path, text: str) -> None:
    (copied / "phases.json").write_text(text, "utf-8")
    sign_again(copied)
    with pytest.raises(ModelError, match="does not describe a model"):
        mp.load(copied)


def test_a_model_that_there_is_not(copied: Path) -> None:
    config = tomllib.loads((copied / "config.toml").read_text("utf-8"))
    change(copied, settings=config["settings"] | {"model": "matfase"})
    with pytest.raises(ModelError, match="no model 'matfase'; did you mean 'matphase'"):
        mp.load(copied)


def test_weights_of_another_network(copied: Path) -> None:
    config = tomllib.loads((copied / "config.toml").read_text("utf-8"))
    config["settings"]["ugsm"]["width"] = 8
    change(copied, settings=config["settings"])
    with pytest.raises(ModelError, match=r"ugsm\.safetensors does not hold the weights"):
        mp.load(copied)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64])
def test_weights_that_are_none(copied: Path, content: bytes) -> None:
    (copied / "lcgar.safetensors").write_bytes(content)
    sign_again(copied)
    with pytest.raises(ModelError, match=r"lcgar\.safetensors does not hold the weights"):
        mp.load(copied)


# --- planted folders ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [400, 2000, 10**9, 10**18])
def test_a_width_that_the_weights_do_not_have(
    copied: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is built before the header of the weights has been compared with the settings."""
    config = tomllib.loads((copied / "config.toml").read_text("utf-8"))
    config["settings"]["ugsm"]["width"] = width
    change(copied, settings=config["settings"])
    monkeypatch.setattr(folders, "load_weights", lambda *_: pytest.fail("built"))
    with pytest.raises(ModelError, match=r"does not (hold|describe)|cannot be built"):
        mp.load(copied)


@pytest.mark.parametrize("name", ["config.toml", "phases.json", "lcgar.safetensors", MANIFEST])
def test_pipes_and_devices_in_a_model_folder(copied: Path, name: str) -> None:
    path = copied / name
    for kind in ("pipe", "device"):
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        with pytest.raises(ModelError, match=f"{name} (is not a regular file|cannot be read|does)"):
            mp.load(copied)


def test_weights_that_are_larger_than_the_settings_say(copied: Path) -> None:
    """A file of a terabyte without content: neither read nor summed up."""
    with (copied / "lcgar.safetensors").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ModelError, match=r"lcgar\.safetensors does not hold the weights"):
        mp.load(copied)


@pytest.mark.parametrize(
    "text",
    ["[" * 10_000, '{"a": 1}', '{"a": {}}', '{"a\\u0000": "0"}', '{"": "0"}', '{".": "0"}'],
)
def test_a_manifest_by_somebody_else(copied: Path, text: str) -> None:
    (copied / MANIFEST).write_text(text, "utf-8")
    with pytest.raises(ModelError) as caught:
        mp.load(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["seed = inf", "a" + ".a" * 50_000 + " = 1", "a = " + "[" * 10_000]
)
def test_a_config_by_somebody_else(copied: Path, text: str) -> None:
    path = copied / "config.toml"
    config = tomllib.loads(path.read_text("utf-8"))
    del config["seed"]
    path.write_text(f"{text}\n{tomli_w.dumps(config)}", "utf-8")
    sign_again(copied)
    with pytest.raises(ModelError, match="does not describe a model"):
        mp.load(copied)


# --- numbers that are not finite ------------------------------------------------------------------


def test_a_model_that_is_not_finite_is_not_saved(model: mp.MatPhase, tmp_path: Path) -> None:
    trained = model._model
    spoilt = copy.deepcopy(trained.networks["lcgar"])
    next(spoilt.parameters()).data[0] = math.nan
    assert isinstance(trained.refiner, HCL)
    for wrong in (
        replace(trained, refiner=replace(trained.refiner, local=spoilt)),
        replace(trained, scale=IntensityScale(-math.inf, 3)),
        replace(trained, scale=IntensityScale(0, math.nan)),
        replace(trained, calibrator=Calibrator(Scaling("vector", (1, 1, math.nan), (0, 0, 0)))),
    ):
        with pytest.raises(DivergedError, match="not finite"):
            folders.write(wrong, tmp_path / "model")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ends", [{"low": "inf"}, {"low": 0.0, "high": "nan"}, {"high": "-inf"}])
def test_a_grey_scale_that_is_not_finite(copied: Path, ends: dict[str, object]) -> None:
    config = tomllib.loads((copied / "config.toml").read_text("utf-8"))
    change(copied, intensity=config["intensity"] | ends)
    with pytest.raises(ModelError, match="does not describe a model"):
        mp.load(copied)


@pytest.mark.parametrize(("per_slice", "kind"), [(True, "slice"), (False, "volume")])
def test_a_grey_scale_of_the_version_before(copied: Path, per_slice: bool, kind: str) -> None:
    change(copied, intensity={"low": 1.0, "high": 2.0, "per_slice": per_slice})
    assert folders.read(copied).scale == IntensityScale(1, 2, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [2**63, 1.5, True, "7"])
def test_a_seed_that_is_none(copied: Path, seed: object) -> None:
    change(copied, seed=seed)
    with pytest.raises(ModelError, match="does not describe a model"):
        mp.load(copied)
    with pytest.raises(InputError, match="random seed is a whole number"):
        mp.MatPhase(seed=seed)  # type: ignore[arg-type]
