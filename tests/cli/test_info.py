import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matphase as mp
from samples import Sample


def test_shows_the_metadata_of_a_volume(work: Path, call: Callable[..., Any]) -> None:
    result = call("info", "images.tif")
    assert result.exit_code == 0
    assert result.stderr == ""
    for fact in ["images.tif", "zyx, 6 x 48 x 56 voxels", "0.2 x 0.2 x 0.2 um", "float32"]:
        assert fact in result.stdout


def test_a_voxel_size_that_nobody_measured_is_unknown(work: Path, call: Callable[..., Any]) -> None:
    assert "voxel size      unknown\n" in call("info", "labels.tif").stdout


def test_the_user_knows_the_voxel_size_best(work: Path, call: Callable[..., Any]) -> None:
    result = call(
        "info", "images.tif", "--voxel-size", "0.5,0.1,0.1", "--unit", "nm", "--json", "-"
    )
    facts = json.loads(result.stdout)
    assert (facts["voxel_size"], facts["unit"]) == ([0.5, 0.1, 0.1], "nm")


def test_json_on_standard_output_is_nothing_but_json(
    work: Path, call: Callable[..., Any], sample: Sample
) -> None:
    result = call("info", "images.tif", "--json", "-")
    facts = json.loads(result.stdout)
    assert facts["axes"] == "zyx"
    assert facts["shape"] == [6, 48, 56]
    assert facts["dtype"] == "float32"
    assert facts["bytes"] == sample.images.nbytes
    low, high = np.percentile(sample.images, [0.1, 99.9])
    assert facts["grey_low"] == pytest.approx(low)
    assert facts["grey_high"] == pytest.approx(high)


def test_quiet_with_json(work: Path, call: Callable[..., Any]) -> None:
    result = call("info", "images.tif", "--json", "facts.json", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert json.loads(Path("facts.json").read_text("utf-8"))["name"] == "images.tif"
    assert json.loads(call("info", "images.tif", "--json", "-", "-q").stdout)["unit"] == "um"


def test_what_it_says_of_memory_covers_what_a_prediction_holds(
    work: Path, call: Callable[..., Any], model: mp.MatPhase
) -> None:
    facts = json.loads(call("info", "images.tif", "--json", "-").stdout)
    result = model.predict("images.tif")
    held = [np.asarray(getattr(result, name)).nbytes for name in result.maps]
    assert sum(held) <= facts["prediction_bytes"]


def test_an_unknown_file_is_refused(refused: Callable[..., str]) -> None:
    refused("info", "nothing.tif", says=["nothing.tif does not exist", "check the path"])


def test_json_that_exists_is_refused(refused: Callable[..., str]) -> None:
    Path("facts.json").write_text("mine", "utf-8")
    refused("info", "images.tif", "--json", "facts.json", says=["facts.json exists"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--voxel-size", "0", "--unit", "um"], ["images.tif", "0.0", "above zero"]),
        (["--voxel-size=-0.2", "--unit", "um"], ["images.tif", "-0.2", "above zero"]),
        (["--voxel-size", "0.2,0,0.2", "--unit", "um"], ["along y", "above zero"]),
        (["--voxel-size", "nan", "--unit", "um"], ["above zero"]),
        (["--voxel-size", "inf", "--unit", "um"], ["above zero"]),
        (["--voxel-size", "0.2"], ["without a unit", "give the unit"]),
        (["--unit", "um"], ["without a voxel size", "give both"]),
        (["--voxel-size", "0.2", "--unit", "furlong"], ["'furlong'", "nm"]),
        (["--voxel-size", "0.2,0.2", "--unit", "um"], ["2 lengths for the 3 axes"]),
        (["--voxel-size", "small", "--unit", "um"], ["'small' is not a length"]),
    ],
)
def test_voxel_sizes_that_cannot_be(
    refused: Callable[..., str], words: list[str], says: list[str]
) -> None:
    refused("info", "images.tif", *words, says=says)


def test_what_predicting_it_will_take(
    work: Path, call: Callable[..., Any], model_folder: Path
) -> None:
    words = ("info", "images.tif", "--model", model_folder, "--memory", "50MB")
    result = call(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "for the program, its libraries and the model), 230kB of disk" in result.stdout
    assert "6 of up to 1 x 48 x 56 voxels" in result.stdout
    one, four = (
        json.loads(call(*words, "--samples", samples, "--json", "-").stdout)["prediction"]
        for samples in (1, 64)
    )
    assert one["block"] == [1, 48, 56]
    # besides the program: the limit, or if that is less, what reading and writing take
    assert one["memory"] - one["program"] == 300 * 10**6
    large = json.loads(call(*words[:-1], "4GB", "--json", "-").stdout)["prediction"]
    assert large["memory"] - large["program"] == 4 * 10**9
    assert one["program"] > 10**8
    # labels, UGSM's, mask of uncertain voxels (a byte each) and entropy (4 bytes), as working
    # images and as files
    assert one["disk"] == 2 * 7 * 6 * 48 * 56
    assert one["seconds"] > 0
    assert four["seconds"] > 0


def test_a_prediction_that_cannot_be(
    work: Path, call: Callable[..., Any], model_folder: Path
) -> None:
    result = call("info", "images.tif", "--model", model_folder, "--memory", "1kB")
    assert result.exit_code == 1
    assert "raise the memory limit to" in result.stderr
    result = call("info", "images.tif", "--model", "images.tif")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
