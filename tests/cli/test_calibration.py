"""Calibration on the command line: train, predict, evaluate."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import matphase as mp
from matphase.settings import Settings
from samples import striped

Call = Callable[..., Any]
Refused = Callable[..., str]
TRAIN = [
    *["train", "--images", "images.tif", "--labels", "labels.tif", "--config", "mine.toml"],
    *["--label-map", "pore=0,carbon=1,nickel=2", "--out", "model"],
]
VALIDATION = ["--validation-images", "unseen.tif", "--validation-labels", "known.tif"]
SECTION = {"scaling": "temperature", "risk": 0.2, "block": [1, 12, 14]}


@pytest.fixture
def mine(work: Path, tiny_settings: Settings) -> Path:
    """The folder to work in, with validation slices, and mine.toml that asks for calibration."""
    unseen = striped(4, 48, 56, seed=1)
    mp.save("unseen.tif", mp.Volume.from_array(unseen.images))
    mp.save("known.tif", mp.Volume.from_array(unseen.labels))
    settings = tiny_settings.updated({"calibration": SECTION})
    Path("mine.toml").write_text(tomli_w.dumps(settings.model_dump()), "utf-8")
    return work


def test_from_training_to_the_share_of_trusted_pixels(
    mine: Path, call: Call, model_folder: Path
) -> None:
    trained = call(*TRAIN, *VALIDATION)
    assert (trained.exit_code, trained.stderr) == (0, "")
    assert "probabilities are scaled by temperature" in trained.stdout
    assert "at risk 0.2, " in trained.stdout
    assert {"scaling.json", "guarantee.json"} <= {path.name for path in Path("model").iterdir()}

    predict = ["predict", "model", "unseen.tif", "--out", "out.tif"]
    predicted = call(*predict)
    assert (predicted.exit_code, predicted.stderr) == (0, "")
    trusted = mp.open("out_trusted.tif").to_array() != 0
    assert ["trusted", f"{100 * trusted.mean():.2f}", "%"] in [
        line.split() for line in predicted.stdout.splitlines()
    ]
    assert "out_trusted.tif" in predicted.stdout

    scored = call("evaluate", "out.tif", "known.tif", "--json", "scores.json")
    assert (scored.exit_code, scored.stderr) == (0, "")
    found = json.loads(Path("scores.json").read_text("utf-8"))["trusted"]
    wrong = mp.open("out.tif").to_array() != mp.open("known.tif").to_array()
    assert found["trusted_share"] == pytest.approx(trusted.mean())
    assert found["trusted_error"] == pytest.approx(wrong[trusted].mean())
    assert f"{100 * trusted.mean():.1f} % of the pixels are trusted" in scored.stdout

    Path("out_trusted.tif").rename("other_trusted.tif")
    other = call(*predict[:-1], "other.tif")
    assert (other.exit_code, Path("other.tif").exists()) == (1, False)
    assert "other_trusted.tif exists; choose another name" in other.stderr
    Path("other_trusted.tif").rename("out_trusted.tif")
    assert call("predict", model_folder, *predict[2:], "--overwrite").exit_code == 0
    assert not Path("out_trusted.tif").exists(), "it was of another prediction"
    assert "trusted" not in call("evaluate", "out.tif", "known.tif").stdout


def test_calibration_without_validation_slices(mine: Path, refused: Refused) -> None:
    refused(*TRAIN, says=["calibration needs validation slices", "--validation-images"])
