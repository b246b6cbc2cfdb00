import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

import matphase as mp
from matphase.cli.reproduce import Target
from matphase.reproduce.table_rows import TARGETS
from matphase.settings import Settings
from samples import striped

Call = Callable[..., Any]
Refused = Callable[..., str]
OWN = ("--images", "images.tif", "--labels", "labels.tif", "--label-map")
NAMES = "pore=0,carbon=1,nickel=2"


def test_targets_are_those_that_can_be_made() -> None:
    assert {target.value for target in Target} == {*TARGETS, "all"}


@pytest.mark.slow
def test_a_table_of_ones_own_slices(work: Path, call: Call, tiny_settings: Settings) -> None:
    made = striped(12, 33, 34)
    mp.save("images.tif", mp.Volume.from_array(made.images), overwrite=True)
    mp.save("labels.tif", mp.Volume.from_array(made.labels), overwrite=True)
    few = tiny_settings.updated(
        {"ugsm": {"max_steps": 4, "samples": 2}, "data": {"local_images": 2}}
    )
    Path("few.toml").write_text(tomli_w.dumps(few.model_dump()), "utf-8")
    words = ("reproduce", "table1", "--preset", "quick", "--config", "few.toml", "--seeds", 1)
    first = call(*words, *OWN, NAMES, "--out", "tables")
    assert first.exit_code == 0, first.output
    assert "6 of 6 trials: " in first.stdout
    text = Path("tables/table1.md").read_text("utf-8")
    for row in ("UGSM", "MatPhase w/o HCL-USI", "MatPhase"):
        assert f"| {row} |" in text
    assert json.loads(Path("tables/table1.json").read_text("utf-8"))
    assert Path("tables/table1.csv").read_text("utf-8").count("\n") > 10
    again = call(*words, *OWN, NAMES, "--out", "tables")
    assert again.stdout.startswith("6 of 6 trials are done\nwritten: ")
    assert Path("tables/table1.md").read_text("utf-8") == text


def test_own_slices_need_labels_and_map(refused: Refused) -> None:
    refused("reproduce", "table1", "--images", "images.tif", says=["give all three"])


def test_too_few_slices(refused: Refused) -> None:
    refused("reproduce", "table1", *OWN, NAMES, says=["6 slices are too few"], new="reproduce")


def test_axes_of_own_slices(refused: Refused) -> None:
    """The axes that are given are those that are read: 6 slices along the third axis."""
    stack = mp.open("images.tif").to_array()
    np.save("turned.npy", stack.transpose(2, 1, 0))
    words = ("--images", "turned.npy", "--labels", "labels.tif", "--label-map", NAMES)
    turned = ("--axes", "xyz", "--label-axes", "zyx")
    refused("reproduce", "table1", *words, *turned, says=["6 slices are too few"], new="reproduce")


def test_results_of_other_conditions(work: Path, call: Call, refused: Refused) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("keep")
    words = ("reproduce", "table1", "--preset", "quick", "--out", "mine")
    refused(*words, says=["mine holds other files than results"])


def test_an_unknown_table_is_a_wrong_call(call: Call) -> None:
    assert call("reproduce", "table4").exit_code == 2


@pytest.mark.slow
def test_quick_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    """`reproduce table1 --preset quick` as the README has it: within ten minutes on two cores."""
    monkeypatch.chdir(tmp_path)
    result = call("reproduce", "table1", "--preset", "quick")
    assert result.exit_code == 0, result.output
    content = json.loads(Path("reproduce-quick/table1.json").read_text("utf-8"))
    assert [split["split"] for split in content["splits"]] == ["blocked", "paper"]
    for split in content["splits"]:
        for row in split["rows"]:
            assert row["seeds"] == [0, 1, 2]
            for truth in ("measured", "exact"):
                # better than one phase everywhere, and with a spread
                assert 0.3 < row["scores"][truth]["mIU"]["mean"] < 1
                assert row["scores"][truth]["mIU"]["sd"] > 0
