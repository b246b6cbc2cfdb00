"""Deferral on the command line: train and predict."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

import matphase as mp
from matphase.settings import Settings

Call = Callable[..., Any]
Refused = Callable[..., str]


def test_predict_says_and_writes_where_lcgar_has_answered(
    work: Path, call: Call, refused: Refused, tiny_settings: Settings
) -> None:
    settings = tiny_settings.updated({"idk": {"target": "gain"}, "lcgar": {"h": 7}})
    Path("mine.toml").write_text(tomli_w.dumps(settings.model_dump()), "utf-8")
    train = ["train", "--images", "images.tif", "--labels", "labels.tif", "--config", "mine.toml"]
    assert call(*train, "--label-map", "pore=0,carbon=1,nickel=2", "--out", "model").exit_code == 0
    predict = ["predict", "model", "images.tif", "--out", "out.tif"]
    Path("out_deferred.tif").write_text("mine", "utf-8")
    refused(*predict, says=["out_deferred.tif exists"])
    Path("out_deferred.tif").unlink()
    said = call(*predict)
    assert said.exit_code == 0
    deferred, idk = (mp.open(f"out_{name}.tif").to_array() != 0 for name in ("deferred", "idk"))
    assert not (deferred & ~idk).any()
    record = json.loads((work / "out.json").read_text("utf-8"))
    assert record["deferred_share"] == deferred.mean()
    assert f"{100 * deferred.mean():.2f} %" in said.stdout.split("decided by LCGAR")[1]
