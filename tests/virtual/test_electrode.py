import dataclasses
import json
import signal
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
from typer.testing import CliRunner

import matphase as mp
from matphase.cli import app
from matphase.cli import simulate as simulate_verb
from matphase.images import formats
from matphase.images.phases import IGNORE_INDEX
from matphase.support.errors import InputError, OutputError
from matphase.virtual import Recipe, VirtualElectrode
from matphase.virtual import electrode as electrode_module

SHAPE = (4, 48, 40)
FILES = {
    *("images.tif", "labels.tif", "measured_labels.tif"),
    *("recipe.toml", "electrode.json", "manifest.json"),
}


@pytest.fixture(scope="module")
def electrode():
    return VirtualElectrode.simulate(shape=SHAPE, seed=1)


def test_an_electrode_has_image_labels_phases_and_voxel_size(electrode):
    for array, dtype in (
        (electrode.image, np.float32),
        (electrode.labels, np.uint8),
        (electrode.measured_labels, np.uint8),
    ):
        assert array.shape == SHAPE
        assert array.dtype == dtype
    assert np.isfinite(electrode.image).all()
    assert (electrode.voxel_size, electrode.unit) == (0.2, "um")
    assert electrode.phases.names == ("pore", "carbon", "nickel")
    assert set(np.unique(electrode.measured_labels)) <= {0, 1, 2}
    assert not np.array_equal(electrode.labels, electrode.measured_labels)


def test_facts_are_what_was_asked_for(electrode):
    facts = electrode.facts
    wanted = {"pore": 0.14, "carbon": 0.26, "nickel": 0.60}
    assert facts["fractions"] == pytest.approx(wanted, abs=0.001)
    assert facts["cnr"] == pytest.approx(electrode.recipe.cnr, rel=0.05)
    assert facts["photons"] > 100
    assert facts["seed"] == 1
    agreement = (electrode.labels == electrode.measured_labels).mean()
    assert facts["label_agreement"] == pytest.approx(agreement)


def test_the_seed_names_the_electrode(electrode):
    again, other = (VirtualElectrode.simulate(shape=SHAPE, seed=seed) for seed in (1, 2))
    for name in ("image", "labels", "measured_labels"):
        assert np.array_equal(getattr(electrode, name), getattr(again, name))
        assert not np.array_equal(getattr(electrode, name), getattr(other, name))
    assert electrode.facts == again.facts


def test_the_dial_changes_the_image_and_not_the_labels(electrode):
    clear = VirtualElectrode.simulate(electrode.recipe.with_cnr(1.0), SHAPE, 1)
    assert np.array_equal(clear.labels, electrode.labels)
    assert np.array_equal(clear.measured_labels, electrode.measured_labels)
    assert clear.facts["noise_per_cm"] < 0.5 * electrode.facts["noise_per_cm"]


def test_sections_apart_leave_slices_without_labels():
    recipe = Recipe(ground_truth={"section_spacing": 2})
    sparse = VirtualElectrode.simulate(recipe, SHAPE)
    assert (sparse.measured_labels[1::2] == IGNORE_INDEX).all()
    assert sparse.phases.ignore == IGNORE_INDEX
    assert np.array_equal(sparse.phases.encode(sparse.measured_labels), sparse.measured_labels)
    assert sparse.facts["label_agreement"] == 1


def test_a_given_microstructure_is_imaged_whatever_its_labels(electrode):
    values = np.array([7, 3, 0])[electrode.labels]
    given = VirtualElectrode.from_labels(
        values, {"NMC": 0, "pore": 7, "carbon_binder": 3}, recipe=electrode.recipe, seed=1
    )
    assert given.phases.names == ("pore", "carbon_binder", "NMC")
    assert np.array_equal(given.labels, electrode.labels)
    assert np.array_equal(given.image, electrode.image)
    assert given.facts["microstructure"] == "given"


