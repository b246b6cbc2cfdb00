"""`--axes`, `--shape`, `--dtype`: files that do not say how they are stored, or say it wrongly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import matphase as mp
from matphase.cli.opening import Layout, label_layout, open_pair
from matphase.support.errors import InputError
from samples import Sample

MAP = "pore=0,carbon=1,nickel=2"


def test_slices_that_are_called_channels(
    work: Path, call: Callable[..., Any], refused: Callable[..., str], sample: Sample
) -> None:
    tifffile.imwrite("channels.tif", sample.images, imagej=True)
    refused("info", "channels.tif", says=["channels; save one", "or pass --axes zyx if they are"])
    result = call("info", "channels.tif", "--axes", "zyx", "--json", "-")
    facts = json.loads(result.stdout)
    assert (facts["axes"], facts["shape"]) == ("zyx", list(sample.images.shape))
    refused("info", "channels.tif", "--axes", "abc", says=["axes 'abc' are not known"])


def test_raw_data(
    work: Path, call: Callable[..., Any], refused: Callable[..., str], sample: Sample
) -> None:
    sample.labels.astype(np.uint8).tofile("labels.raw")
    shape = ",".join(map(str, sample.labels.shape))
    words = ["measure", "labels.raw", "--label-map", MAP, "--only", "fractions", "--json", "-"]
    refused(*words, says=["is raw data", "give --shape and --dtype"])
    refused(*words, "--shape", "3,x", "--dtype", "uint8", says=["--shape '3,x' is not a shape"])
    refused("info", "images.tif", "--shape", shape, "--dtype", "uint8", says=["are for raw data"])
    content = json.loads(call(*words, "--shape", shape, "--dtype", "uint8").stdout)
    assert content["about"]["shape"] == list(sample.labels.shape)
    assert content["properties"][0]["value"] == pytest.approx((sample.labels == 0).mean())


def test_measure_takes_axes_of_the_file_and_directions(
    work: Path, call: Callable[..., Any], sample: Sample
) -> None:
    np.save("turned.npy", sample.labels.T)
    result = call(
        "measure", "turned.npy", "--label-map", MAP, "--axes", "xyz", "--axis", "y",
        "--groups", "connectivity", "--json", "-",
    )  # fmt: skip
    content = json.loads(result.stdout)
    assert content["about"]["shape"] == list(sample.labels.shape)
    assert {one["axis"] for one in content["properties"]} == {"", "y"}


def test_predict_and_evaluate_read_what_they_are_told(
    work: Path, call: Callable[..., Any], model_folder: Path, sample: Sample
) -> None:
    sample.images.astype(sample.images.dtype.newbyteorder(">")).T.tofile("scan.raw")
    np.save("known.npy", sample.labels.T)
    shape = ",".join(map(str, sample.images.T.shape))
    dtype = f"{sample.images.dtype.name}be"
    done = call(
        "predict", model_folder, "scan.raw", "--out", "raw.tif", "--axes", "xyz",
        "--shape", shape, "--dtype", dtype,
    )  # fmt: skip
    assert (done.exit_code, done.stderr) == (0, "")
    assert call("predict", model_folder, "images.tif", "--out", "out.tif").exit_code == 0
    np.testing.assert_array_equal(mp.open("raw.tif"), mp.open("out.tif"))
    rows = [
        list(json.loads(call("evaluate", "out.tif", *words, "--json", "-").stdout)["rows"].values())
        for words in (["known.npy", "--axes", "xyz"], ["labels.tif"])
    ]
    assert rows[0] == rows[1]


def test_images_and_labels_may_be_stored_differently(work: Path, sample: Sample) -> None:
    sample.images.T.tofile("scan.raw")
    sample.labels.astype(np.uint8).tofile("labels.raw")
    shape = ",".join(map(str, sample.images.T.shape))
    images = Layout("xyz", shape, sample.images.dtype.name)
    for labels, layout in (
        ("labels.tif", label_layout(images, "zyx", None)),
        ("labels.raw", Layout("zyx", ",".join(map(str, sample.labels.shape)), "uint8")),
    ):
        grey, known = open_pair("scan.raw", labels, images, layout)
        np.testing.assert_array_equal(grey, sample.images)
        np.testing.assert_array_equal(known, sample.labels)
    both = label_layout(Layout("zyx", "5,4,4", "uint16"), None, "uint8")
    assert both == Layout("zyx", "5,4,4", "uint8")
    with pytest.raises(InputError, match="shape= and dtype= are for raw data"):
        open_pair("images.tif", "labels.tif", images, images)


def test_simulate_reads_labels_as_it_is_told(work: Path, sample: Sample) -> None:
    from matphase.cli.simulate import _given

    np.save("turned.npy", sample.labels.T)
    array, size = _given("turned.npy", "xyz", 0.2)
    np.testing.assert_array_equal(array, sample.labels)
    assert size == 0.2
