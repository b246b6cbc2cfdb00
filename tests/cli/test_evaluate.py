import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matphase as mp
from samples import Sample

Call = Callable[..., Any]
Refused = Callable[..., str]
LABEL_MAP = "pore=0,carbon=1,nickel=2"


@pytest.fixture
def predicted(work: Path, call: Call, model_folder: Path) -> Path:
    """A folder with the prediction out.tif, and its record."""
    assert call("predict", model_folder, "images.tif", "--out", "out.tif").exit_code == 0
    return work


def scores(call: Call, *words: str) -> dict[str, Any]:
    result = call("evaluate", *words, "--json", "-")
    assert (result.exit_code, result.stderr) == (0, "")
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_a_perfect_prediction_scores_one(work: Path, call: Call) -> None:
    content = scores(call, "labels.tif", "labels.tif", "--label-map", LABEL_MAP)
    assert content["phases"] == ["pore", "carbon", "nickel"]
    row = content["rows"]["labels.tif"]
    assert row["F1"] == row["F1_pooled"] == row["boundary_F1"] == dict.fromkeys(row["F1"], 1.0)
    assert row["ACC"] == 100
    assert row["mIU"] == row["fIU"] == 1
    assert row["ECE"] is None
    assert row["ACC_best5"] == row["ACC_low5"] == {"mean": 100, "sd": 0}
    assert "uncertainty" not in content


def test_a_known_share_of_wrong_pixels(work: Path, call: Call, sample: Sample) -> None:
    labels = sample.labels.copy()
    labels[:, ::4] = (labels[:, ::4] + 1) % 3
    mp.save("wrong.tif", mp.Volume.from_array(labels))
    content = scores(call, "wrong.tif", "labels.tif", "--label-map", LABEL_MAP)
    assert content["rows"]["wrong.tif"]["ACC"] == pytest.approx(75)


def test_the_record_names_the_phases(predicted: Path, call: Call, sample: Sample) -> None:
    content = scores(call, "out.tif", "labels.tif")
    labels = mp.open("out.tif").to_array()
    assert content["rows"]["out.tif"]["ACC"] == pytest.approx(
        100 * np.mean(labels == sample.labels)
    )
    assert content == scores(call, "out.tif", "labels.tif", "--label-map", LABEL_MAP)


def test_the_maps_beside_it_are_scored_too(predicted: Path, call: Call, sample: Sample) -> None:
    found = scores(call, "out.tif", "labels.tif")["uncertainty"]
    idk = mp.open("out_idk.tif").to_array() != 0
    assert found["idk_share"] == pytest.approx(idk.mean())
    assert 0 < found["entropy_AUROC"] < 1
    Path("out_idk.tif").unlink()
    assert "uncertainty" not in scores(call, "out.tif", "labels.tif")


def test_a_zarr_prediction_scores_as_a_tiff(
    predicted: Path, call: Call, model_folder: Path
) -> None:
    assert call("predict", model_folder, "images.tif", "--out", "z.ome.zarr").exit_code == 0
    found, expected = (scores(call, name, "labels.tif") for name in ("z.ome.zarr", "out.tif"))
    assert found["uncertainty"] == expected["uncertainty"]
    assert found["rows"]["z.ome.zarr"] == expected["rows"]["out.tif"]


def test_known_labels_of_other_values_and_order(
    predicted: Path, call: Call, sample: Sample
) -> None:
    values = np.array([100, 50, 0], np.uint8)[sample.labels]
    values[:, :5] = 255
    mp.save("known.tif", mp.Volume.from_array(values))
    label_map = "nickel=0,carbon=50,pore=100,ignore=255"
    content = scores(call, "out.tif", "known.tif", "--label-map", label_map)
    assert content["phases"] == ["nickel", "carbon", "pore"]
    labels = mp.open("out.tif").to_array()
    right = (labels == sample.labels)[:, 5:]
    assert content["rows"]["out.tif"]["ACC"] == pytest.approx(100 * right.mean())
    other = scores(call, "out.tif", "labels.tif")["rows"]["out.tif"]["F1"]
    assert set(other) == {"pore", "carbon", "nickel"}


def test_one_slice_against_one_slice(work: Path, call: Call, sample: Sample) -> None:
    mp.save("slice.tif", mp.Volume.from_array(sample.labels[0]))
    mp.save("stack.h5", mp.Volume.from_array(sample.labels[:1]))
    for truth in ["slice.tif", "stack.h5"]:
        content = scores(call, "slice.tif", truth, "--label-map", LABEL_MAP)
        assert content["rows"]["slice.tif"]["ACC"] == 100


def test_a_folder_against_a_stack(work: Path, call: Call, sample: Sample) -> None:
    for z, plane in enumerate(sample.labels):
        mp.save(f"slices/{z}.png", mp.Volume.from_array(plane))
    content = scores(call, "slices", "labels.tif", "--label-map", LABEL_MAP)
    assert content["rows"]["slices"]["mIU"] == 1


