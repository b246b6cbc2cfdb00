"""The files of a prediction: names, records, and files that take their places."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

import matphase as mp
from matphase.images.phases import PhaseTable
from matphase.prediction.files import (
    check_places,
    layer_file,
    open_stored,
    record_file,
    recorded_files,
    working_folder,
)
from matphase.prediction.maps import KINDS, layers_of, written_layers
from matphase.prediction.prediction import Prediction
from matphase.support.errors import FormatError, InputError, OutputError
from matphase.support.files import replace

PHASES = PhaseTable.from_mapping({"pore": 0, "carbon": 128, "nickel": 255}, ignore=7)
ALWAYS = ("labels", "global_labels", "entropy", "idk")


def prediction_of(
    phases: PhaseTable = PHASES,
    voxel_size: float | None = 0.2,
    *,
    probabilities: bool = False,
    trusted: bool = False,
    samples: int = 0,
) -> Prediction:
    rng = np.random.default_rng(0)
    shape = (2, 32, 40)
    scores = rng.random((len(phases), *shape), np.float32)
    indices = scores.argmax(axis=0).astype(np.uint8)
    maps = {
        "labels": indices,
        "global_labels": indices[::-1],
        "entropy": rng.random(shape, np.float32),
        "idk": rng.random(shape) < 0.3,
    }
    if probabilities:
        maps["probabilities"] = scores / scores.sum(axis=0)
    if trusted:
        maps["trusted"] = rng.random(shape) < 0.6
    if samples:
        maps["samples"] = rng.integers(0, len(phases), (samples, *shape), np.uint8)
    volume = mp.Volume.from_array(
        np.zeros(shape),
        voxel_size=voxel_size,
        unit=None if voxel_size is None else "um",
        name="scan",
    )
    return Prediction(maps, phases, volume)


def named(labels: str, map_name: str) -> Path:
    (layer,) = layers_of(KINDS[map_name], PHASES, 0)
    return layer_file(Path(labels), layer)


@pytest.mark.parametrize(
    ("labels", "entropy", "record"),
    [
        ("out.tif", "out_entropy.tif", "out.json"),
        ("out.ome.tif", "out_entropy.ome.tif", "out.json"),
        ("a.b.OME.TIFF", "a.b_entropy.OME.TIFF", "a.b.json"),
        ("run.1.h5", "run.1_entropy.h5", "run.1.json"),
        ("out.ome.zarr", "out_entropy.ome.zarr", "out.json"),
        ("x/y.tif/out.hdf5", "x/y.tif/out_entropy.hdf5", "x/y.tif/out.json"),
        (".tif", "_entropy.tif", ".json"),
    ],
)
def test_names(labels: str, entropy: str, record: str) -> None:
    assert named(labels, "labels") == Path(labels)
    assert named(labels, "entropy") == Path(entropy)
    assert record_file(Path(labels)) == Path(record)


def test_each_map_has_a_file_of_its_own() -> None:
    names = [layer.name for layer in written_layers(KINDS, PHASES, 2)]
    assert names == [
        *("", "ugsm", "entropy", "idk", "trusted", "deferred", "mutual_information"),
        *("probability_pore", "probability_carbon", "probability_nickel"),
        *("sample_01", "sample_02"),
    ]


@pytest.mark.parametrize("name", ["out", "out.png", "out.zarr", "tif", "out.tif.gz"])
def test_a_kind_of_file_that_is_not_written(name: str) -> None:
    with pytest.raises(OutputError, match=rf"{name}: cannot write this kind of file; use one of"):
        record_file(Path(name))


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".h5", ".ome.zarr"])
@pytest.mark.parametrize("voxel_size", [0.2, None])
def test_files_hold_the_values_of_the_user(
    tmp_path: Path, suffix: str, voxel_size: float | None
) -> None:
    prediction = prediction_of(PHASES, voxel_size, probabilities=True)
    out = tmp_path / f"out{suffix}"
    prediction.save(out)
    assert set(recorded_files(out)) == set(tmp_path.iterdir())
    for name, array in {
        "": np.array([0, 128, 255])[prediction.indices],
        "_entropy": prediction.entropy,
        "_idk": prediction.idk,
        "_probability_carbon": prediction.probabilities[1],
    }.items():
        volume = mp.open(tmp_path / f"out{name}{suffix}")
        np.testing.assert_array_equal(volume.to_array(), array)
        assert volume.voxel_size == prediction.voxel_size
        assert volume.unit == prediction.unit
    assert open_stored(out).phases == PHASES


def test_a_later_prediction_leaves_no_map_of_an_earlier_one(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    prediction_of(trusted=True, samples=2).save(out)
    assert (tmp_path / "out_trusted.tif").exists()
    with pytest.raises(OutputError, match="exists"):
        prediction_of().save(out)
    prediction_of().save(out, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("out.tif", "out_ugsm.tif", "out_entropy.tif", "out_idk.tif", "out.json")
    }


def test_the_record_says_how_it_came_about(tmp_path: Path) -> None:
    prediction = prediction_of(trusted=True)
    prediction.save(tmp_path / "out.tif")
    record = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert record["matphase"] == mp.__version__
    assert record["volume"] == "scan"
    assert record["idk_share"] == pytest.approx(prediction.idk.mean())
    assert record["trusted_share"] == pytest.approx(np.mean(prediction.trusted))
    assert record["deferred_share"] is None
    assert sum(record["volume_fractions"].values()) == pytest.approx(1)


def test_names_of_phases_that_cannot_name_a_file(tmp_path: Path) -> None:
    phases = PhaseTable.from_names(["active/binder", "a\\b", "Ni µ"])
    out = tmp_path / "out.tif"
    prediction_of(phases, probabilities=True).save(out)
    assert len(list(tmp_path.glob("out_probability_*.tif"))) == 3
    np.testing.assert_array_equal(
        mp.open_prediction(out).probabilities,
        prediction_of(phases, probabilities=True).probabilities,
    )


def test_values_that_the_format_cannot_hold(tmp_path: Path) -> None:
    prediction = prediction_of(PhaseTable.from_mapping({"a": 0, "b": 2**40}))
    with pytest.raises(OutputError, match=r"out\.tif: TIFF readers do not take int64"):
        prediction.save(tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def test_a_prediction_is_not_saved_over_the_files_it_is_read_from(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    stored = prediction_of().save(out)
    with pytest.raises(OutputError, match="would replace"):
        stored.save(out, overwrite=True)
    np.testing.assert_array_equal(stored.indices, prediction_of().indices)


def test_an_unfinished_prediction_of_that_name_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    working_folder(out).mkdir()
    (working_folder(out) / "run.json").touch()
    with pytest.raises(OutputError, match="holds an unfinished prediction"):
        prediction_of().save(out)
    assert (working_folder(out) / "run.json").exists()


def test_saving_that_stops_half_way_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record comes last, and vouches for the other files."""
    out, left = tmp_path / "out.tif", [2]

    def failing(source: Path, target: Path, *_: object) -> None:
        if not left[0]:
            raise OSError("killed")
        left[0] -= 1
        replace(source, target)

    monkeypatch.setattr("matphase.prediction.files.replace", failing)
    with contextlib.suppress(OutputError):
        prediction_of().save(out)
    assert left == [0]
    assert not record_file(out).exists()


