import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import matphase as mp
from matphase.images.phases import PhaseTable
from matphase.prediction.prediction import Prediction
from matphase.prediction.records import (
    _recorded_phases,
    beside,
    check_room,
    files_of,
    is_whole,
    map_file,
    open_prediction,
    probability_maps,
    probability_names,
    read_prediction,
    record,
    record_of,
    sample_names,
    take_places,
    tidy,
    trusted_map,
    working_folder,
    write_files,
)
from matphase.support.errors import InputError, OutputError
from matphase.support.files import replace


def prediction_of(phases: PhaseTable, voxel_size: float | None = 0.2) -> Prediction:
    rng = np.random.default_rng(0)
    shape = (2, 32, 40)
    scores = rng.random((len(phases), *shape), np.float32)
    indices = scores.argmax(axis=0).astype(np.uint8)
    return Prediction(
        labels=phases.decode(indices),
        probabilities=scores / scores.sum(axis=0),
        entropy=rng.random(shape, np.float32),
        idk=rng.random(shape) < 0.3,
        idk_score=rng.random(shape, np.float32),
        global_labels=phases.decode(indices),
        global_probabilities=scores / scores.sum(axis=0),
        mutual_information=None,
        phases=phases,
        volume=mp.Volume.from_array(
            np.zeros(shape),
            voxel_size=voxel_size,
            unit=None if voxel_size is None else "um",
            name="scan",
        ),
    )


def save_prediction(
    prediction: Prediction, labels: Path, seconds: float = 1, *, probabilities: bool = False
) -> list[Path]:
    """Write a prediction as the prediction of a volume does, in place of an earlier one."""
    maps = {
        "labels": prediction.labels,
        "ugsm": prediction.global_labels,
        "entropy": prediction.entropy,
        "idk": prediction.idk.astype(np.uint8),
    }
    if probabilities:
        names = probability_names(prediction.phases)
        maps.update(zip(names, prediction.probabilities, strict=True))
    trusted, samples = prediction.trusted, prediction.samples
    if trusted is not None:
        maps["trusted"] = trusted.astype(np.uint8)
    if samples is not None:
        maps.update(zip(sample_names(len(samples)), samples, strict=True))
    content = record(
        model=Path("some/model"),
        volume=prediction.volume.name,
        phases=prediction.phases,
        volume_fractions=prediction.volume_fractions(),
        idk_share=float(prediction.idk.mean()),
        trusted_share=None if trusted is None else float(trusted.mean()),
        deferred_share=None,
        validation=prediction.validation,
        files=[map_file(labels, name) for name in maps],
        seconds=seconds,
    )
    volumes = {name: prediction.volume.with_array(array) for name, array in maps.items()}
    write_files(labels, volumes, content)
    written, _ = take_places(labels)
    tidy(labels)
    return written


PHASES = PhaseTable.from_mapping({"pore": 0, "carbon": 128, "nickel": 255}, ignore=7)


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
    assert beside(Path(labels), "entropy") == Path(entropy)
    assert record_of(Path(labels)) == Path(record)
    assert set(map(str, files_of(Path(labels)))) >= {labels, entropy, record}


@pytest.mark.parametrize("name", ["out", "out.png", "out.zarr", "tif", "out.tif.gz"])
def test_a_kind_of_file_that_is_not_written(name: str) -> None:
    with pytest.raises(OutputError, match=rf"{name}: cannot write this kind of file; use one of"):
        files_of(Path(name))


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".h5", ".ome.zarr"])
@pytest.mark.parametrize("voxel_size", [0.2, None])
def test_a_prediction_comes_back(tmp_path: Path, suffix: str, voxel_size: float | None) -> None:
    prediction = prediction_of(PHASES, voxel_size)
    out = tmp_path / f"out{suffix}"
    written = save_prediction(prediction, out, probabilities=True)
    assert set(written) == set(tmp_path.iterdir())
    arrays = {
        out: prediction.labels,
        beside(out, "entropy"): prediction.entropy,
        beside(out, "idk"): prediction.idk,
        beside(out, "probability_carbon"): prediction.probabilities[1],
    }
    for path, array in arrays.items():
        volume = mp.open(path)
        np.testing.assert_array_equal(volume.to_array(), array)
        assert volume.voxel_size == prediction.volume.voxel_size
        assert volume.unit == prediction.volume.unit
    assert _recorded_phases(out) == PHASES


def test_trusted_pixels_come_back_where_there_are_any(tmp_path: Path) -> None:
    plain, out = prediction_of(PHASES), tmp_path / "out.tif"
    trusted = np.random.default_rng(1).random(plain.labels.shape) < 0.6
    marked = dataclasses.replace(plain, trusted=trusted)
    written = save_prediction(marked, out)
    assert trusted_map(out) in written
    stored = read_prediction(out, None)
    assert stored.trusted is not None
    np.testing.assert_array_equal(stored.trusted, trusted)
    record = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert record["trusted_share"] == pytest.approx(trusted.mean())
    # a prediction without a promise leaves no mask of an earlier one
    save_prediction(plain, out)
    assert not trusted_map(out).exists()
    assert read_prediction(out, None).trusted is None


def test_the_record_says_how_it_came_about(tmp_path: Path) -> None:
    prediction = prediction_of(PHASES)
    save_prediction(prediction, tmp_path / "out.tif", seconds=1.234)
    record = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert record["matphase"] == mp.__version__
    assert record["model"] == str(Path("some/model"))
    assert record["volume"] == "scan"
    assert record["seconds"] == 1.23
    assert record["idk_share"] == pytest.approx(prediction.idk.mean())
    assert sum(record["volume_fractions"].values()) == pytest.approx(1)


