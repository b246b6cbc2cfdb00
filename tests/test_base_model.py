"""The model that comes with MatPhase."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import matphase as mp
from matphase.method import start
from matphase.settings import Settings
from matphase.support.errors import InputError, ModelError
from matphase.support.warning import MatPhaseWarning
from matphase.virtual.variety import random_recipe
from samples import Sample

PHASES = {"active_material": 5, "carbon_binder": 7, "pore": 9}


@pytest.fixture(scope="module")
def base() -> mp.MatPhase:
    return mp.load("base")


@pytest.fixture
def spoiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy of the base model, which stands in for it."""
    folder = tmp_path / "base_model"
    shutil.copytree(start.folder_of("base"), folder)
    monkeypatch.setattr(start, "folder_of", lambda _: folder)
    return folder


def test_it_names_phases_without_a_label(base: mp.MatPhase) -> None:
    recipe = random_recipe(3, (2, 96, 96)).updated(
        {"detector": {"blur": 0.5, "gain_error": 0}, "reconstruction": {"retrieval": "none"}}
    )
    recipe = recipe.updated({"scan": {"distance": 0, "angles": 150}, "sample": {"filling": "air"}})
    scan = mp.VirtualElectrode.simulate(recipe, seed=3)
    assert base.phases.names == ("pore", "carbon_binder", "active_material")
    found = base.predict(scan.image)
    active = scan.labels == 2
    assert (found.indices == 2)[active].mean() > 0.8
    assert (found.indices != 2)[~active].mean() > 0.8
    # on whatever grey scale
    other = base.predict(scan.image * 1e4 + 3e5)
    assert (other.labels == found.labels).mean() > 0.999


def test_it_is_small_and_says_how_it_was_made(base: mp.MatPhase) -> None:
    folder = start.folder_of("base")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6
    assert "virtual electrodes" in repr(base)


def test_a_folder_of_that_name_is_another_model(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_folder, "base")
    for name in ("./base", Path("base")):
        assert mp.load(name).phases.names == ("pore", "carbon", "nickel")
    assert mp.load("base").phases.names[1] == "carbon_binder"


@pytest.mark.parametrize("preset", ["unet", "combined"])
def test_a_training_starts_from_it(preset: str, tiny_settings: Settings, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([5, 7, 9])[rng.integers(3, size=(2, 48, 48))]
    images = (labels + rng.normal(0, 1, labels.shape)).astype(np.float32)
    # so short that the weights hardly move
    few = {"epochs": 1, "max_steps": 1, "learning_rate": 1e-9, "dropout": 0, "samples": 1}
    settings = tiny_settings.updated(
        {"model": preset, "data": {"scale": "both"}, "ugsm": few, "combination": {"weight": 1}}
    )
    started = mp.MatPhase(settings=settings).fit(images, labels, PHASES, start="base")
    assert started.settings.ugsm.start == "base"
    assert (started.settings.ugsm.width, started.settings.ugsm.depth) == (16, 4)
    assert "starting from base" in repr(started)
    weights = mp.load("base")._model.networks["ugsm"].state_dict()
    own = started._model.networks["ugsm"].state_dict()
    for name in ("down.0.0.weight", "up.0.3.weight"):
        np.testing.assert_allclose(own[name], weights[name], atol=1e-6)
    np.testing.assert_allclose(own["head.weight"], weights["head.weight"].flip(0), atol=1e-6)
    started.save(tmp_path / "model")
    assert mp.load(tmp_path / "model")._model.record["start"]["model"] == "base"


def test_other_phases_are_said_in_one_sentence(sample: Sample, tiny_settings: Settings) -> None:
    settings = tiny_settings.updated({"model": "unet", "ugsm": {"max_steps": 1}})
    with pytest.warns(MatPhaseWarning, match="so the last layer of the network starts from random"):
        mp.MatPhase(settings=settings).fit(
            sample.images, sample.labels, ["pore", "sulphur", "nickel"], start="base"
        )


def test_a_model_without_a_network_has_no_start(sample: Sample) -> None:
    model = mp.MatPhase(settings={"model": "classical"})
    with pytest.raises(InputError, match="classical has no U-Net that could start from base"):
        model.fit(sample.images, sample.labels, ["pore", "carbon", "nickel"], start="base")


@pytest.mark.parametrize("name", ["ugsm.safetensors", "config.toml"])
def test_a_damaged_base_model_is_refused_in_one_sentence(spoiled: Path, name: str) -> None:
    content = bytearray((spoiled / name).read_bytes())
    content[-20] ^= 1
    (spoiled / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged \(.*checksum.*\); install matphase again$"):
        mp.load("base")
    (spoiled / name).unlink()
    with pytest.raises(ModelError, match=r"damaged \(.* is missing\); install matphase again$"):
        mp.MatPhase().fit(np.eye(32), np.eye(32), ["pore", "nickel"], start="base")
