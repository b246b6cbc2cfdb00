"""`matphase align` in a folder with files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matphase as mp

Call = Callable[..., Any]
Refused = Callable[..., str]


def test_moved_labels_and_fields_lie_in_a_folder(
    work: Path, call: Call, model_folder: Path
) -> None:
    words = ("--images", "images.tif", "--labels", "labels.tif", "--out", "aligned")
    result = call("align", model_folder, *words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "labels moved by" in result.stdout
    assert " um) on average" in result.stdout
    assert {path.name for path in Path("aligned").iterdir()} == {
        "labels.tif",
        "displacement_y.tif",
        "displacement_x.tif",
        "alignment.json",
        "manifest.json",
    }
    summary = json.loads(Path("aligned/alignment.json").read_text())
    assert summary["label_map"] == "pore=0,carbon=1,nickel=2,ignore=255"
    moved = mp.open("aligned/labels.tif")
    before = mp.open("labels.tif").to_array()
    assert moved.voxel_size == pytest.approx((0.2, 0.2, 0.2))
    assert moved.shape == before.shape
    assert np.mean(moved.to_array() != before) == pytest.approx(summary["labels_changed"])
    field = np.hypot(*(mp.open(f"aligned/displacement_{axis}.tif").to_array() for axis in "yx"))
    assert field.mean() == pytest.approx(summary["mean_displacement_px"])


def test_other_label_values_and_order_give_the_same_displacement(
    work: Path, call: Call, model_folder: Path
) -> None:
    labels = mp.open("labels.tif").to_array()
    mp.save("other.tif", mp.Volume.from_array(np.array([50, 255, 7], np.uint8)[labels]))
    images = ("--images", "images.tif", "--labels")
    call("align", model_folder, *images, "labels.tif", "--out", "one", "-q")
    other = call(
        "align", model_folder, *images, "other.tif", "--out", "two", "-q",
        "--label-map", "nickel=7,pore=50,carbon=255",
    )  # fmt: skip
    assert (other.exit_code, other.stdout, other.stderr) == (0, "", "")
    one, two = (mp.open(f"{name}/displacement_y.tif").to_array() for name in ("one", "two"))
    assert np.array_equal(one, two)
    assert "ignore=0" in json.loads(Path("two/alignment.json").read_text())["label_map"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "images.tif", "--labels", "labels.tif", "--out", "labels.tif"], "labels.tif"),
        (["--images", "images.tif", "--labels", "none.tif", "--out", "a"], "none.tif"),
        (
            ["--images", "images.tif", "--labels", "labels.tif", "--out", "a",
             "--label-map", "pore=0,carbon=1,copper=2"],
            "name the same ones",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    work: Path, refused: Refused, model_folder: Path, words: list[str], message: str
) -> None:
    refused("align", model_folder, *words, says=[message])