def test_prints_a_table_whatever_the_names(work: Path, call: Call, sample: Sample) -> None:
    mp.save("[/red]/[bold]a.tif", mp.Volume.from_array(sample.labels))
    result = call(
        *["evaluate", "[/red]/[bold]a.tif", "labels.tif"],
        *["--label-map", "pore=0,carbon[C]=1,nickel=2"],
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert "[/red]/[bold]a.tif against labels.tif" in result.stdout
    assert "F1 carbon[C]" in result.stdout
    assert "│ [bold]a.tif │   1.000 │" in result.stdout


def test_quiet_with_json(work: Path, call: Call) -> None:
    words = ["evaluate", "labels.tif", "labels.tif", "--label-map", LABEL_MAP, "--quiet"]
    assert call(*words).stdout == ""
    assert call(*words, "--json", "deep/scores.json").stdout == ""
    content = json.loads(Path("deep/scores.json").read_text("utf-8"))
    assert content == json.loads(call(*words, "--json", "-").stdout)


def test_json_that_exists_is_kept_unless_told(work: Path, refused: Refused, call: Call) -> None:
    Path("scores.json").write_text("mine", "utf-8")
    words = ["evaluate", "labels.tif", "labels.tif", "--label-map", LABEL_MAP]
    refused(*words, "--json", "scores.json", says=["scores.json exists", "pass --overwrite"])
    assert call(*words, "--json", "scores.json", "--overwrite").exit_code == 0
    assert "rows" in json.loads(Path("scores.json").read_text("utf-8"))


@pytest.mark.parametrize("file", ["out.json", "out.tif", "labels.tif"])
def test_what_is_read_is_never_replaced(predicted: Path, refused: Refused, file: str) -> None:
    refused(
        *["evaluate", "out.tif", "labels.tif", "--json", file, "--overwrite"],
        says=[f"{file} would replace {file}"],
    )


def test_a_prediction_without_a_record_needs_a_label_map(work: Path, refused: Refused) -> None:
    refused("evaluate", "labels.tif", "labels.tif", says=["labels.tif", "--label-map"])


@pytest.mark.parametrize("text", ["", "[]", '{"phases": 3}', '{"images": []}'])
def test_another_json_beside_the_labels(
    work: Path, refused: Refused, call: Call, text: str
) -> None:
    Path("labels.json").write_text(text, "utf-8")
    refused(
        *["evaluate", "labels.tif", "labels.tif"],
        says=["labels.json is not a record of a prediction", "--label-map"],
    )
    assert call("evaluate", "labels.tif", "labels.tif", "--label-map", LABEL_MAP).exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing.tif", "labels.tif"], ["nothing.tif does not exist"]),
        (["labels.tif", "nothing.tif"], ["nothing.tif does not exist"]),
        (["labels.tif", "empty"], ["folder empty holds no images"]),
        (["labels.tif", "few.tif"], ["6 slices but few.tif has 4", "--label-slices"]),
        (["labels.tif", "images.tif"], ["images.tif", "labels are whole numbers"]),
        (["labels.tif", "odd.tif"], ["odd.tif, slice 1 hold label value 77, not in the label"]),
        (["odd.tif", "labels.tif"], ["odd.tif hold label value 77, not in the label map"]),
    ],
)
def test_labels_that_cannot_be_compared(
    refused: Refused, sample: Sample, words: list[str], says: list[str]
) -> None:
    Path("empty").mkdir()
    mp.save("few.tif", mp.Volume.from_array(sample.labels[:4], axes="zyx"))
    odd = sample.labels.copy()
    odd[1, 2, 3] = 77
    mp.save("odd.tif", mp.Volume.from_array(odd))
    refused("evaluate", *words, "--label-map", LABEL_MAP, says=says)


def test_a_label_map_without_a_predicted_phase(predicted: Path, refused: Refused) -> None:
    refused(
        *["evaluate", "out.tif", "labels.tif", "--label-map", "void=0,carbon=1,nickel=2"],
        says=["name the same phases", "void, carbon, nickel"],
    )


def test_pixels_that_the_prediction_ignores_do_not_count(
    predicted: Path, refused: Refused, call: Call, sample: Sample
) -> None:
    record = json.loads(Path("out.json").read_text("utf-8"))
    record["phases"]["ignore"] = 9
    Path("out.json").write_text(json.dumps(record), "utf-8")
    labels = mp.open("out.tif").to_array()
    counted = np.ones(labels.shape, bool)
    counted[:, :20] = False
    labels[~counted] = 9
    mp.save("out.tif", mp.Volume.from_array(labels), overwrite=True)
    right = 100 * np.mean((labels == sample.labels)[counted])
    for label_map in [LABEL_MAP, "nickel=2,carbon=1,pore=0"]:
        content = scores(call, "out.tif", "labels.tif", "--label-map", label_map)
        assert content["rows"]["out.tif"]["ACC"] == pytest.approx(right)
    mp.save("out.tif", mp.Volume.from_array(np.full_like(labels, 9)), overwrite=True)
    refused("evaluate", "out.tif", "labels.tif", says=["no pixel of labels.tif can be compared"])


