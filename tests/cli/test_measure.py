"""`matphase measure` in a folder with files."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matphase as mp

Call = Callable[..., Any]
Refused = Callable[..., str]
MAP = "pore=0,carbon=1,nickel=2"


@pytest.fixture
def blobs(work: Path) -> Path:
    """blobs.tif: a labelled volume with a voxel size."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(4).normal(size=(20, 32, 36)), 2, mode="wrap")
    labels = np.digitize(field, np.quantile(field, [0.4, 0.6])).astype(np.uint8)
    mp.save("blobs.tif", mp.Volume.from_array(labels, voxel_size=0.25, unit="um"))
    return work


def test_a_table_and_files_say_the_same(blobs: Path, call: Call) -> None:
    result = call(
        "measure",
        "blobs.tif",
        "--label-map",
        MAP,
        "--groups",
        "fractions,interfaces,transport",
        "--axis",
        "z",
        "--json",
        "out.json",
        "--csv",
        "out.csv",
        "--pictures",
        "curves",
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert "porosity" in result.stdout
    content = json.loads(Path("out.json").read_text())
    values = {one["name"]: one["value"] for one in content["properties"]}
    labels = mp.open("blobs.tif").to_array()
    assert values["porosity"] == pytest.approx(np.mean(labels == 0))
    assert f"{values['tortuosity_factor']:.4g}" in result.stdout
    rows = list(csv.DictReader(io.StringIO(Path("out.csv").read_text())))
    assert [float(row["value"]) for row in rows] == [one["value"] for one in content["properties"]]
    pictures = {path.stem for path in Path("curves").iterdir()}
    names = {"profile_z", "profile_y", "profile_x"}
    assert set(content["curves"]) == names
    assert pictures == names | {"curves", "manifest"}  # and the lists of them


def test_a_prediction_with_samples_has_errors_of_segmentation(
    work: Path, call: Call, model_folder: Path
) -> None:
    done = call("predict", model_folder, "images.tif", "--out", "out.tif", "--keep-samples")
    assert (done.exit_code, done.stderr) == (0, "")
    assert {path.name for path in Path().glob("out_sample_*.tif")} == {
        f"out_sample_0{number}.tif" for number in (1, 2, 3)
    }
    result = call("measure", "out.tif", "--groups", "fractions", "--json", "-")
    assert (result.exit_code, result.stderr) == (0, "")
    content = json.loads(result.stdout)
    assert content["about"]["samples"] == 3
    shares = [np.mean(mp.open(f"out_sample_0{n}.tif").to_array() == 0) for n in (1, 2, 3)]
    assert content["properties"][0]["segmentation_error"] == pytest.approx(np.std(shares, ddof=1))


def test_validation_slices_given_to_train_reach_the_measured_fractions(
    work: Path, call: Call
) -> None:
    trained = call(
        "train",
        "--images",
        "images.tif",
        "--labels",
        "labels.tif",
        "--label-map",
        MAP,
        "--validation-images",
        "images.tif",
        "--validation-labels",
        "labels.tif",
        "--config",
        "tiny.toml",
        "--out",
        "nmc",
    )
    assert (trained.exit_code, trained.stderr) == (0, "")
    assert call("predict", "nmc", "images.tif", "--out", "out.tif").exit_code == 0
    result = call("measure", "out.tif", "--groups", "fractions", "--json", "-")
    content = json.loads(result.stdout)
    assert content["about"]["validation_slices"] == 6
    # so small a training may not know a phase at all, and then the error says so
    share = np.mean(mp.open("labels.tif").to_array() == 0)
    porosity = content["properties"][0]
    assert abs(porosity["value"] - share) <= 1.645 * porosity["segmentation_error"]


def test_messages_and_notes_name_options(blobs: Path, call: Call, refused: Refused) -> None:
    plain = mp.Volume.from_array(mp.open("blobs.tif").to_array())
    mp.save("plain.tif", plain)
    result = call("measure", "plain.tif", "--label-map", MAP, "--memory", "1MB")
    assert "give --voxel-size and --unit" in result.stdout
    assert "larger --memory" in result.stdout
    text = refused("measure", "plain.tif", says=["--label-map"])
    assert "phases=" not in text


def test_a_region_and_a_part_are_measured_and_recorded(blobs: Path, call: Call) -> None:
    labels = mp.open("blobs.tif").to_array()
    mask = np.zeros(labels.shape, np.uint8)
    mask[:, 4:28, 4:30] = 255
    mp.save("mask.tif", mp.Volume.from_array(mask))
    words = ("measure", "blobs.tif", "--label-map", MAP, "--groups", "fractions", "--json", "-")
    result = call(*words, "--mask", "mask.tif", "--crop", "5:, :20,-30:")
    assert (result.exit_code, result.stderr) == (0, "")
    content = json.loads(result.stdout)
    assert content["about"]["crop"] == [[5, 20], [0, 20], [6, 36]]
    assert content["about"]["mask"] == "mask.tif"
    assert content["about"]["shape"] == [15, 20, 30]
    part = labels[5:, 4:20, 6:30]
    assert content["about"]["counted_voxels"] == part.size
    assert content["properties"][0]["value"] == np.mean(part == 0)


def test_a_round_field_of_view_has_a_note(blobs: Path, call: Call) -> None:
    result = call(
        "measure", "blobs.tif", "--label-map", MAP, "--only", "transport", "--mask", "circle"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert "transport along y, x is not a number" in result.stdout
    assert "(--crop)" in result.stdout


def test_any_spelling_of_ignore_and_several_of_it(blobs: Path, call: Call) -> None:
    words = ("measure", "blobs.tif", "--groups", "fractions", "--json", "-", "--label-map")
    result = call(*words, "pore=0,a=3,Ignore=1, IGNORE =2")
    assert json.loads(result.stdout)["properties"][0]["value"] == 1


def test_what_is_left_out_alone_is_an_error(blobs: Path, call: Call, refused: Refused) -> None:
    words = ("measure", "blobs.tif", "--label-map", MAP, "--memory", "1MB", "--groups")
    refused(*words, "transport", says=["transport needs", "--memory", "--crop", "limit of 1MB"])
    result = call(*words, "fractions,transport")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "transport needs" in result.stdout


def test_parameters_for_pybamm(blobs: Path, call: Call) -> None:
    result = call(
        "measure", "blobs.tif", "--label-map", MAP, "--axis", "x", "--pybamm", "p.json", "-q"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    entries = json.loads(Path("p.json").read_text())
    labels = mp.open("blobs.tif").to_array()
    assert entries["Positive electrode porosity"] == pytest.approx(np.mean(labels == 0))
    assert entries["Positive electrode Bruggeman coefficient (electrolyte)"] > 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["blobs.tif"], "--label-map"),
        (["blobs.tif", "--label-map", "pore=0,carbon=1"], "label value 2"),
        (["blobs.tif", "--label-map", MAP, "--axis", "t"], "no axis 't' for --axis"),
        (["blobs.tif", "--label-map", MAP, "--groups", "colour"], "no group 'colour' for --groups"),
        (["blobs.tif", "--label-map", MAP, "--groups", "fraction"], "did you mean 'fractions'"),
        (["blobs.tif", "--label-map", MAP, "--roles", "pore"], "NAME=VALUE"),
        (["blobs.tif", "--label-map", MAP, "--conductivities", "carbon=high"], "not a number"),
        (["blobs.tif", "--label-map", MAP, "--voxel-size", "0.5"], "unit"),
        (["blobs.tif", "--label-map", MAP, "--memory", "much"], "amount of memory"),
        (["blobs.tif", "--label-map", MAP, "--json", "blobs.tif", "--overwrite"], "blobs.tif"),
        (["blobs.tif", "--label-map", MAP, "--json", "labels.tif"], "labels.tif"),
        (["blobs.tif", "--label-map", MAP, "--bpx", "cell.json"], "--bpx-template"),
        (["blobs.tif", "--label-map", MAP, "--groups", "sizes", "--pybamm", "p"], "interfaces"),
        (["blobs.tif", "--label-map", MAP, "--json", "a", "--csv", "a"], "same name"),
        (["nothing.tif", "--label-map", MAP], "nothing.tif"),
        (["blobs.tif", "--label-map", "p=0,c=1", "--only", "transport"], "label value 2"),
        (["blobs.tif", "--label-map", "p=3,c=4,ignore=0,ignore=1,ignore=2"], "are ignored"),
        (["blobs.tif", "--label-map", MAP, "--mask", "nothing.tif"], "nothing.tif"),
        (["blobs.tif", "--label-map", MAP, "--mask", "images.tif"], "--mask"),
        (["blobs.tif", "--label-map", MAP, "--crop", "0:5"], "1 part but blobs.tif has the axes"),
        (["blobs.tif", "--label-map", MAP, "--crop", "0:5,a:b,:"], "'a:b' in --crop"),
        (["blobs.tif", "--label-map", MAP, "--crop", "0:5,0:5:2,:"], "START:STOP"),
        (["blobs.tif", "--label-map", MAP, "--crop", ":,:,30:37"], "--crop along x is 30:37"),
        (["blobs.tif", "--label-map", MAP, "--mask", "m.tif", "--csv", "m.tif"], "m.tif"),
        (["blobs.tif", "--label-map", MAP, "--groups", ","], "is an empty list"),
        (["blobs.tif", "--label-map", MAP, "--roles", "pore=pore,pore=carbon"], "twice"),
        (["blobs.tif", "--label-map", MAP, "--csv", "c/t.csv", "--pictures", "c"], "c/t.csv"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    blobs: Path, refused: Refused, words: list[str], message: str
) -> None:
    refused("measure", *words, says=[message])


def test_a_missing_sample_is_named(
    work: Path, call: Call, refused: Refused, model_folder: Path
) -> None:
    call("predict", model_folder, "images.tif", "--out", "out.tif", "--keep-samples")
    Path("out_sample_02.tif").unlink()
    refused("measure", "out.tif", says=["out_sample_02.tif is missing"])


def test_neither_the_record_nor_the_samples_are_overwritten(
    work: Path, call: Call, refused: Refused, model_folder: Path
) -> None:
    call("predict", model_folder, "images.tif", "--out", "out.tif", "--keep-samples")
    for name in ("out.json", "out_sample_01.tif", "out_entropy.tif"):
        refused("measure", "out.tif", "--json", name, "--overwrite", says=[name])


def test_a_folder_of_other_files_is_not_replaced_by_pictures(
    blobs: Path, call: Call, refused: Refused
) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    words = ("measure", "blobs.tif", "--label-map", MAP, "--groups", "fractions", "--overwrite")
    refused(*words, "--pictures", "mine", says=["mine", "other files"])
    assert call(*words, "--pictures", "own").exit_code == 0
    assert call(*words, "--pictures", "own").exit_code == 0


def test_a_phase_with_a_slash_in_its_name(blobs: Path, call: Call) -> None:
    result = call(
        "measure", "blobs.tif", "--label-map", "pore=0,carbon/binder=1,nickel=2",
        "--groups", "sizes", "--pictures", "curves",
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    assert Path("curves/sizes_carbon_binder.png").exists()


def test_what_was_measured_is_kept_where_no_battery_model_can_run(blobs: Path, call: Call) -> None:
    plane = mp.open("blobs.tif").slice(0)
    mp.save("plane.tif", mp.Volume.from_array(plane, voxel_size=0.25, unit="um"))
    result = call(
        "measure", "plane.tif", "--label-map", MAP, "--json", "out.json", "--pybamm", "p.json"
    )
    assert result.exit_code == 1
    assert "interfaces" in result.stderr
    assert Path("out.json").exists()
    assert not Path("p.json").exists()