def test_names_of_phases_that_cannot_name_a_file(tmp_path: Path) -> None:
    phases = PhaseTable.from_names(["active/binder", "a\\b", "Ni µ"])
    out = tmp_path / "out.tif"
    save_prediction(prediction_of(phases), out, probabilities=True)
    maps = probability_maps(out, phases)
    assert len(set(maps)) == 3
    assert all(path.parent == tmp_path and path.exists() for path in maps)


def test_values_that_the_format_cannot_hold(tmp_path: Path) -> None:
    prediction = prediction_of(PhaseTable.from_mapping({"a": 0, "b": 2**40}))
    out = tmp_path / "out.tif"
    with pytest.raises(OutputError, match=r"^out\.tif: TIFF readers do not take int64"):
        save_prediction(prediction, out)
    assert {path.name for path in tmp_path.iterdir()} == {working_folder(out).name}
    assert not is_whole(out)


def test_files_take_their_places_in_any_number_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill in between leaves is completed by another call."""
    out, probabilities = tmp_path / "out.tif", True
    save_prediction(prediction_of(PHASES), out, probabilities=probabilities)
    expected = contents(tmp_path)
    for moved in range(len(expected)):
        folder = tmp_path / str(moved)
        out = folder / "out.tif"
        left = [moved]

        def failing(source: Path, target: Path, left: list[int] = left) -> None:
            if not left[0]:
                raise OSError("killed")
            left[0] -= 1
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr("matphase.prediction.records.replace", failing)
            with contextlib.suppress(OSError):
                save_prediction(prediction_of(PHASES), out, probabilities=probabilities)
        if moved < len(expected) - 1:
            assert is_whole(out)
            take_places(out)
            tidy(out)
        found = contents(folder)
        assert found.keys() == expected.keys()
        for name in expected.keys() - {"out.json"}:
            assert found[name] == expected[name]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_room_is_checked_for_each_file(tmp_path: Path) -> None:
    files = files_of(tmp_path / "out.tif")
    check_room(files, overwrite=False)
    for path in files:
        path.touch()
        with pytest.raises(OutputError, match=f"{path.name} exists"):
            check_room(files, overwrite=False)
        check_room(files, overwrite=True)
        path.unlink()
        path.mkdir()
        with pytest.raises(OutputError, match=f"{path.name} is a folder"):
            check_room(files, overwrite=True)
        path.rmdir()


def test_zarr_maps_come_back_as_a_prediction(tmp_path: Path) -> None:
    plain, out = prediction_of(PHASES), tmp_path / "out.ome.zarr"
    samples = np.stack([plain.labels, np.full_like(plain.labels, 128)])
    trusted = plain.entropy < 0.5
    full = dataclasses.replace(plain, trusted=trusted, samples=samples)
    written = save_prediction(full, out, probabilities=True)
    assert set(written) == set(tmp_path.iterdir())
    stored = read_prediction(out, None)
    for found, expected in (
        (stored.labels, PHASES.encode(plain.labels)),
        (stored.global_labels, PHASES.encode(plain.global_labels)),
        (stored.entropy, plain.entropy),
        (stored.idk, plain.idk),
        (stored.trusted, trusted),
        (stored.probabilities, plain.probabilities.swapaxes(0, 1)),
    ):
        assert found is not None
        np.testing.assert_array_equal(found, expected)
    opened = open_prediction(out)
    assert opened is not None
    assert opened.labels.voxel_size == plain.volume.voxel_size
    for one, expected in zip(opened.samples, samples, strict=True):
        np.testing.assert_array_equal(one.to_array(), expected)
    labelled = {path.name for path in written if path.is_dir() and "image-label" in zarr_text(path)}
    assert labelled == {
        f"out{name}.ome.zarr"
        for name in ("", "_ugsm", "_idk", "_trusted", "_sample_01", "_sample_02")
    }
    # a later prediction has fewer maps, and leaves none of this one
    save_prediction(plain, out)
    assert set(files_of(out)) == set(tmp_path.iterdir())


def zarr_text(path: Path) -> str:
    return (path / "zarr.json").read_text("utf-8")


def test_a_record_cannot_have_somebodys_folder_removed(tmp_path: Path) -> None:
    prediction, out = prediction_of(PHASES), tmp_path / "out.ome.zarr"
    save_prediction(prediction, out)
    for name in ("mine", "mine.ome.zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine", "utf-8")
    record = json.loads(record_of(out).read_text("utf-8"))
    record["files"] += ["mine", "mine.ome.zarr"]
    record_of(out).write_text(json.dumps(record), "utf-8")
    save_prediction(prediction, out)
    assert (tmp_path / "mine" / "notes.txt").exists()
    assert (tmp_path / "mine.ome.zarr" / "notes.txt").exists()
    with pytest.raises(OutputError, match=r"mine\.ome\.zarr is a folder"):
        check_room([tmp_path / "mine.ome.zarr"], overwrite=True)
    assert (tmp_path / "mine.ome.zarr" / "notes.txt").exists()


def test_a_zarr_prediction_can_be_measured(tmp_path: Path) -> None:
    prediction, out = prediction_of(PHASES), tmp_path / "out.ome.zarr"
    save_prediction(prediction, out)
    found = mp.measure(out, groups=["fractions"])
    assert found["volume_fraction", "carbon"].value == pytest.approx(
        (prediction.labels == 128).mean()
    )


def test_no_record(tmp_path: Path) -> None:
    for name in ("out.tif", "folder", "out.png"):
        assert _recorded_phases(tmp_path / name) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b'{"phases": {}}', b"\xff"])
def test_a_record_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "out.json").write_bytes(content)
    with pytest.raises(InputError, match=r"out\.json is not a record of a prediction"):
        _recorded_phases(tmp_path / "out.tif")