def test_places_are_checked_for_each_file(tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    layers = written_layers(ALWAYS, PHASES, 0)
    check_places(out, layers, overwrite=False)
    for path in (*(layer_file(out, layer) for layer in layers), record_file(out)):
        path.touch()
        with pytest.raises(OutputError, match=f"{path.name} exists"):
            check_places(out, layers, overwrite=False)
        if path == out:
            check_places(out, layers, overwrite=True)
        else:
            with pytest.raises(OutputError, match=f"{path.name} is not replaced"):
                check_places(out, layers, overwrite=True)
        with pytest.raises(OutputError, match=f"would replace .*{path.name}, which is an input"):
            check_places(out, layers, overwrite=True, sources=[path])
        path.unlink()
        path.mkdir()
        with pytest.raises(OutputError, match=f"{path.name} is a folder"):
            check_places(out, layers, overwrite=True)
        path.rmdir()


def test_zarr_maps_of_labels_say_so(tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    prediction_of(probabilities=True, trusted=True, samples=2).save(out)
    labelled = {
        path.name
        for path in tmp_path.glob("*.ome.zarr")
        if "image-label" in (path / "zarr.json").read_text("utf-8")
    }
    assert labelled == {
        f"out{name}.ome.zarr"
        for name in ("", "_ugsm", "_idk", "_trusted", "_sample_01", "_sample_02")
    }


def test_a_record_cannot_have_somebodys_folder_removed(tmp_path: Path) -> None:
    prediction, out = prediction_of(), tmp_path / "out.ome.zarr"
    prediction.save(out)
    for name in ("mine", "mine.ome.zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine", "utf-8")
    record = json.loads(record_file(out).read_text("utf-8"))
    record["files"] += ["mine", "mine.ome.zarr"]
    record_file(out).write_text(json.dumps(record), "utf-8")
    prediction.save(out, overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").exists()
    assert (tmp_path / "mine.ome.zarr" / "notes.txt").exists()
    with pytest.raises(OutputError, match=r"mine\.ome\.zarr is a folder"):
        check_places(tmp_path / "mine.ome.zarr", written_layers(ALWAYS, PHASES, 0), overwrite=True)
    assert (tmp_path / "mine.ome.zarr" / "notes.txt").exists()


@pytest.mark.parametrize("name", ["out.tif", "folder", "out.png"])
def test_nothing_to_open(tmp_path: Path, name: str) -> None:
    assert recorded_files(tmp_path / name) == []
    with pytest.raises(FormatError, match="does not exist"):
        open_stored(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b'{"phases": {}}', b"\xff"])
def test_a_record_that_is_none(tmp_path: Path, content: bytes) -> None:
    mp.save(tmp_path / "out.tif", mp.Volume.from_array(np.zeros((32, 32), np.uint8)))
    (tmp_path / "out.json").write_bytes(content)
    with pytest.raises(InputError, match=r"out\.json is not a record of a prediction"):
        open_stored(tmp_path / "out.tif")
    assert open_stored(tmp_path / "out.tif", PHASES).phases == PHASES


def test_labels_without_a_record_need_phases(tmp_path: Path) -> None:
    mp.save(tmp_path / "out.tif", mp.Volume.from_array(np.zeros((32, 32), np.uint8)))
    with pytest.raises(InputError, match=r"has no record; name its phases"):
        open_stored(tmp_path / "out.tif")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/etc/passwd", "../x.tif", "thesis.tif", "out_", "out_.tif", "OUT.tif", 5, None,
     "out_ugsm_.tif", "out_notes.tif", "out_sample_/../x.tif", "out_entropy.png", "out.json"],
)  # fmt: skip
def test_a_record_lists_only_what_a_prediction_can_write(tmp_path: Path, name: object) -> None:
    own = ["out.tif", "out_entropy.tif", "out_sample_01.tif", "out_probability_pore.tif"]
    (tmp_path / "out.json").write_text(json.dumps({"files": [name, *own]}), "utf-8")
    found = recorded_files(tmp_path / "out.tif")
    assert [path.name for path in found] == ["out.json", *own]
    assert {path.parent for path in found} == {tmp_path}