def test_only_the_mask_counts(predicted: Path, call: Call, sample: Sample) -> None:
    mask = np.zeros(sample.labels.shape[1:], np.uint8)
    mask[10:30, 5:] = 1
    mp.save("mask.tif", mp.Volume.from_array(mask))
    right = (mp.open("out.tif").to_array() == sample.labels)[:, mask > 0]
    content = scores(call, "out.tif", "labels.tif", "--mask", "mask.tif")
    assert content["rows"]["out.tif"]["ACC"] == pytest.approx(100 * right.mean())


def test_labels_of_some_slices(predicted: Path, call: Call, sample: Sample) -> None:
    labels = mp.open("out.tif").to_array()
    for z in (4, 1):
        mp.save(f"label_{z:03}.png", mp.Volume.from_array(sample.labels[z]))
    right = 100 * np.mean((labels == sample.labels)[[1, 4]])
    chosen = ["label_001.png", "label_004.png", "--label-slices", "1,4"]
    assert scores(call, "out.tif", *chosen)["rows"]["out.tif"]["ACC"] == pytest.approx(right)
    every = scores(call, "out.tif", "labels.tif", "--label-slices", "1,4")
    assert every["rows"]["out.tif"]["ACC"] == pytest.approx(right)


def test_labels_are_paired_by_the_names_of_the_slices(
    work: Path, call: Call, model_folder: Path, sample: Sample
) -> None:
    Path("scan").mkdir()
    Path("known").mkdir()
    for z in range(6):
        mp.save(f"scan/s_{z:02}.tif", mp.Volume.from_array(sample.images[z]))
    for z in (1, 4):
        mp.save(f"known/label_{z}.png", mp.Volume.from_array(sample.labels[z]))
    assert call("predict", model_folder, "scan", "--out", "out.tif").exit_code == 0
    right = (mp.open("out.tif").to_array() == sample.labels)[[1, 4]]
    content = scores(call, "out.tif", "known")
    assert content["rows"]["out.tif"]["ACC"] == pytest.approx(100 * right.mean())


def test_maps_of_another_prediction(predicted: Path, refused: Refused, sample: Sample) -> None:
    mp.save("out_idk.tif", mp.Volume.from_array(sample.labels[:2]), overwrite=True)
    refused(
        *["evaluate", "out.tif", "labels.tif"],
        says=["out_idk.tif has shape (2, 48, 56)", "do not belong to one prediction"],
    )


def test_maps_that_are_gone_are_named(predicted: Path, call: Callable[..., Any]) -> None:
    for name in ("out_idk.tif", "out_entropy.tif"):
        Path(name).unlink()
    result = call("evaluate", "out.tif", "labels.tif", "--json", "scores.json")
    assert result.exit_code == 0
    assert (
        "not all is scored: out_entropy.tif, out_idk.tif are missing, which out.json"
        in result.stdout
    )
    content = json.loads(Path("scores.json").read_text("utf-8"))
    assert content["missing"] == ["out_entropy.tif", "out_idk.tif"]
    with pytest.warns(UserWarning, match=r"out_entropy\.tif, out_idk\.tif are missing"):
        found = mp.open_prediction("out.tif")
    assert [path.name for path in found.missing] == content["missing"]
    assert "are missing, which out.json lists" in repr(found)
    result = call("measure", "out.tif", "--groups", "fractions")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "out_entropy.tif, out_idk.tif are missing" in " ".join(result.stdout.split())


def test_probabilities_of_an_earlier_prediction_are_not_scored(
    predicted: Path, model_folder: Path, call: Callable[..., Any]
) -> None:
    words = ["predict", str(model_folder), "images.tif", "--out", "out.tif", "--overwrite"]
    assert call(*words, "--probabilities").exit_code == 0
    assert Path("out_probability_pore.tif").exists()
    assert scores(call, "out.tif", "labels.tif")["rows"]["out.tif"]["ECE"] is not None
    assert call(*words, "--seed", "9").exit_code == 0
    assert not Path("out_probability_pore.tif").exists()
    assert scores(call, "out.tif", "labels.tif")["rows"]["out.tif"]["ECE"] is None


def test_a_prediction_that_does_not_exist_is_named(refused: Refused) -> None:
    refused("evaluate", "nope.tif", "labels.tif", says=["nope.tif does not exist"])