def test_an_electrode_of_two_phases_is_imaged():
    labels = (np.indices((2, 40, 40)).sum(axis=0) // 9 % 2).astype(np.uint8)
    given = VirtualElectrode.from_labels(
        labels, {"pore": 0, "nmc": 1}, voxel_size=0.4, recipe=Recipe()
    )
    assert given.voxel_size == 0.4
    assert given.image[given.labels == 2].mean() > 60
    assert given.facts["fractions"]["carbon"] == 0


@pytest.mark.parametrize(
    ("labels", "phases", "message"),
    [
        (np.zeros((2, 40, 40)), {"pore": 0, "gold": 1}, "unknown material 'gold'"),
        (np.zeros((2, 40, 40)), {"pore": 1, "nmc": 2}, "not in the label map"),
        (np.zeros((40, 40)), {"pore": 0, "nmc": 1}, "must be a stack"),
        (np.zeros((2, 8, 40)), {"pore": 0, "nmc": 1}, "at least 32 x 32 px"),
        (np.zeros((2, 40, 40)), {"carbon": 0, "binder": 1}, "same material"),
        (
            np.zeros((2, 40, 40)),
            mp.PhaseTable.from_mapping({"pore": 1, "nmc": 2}, ignore=0),
            "ignore value",
        ),
    ],
)
def test_labels_that_cannot_be_imaged_are_refused(labels, phases, message):
    with pytest.raises(InputError, match=message):
        VirtualElectrode.from_labels(labels, phases, recipe=Recipe())


def test_a_folder_holds_all_and_reads_back(electrode, tmp_path):
    folder = tmp_path / "electrode"
    electrode.save(folder)
    assert {path.name for path in folder.iterdir()} == FILES
    for name, array in (
        ("images", electrode.image),
        ("labels", electrode.labels),
        ("measured_labels", electrode.measured_labels),
    ):
        volume = mp.open(folder / f"{name}.tif")
        assert np.array_equal(volume.to_array(), array)
        assert volume.voxel_size == pytest.approx((0.2, 0.2, 0.2))
        assert volume.unit == "um"
    recipe = Recipe.from_file(folder / "recipe.toml")
    record = json.loads((folder / "electrode.json").read_text("utf-8"))
    assert recipe == electrode.recipe
    again = VirtualElectrode.simulate(recipe, seed=record["seed"])
    assert np.array_equal(again.image, electrode.image)


def test_files_of_the_same_seed_are_the_same_byte_by_byte(electrode, tmp_path):
    again = VirtualElectrode.simulate(shape=SHAPE, seed=1)
    for folder, one in (("a", electrode), ("b", again)):
        one.save(tmp_path / folder)
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_folder_that_exists_is_left_alone(electrode, tmp_path):
    (tmp_path / "mine.txt").write_text("keep", "utf-8")
    with pytest.raises(OutputError, match="exists"):
        electrode.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    electrode.save(tmp_path / "e")
    electrode.save(tmp_path / "e", overwrite=True)
    assert {path.name for path in (tmp_path / "e").iterdir()} == FILES


def test_an_electrode_is_frozen(electrode):
    with pytest.raises(dataclasses.FrozenInstanceError):
        electrode.unit = "mm"


def simulate(*arguments, **more):
    command = [sys.executable, "-m", "matphase", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def test_the_command_writes_an_electrode(tmp_path):
    out = tmp_path / "e"
    done = simulate(str(out), "--shape", "2,40,48", "--seed", "3", "--cnr", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == FILES
    assert "pore 14.0 %" in done.stdout
    record = json.loads((out / "electrode.json").read_text("utf-8"))
    assert record["seed"] == 3
    assert record["cnr"] == pytest.approx(0.2, rel=0.1)


def test_the_command_images_a_labelled_volume(tmp_path):
    labels = np.zeros((2, 40, 48), np.uint8)
    labels[:, 10:30] = 5
    mp.save(tmp_path / "labels.tif", mp.Volume.from_array(labels, voxel_size=300, unit="nm"))
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[detector]\nphotons = 1e4\n", "utf-8")
    out = tmp_path / "e"
    source = ["--labels", str(tmp_path / "labels.tif"), "--label-map", "pore=0,nmc=5"]
    done = simulate(str(out), *source, "--recipe", str(recipe), "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mp.open(out / "images.tif").voxel_size == pytest.approx((0.3, 0.3, 0.3))
    assert mp.open(out / "images.tif").to_array()[:, 15:25].mean() > 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "4x40x40"], "--shape '4x40x40' is not a shape"),
        (["--shape", "2,8,40"], "too small"),
        (["--recipe", "medium"], "no recipe 'medium'"),
        (["--recipe", "none.toml"], "cannot read settings"),
        (["--cnr", "-1"], "cnr"),
        (["--labels", "x.tif"], "belong together"),
        (["--voxel-size", "1"], "--voxel-size needs --labels"),
    ],
)
def test_the_command_refuses_bad_input_in_one_line(tmp_path, arguments, message):
    result = CliRunner().invoke(app, ["simulate", str(tmp_path / "e"), *arguments])
    assert result.exit_code == 1
    assert result.stderr.startswith("matphase: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_leaves_an_existing_folder_alone(tmp_path):
    result = CliRunner().invoke(app, ["simulate", str(tmp_path)])
    assert result.exit_code == 1
    assert "exists; choose another name or pass --overwrite" in result.stderr


class Impatient:
    """A user who presses Ctrl-C when a piece of work of this title has begun."""

    def __init__(self, title):
        self.title = title
        self.now = False

    def start(self, title, total, done=0):
        self.now = title.startswith(self.title)

    def advance(self, steps=1, note=""):
        if self.now:
            signal.raise_signal(signal.SIGINT)

    def finish(self): ...


@pytest.mark.parametrize("title", ["drawing", "projecting", "reconstructing"])
def test_ctrl_c_while_it_computes_leaves_nothing(tmp_path, monkeypatch, title):
    reporter = Impatient(title)
    monkeypatch.setattr(simulate_verb, "progress", lambda **_: nullcontext(reporter))
    result = CliRunner().invoke(app, ["simulate", str(tmp_path / "e"), "--shape", "4,64,64"])
    assert reporter.now
    assert result.exit_code == 1
    assert result.stderr == "matphase: stopped; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_it_writes_leaves_nothing(electrode, tmp_path, monkeypatch):
    def save_two(path, volume):
        if path.name.startswith("measured"):
            raise KeyboardInterrupt
        formats.tiff.save(path, volume, compress=True)

    monkeypatch.setattr(electrode_module.formats, "save", save_two)
    with pytest.raises(KeyboardInterrupt):
        electrode.save(tmp_path / "e")
    assert list(tmp_path.iterdir()) == []
