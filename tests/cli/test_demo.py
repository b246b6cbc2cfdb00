import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matphase as mp
import matphase.demo
from matphase.images.phases import PhaseTable
from matphase.support.manifest import write_manifest

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder that the smallest demo writes, and what the call answered."""
    from typer.testing import CliRunner

    from matphase.cli import app

    out = tmp_path_factory.mktemp("demo") / "electrode [1]"
    words = ["demo", "--smoke", "--out", str(out), "--seed", "3"]
    return out, CliRunner().invoke(app, words, catch_exceptions=False)


def test_writes_what_it_promises_and_nothing_else(demo: tuple[Path, Any]) -> None:
    out, result = demo
    assert (result.exit_code, result.stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == {
        "entropy.tif",
        "idk.tif",
        "manifest.json",
        "metrics.json",
        "model",
        "overview.png",
        "prediction.tif",
    }
    assert list(out.parent.iterdir()) == [out]


def test_prints_the_table_of_the_paper_and_where_to_look(demo: tuple[Path, Any]) -> None:
    out, result = demo
    for row in ["│ UGSM ", "│ MatPhase w/o HCL-USI ", "│ MatPhase "]:
        assert row in result.stdout
    for column in ["F1 pore", "F1 carbon", "F1 nickel", "ACC %", "mIU", "fIU", "ECE"]:
        assert column in result.stdout
    assert f"written to {out}; see {out / 'overview.png'}\n" in result.stdout


def test_the_numbers_are_complete(demo: tuple[Path, Any]) -> None:
    content = json.loads((demo[0] / "metrics.json").read_text("utf-8"))
    assert content["phases"] == ["pore", "carbon", "nickel"]
    assert list(content["rows"]) == ["UGSM", "MatPhase w/o HCL-USI", "MatPhase"]
    for row in content["rows"].values():
        assert set(row["F1"]) == {"pore", "carbon", "nickel"}
        assert 0 < row["ACC"] <= 100
        assert set(row["ACC_best5"]) == set(row["ACC_low5"]) == {"mean", "sd"}
        for name in ["mIU", "fIU", "ECE"]:
            assert 0 <= row[name] <= 1
    assert {"entropy_AUROC", "idk_recall", "idk_precision", "idk_share"} <= set(
        content["uncertainty"]
    )


def test_tests_on_slices_that_it_did_not_train_on(demo: tuple[Path, Any]) -> None:
    slices = json.loads((demo[0] / "metrics.json").read_text("utf-8"))["slices"]
    assert max(slices["train"]) + 2 < min(slices["test"])
    assert mp.open(demo[0] / "prediction.tif").n_slices == len(slices["test"])


def test_its_model_gives_its_maps_again(demo: tuple[Path, Any]) -> None:
    out = demo[0]
    model = mp.load(out / "model")
    electrode = mp.VirtualElectrode.simulate(shape=matphase.demo.SMOKE_SHAPE, seed=3)
    labels = mp.open(out / "prediction.tif")
    n = labels.n_slices
    result = model.predict(electrode.image[-n:])
    np.testing.assert_array_equal(result.labels, labels.to_array())
    np.testing.assert_array_equal(result.entropy, mp.open(out / "entropy.tif").to_array())
    np.testing.assert_array_equal(result.idk, mp.open(out / "idk.tif").to_array() != 0)
    assert (labels.voxel_size, labels.unit) == ((electrode.voxel_size,) * 3, "um")


def test_the_picture_shows_the_colours_of_the_phases(demo: tuple[Path, Any]) -> None:
    with Image.open(demo[0] / "overview.png") as picture:
        colors = {color for _, color in picture.convert("RGB").getcolors(2**24)}
    for phase in PhaseTable.from_names(["pore", "carbon", "nickel"]).phases:
        assert tuple(bytes.fromhex(phase.color[1:])) in colors


def test_a_folder_that_exists_is_refused(refused: Callable[..., str], work: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine", "utf-8")
    refused("demo", "--smoke", "--out", "mine", says=["mine exists", "pass --overwrite"])
    refused("demo", "--smoke", "--out", "mine", "--overwrite", says=["mine is not replaced"])


def test_an_earlier_demo_stays_when_a_new_one_fails(
    refused: Callable[..., str], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("shown").mkdir()
    Path("shown/metrics.json").write_text("{}", "utf-8")
    write_manifest(Path("shown"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    again = ["demo", "--smoke", "--out", "shown", "--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr(matphase.demo.MatPhase, "fit", stop)
        refused(*again, says=["stopped; nothing was written"])
        patch.setattr(matphase.demo.MatPhase, "fit", full)
        refused(*again, says=["cannot write shown: No space left on device"])


def test_measures_that_are_not_defined_are_dashes(
    work: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {
        "entropy_AUROC": None,
        "idk_recall": None,
        "idk_precision": None,
        "idk_share": 0.5,
    }
    outcome = matphase.demo.Outcome(PhaseTable.from_names(["a", "b"]), {}, nothing)
    monkeypatch.setattr(matphase.demo, "run_demo", lambda *_, **__: outcome)
    result = call("demo", "--out", "x")
    assert result.exit_code == 0
    assert result.stdout.count(" -") == 3, "three measures are not defined"
    assert "50.0 % of the pixels are uncertain" in result.stdout
    assert "None" not in result.stdout
