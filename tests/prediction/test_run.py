"""Predictions into files: what comes out, what is kept after a kill, and what is refused."""

import itertools
import json
import os
import pickle
import pkgutil
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from power import watched_disk

import matphase as mp
from matphase.images.formats.ome_zarr_levels import chunks_within
from matphase.images.grey_scale import IntensityScale
from matphase.images.mask import masked, region_of
from matphase.images.phases import PhaseTable
from matphase.method.calibrator import Calibrator
from matphase.method.model import Model
from matphase.method.model_folder import read, write
from matphase.method.ugsm import segmenter_of
from matphase.networks import registry
from matphase.prediction import files, run
from matphase.prediction.blocks import blocks_of, task_of
from matphase.prediction.maps import written_layers
from matphase.settings import Settings
from matphase.support.errors import Interrupted, OutputError
from matphase.support.progress import Silent
from samples import striped

SMALL = 5 * 10**6
"""Memory for blocks that are rectangles of the volume below."""


@pytest.fixture(scope="module")
def volume() -> mp.Volume:
    images = striped(2, 121, 133).images
    return mp.Volume.from_array(images, voxel_size=(0.4, 0.2, 0.2), unit="um", name="scan")


def random_model(folder: Path, seed: int) -> Path:
    """A model folder with random weights and no local network, which takes most of the time."""
    settings = Settings.from_mapping(
        {"model": "ugsm", "ugsm": {"width": 4, "depth": 2, "samples": 2, "dropout": 0.2}}
    )
    torch.manual_seed(seed)
    network = registry.segmenter("mcd_unet", 1, 3, settings.ugsm)
    phases = PhaseTable.from_names(["pore", "carbon", "nickel"])
    scale, segmenter = IntensityScale(-10, 90), segmenter_of(network, 3, settings)
    write(Model(settings, phases, scale, 0, segmenter, None, Calibrator(), {}), folder)
    return folder


@pytest.fixture(scope="module")
def quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("models") / "random", seed=0)


def predicted(
    folder: Path,
    volume: mp.Volume,
    out: Path,
    *,
    memory: int = SMALL,
    seed: int = 0,
    keep_samples: bool = False,
    tta: bool | None = None,
    probabilities: bool = False,
    restart: bool = False,
    reporter: Any = None,
    crew: run.Crew | None = None,
) -> dict[str, Any]:
    model = read(folder)
    task = task_of(model, volume, memory=memory, seed=seed, keep_samples=keep_samples, tta=tta)
    result = run.predict_to_files(
        model,
        volume,
        task,
        out,
        folder=folder,
        probabilities=probabilities,
        restart=restart,
        crew=crew,
        reporter=reporter or Silent(),
    )
    assert set(files.recorded_files(out)) <= set(out.parent.iterdir())
    return dict(result.record)


@pytest.fixture(scope="module")
def undisturbed(
    quick_folder: Path, volume: mp.Volume, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out.tif"
    predicted(quick_folder, volume, out)
    return contents(out.parent)


def contents(folder: Path) -> dict[str, bytes]:
    """All files, hidden ones too; of the record what does not tell of times."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    record = json.loads(found.pop("out.json"))
    kept = {name: record[name] for name in ("files", "volume_fractions", "idk_share", "phases")}
    return {**found, "out.json": json.dumps(kept).encode()}


# --- what comes out -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tif", ".h5", ".ome.zarr"])
def test_files_hold_what_a_prediction_in_memory_holds(
    quick_folder: Path, model_folder: Path, volume: mp.Volume, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    folder = quick_folder
    if suffix == ".h5":  # a model with a local network, which takes its time
        folder = model_folder
        volume = mp.Volume.from_array(volume[:1], "zyx", volume.voxel_size, volume.unit)
    record = predicted(folder, volume, out, keep_samples=True, probabilities=True)
    expected = mp.load(folder).predict(volume, keep_samples=True)
    stored = mp.open_prediction(out)
    for name in stored.maps:
        np.testing.assert_allclose(
            np.asarray(getattr(stored, name)), getattr(expected, name), atol=1e-5, err_msg=name
        )
    assert "samples" in stored.maps
    assert "probabilities" in stored.maps
    assert (stored.voxel_size, stored.unit) == (volume.voxel_size, "um")
    assert record["volume_fractions"] == expected.volume_fractions()
    assert record["idk_share"] == expected.idk.mean()
    assert not list(tmp_path.glob(".*"))


def test_a_slice_gives_a_slice(quick_folder: Path, volume: mp.Volume, tmp_path: Path) -> None:
    plane = mp.Volume.from_array(volume.to_array()[0])
    predicted(quick_folder, plane, tmp_path / "out.h5")
    stored = mp.open(tmp_path / "out.h5")
    assert (stored.axes, stored.shape) == ("yx", (121, 133))
    np.testing.assert_array_equal(stored.to_array(), mp.load(quick_folder).predict(plane).labels)


def test_what_a_block_takes_can_be_pickled(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path
) -> None:
    """So that it can be computed by another process."""
    mp.save(tmp_path / "scan.h5", volume)
    opened, model = mp.open(tmp_path / "scan.h5"), read(quick_folder)
    task = task_of(model, opened, memory=SMALL)
    block = blocks_of(model, opened, task)[-1]
    again = pickle.loads(pickle.dumps((opened, block, task)))
    there, block, task = again
    one, other = (
        run.block_maps(model, run.block_images(model, of, block, task), block, task)
        for of in (opened, there)
    )
    np.testing.assert_array_equal(one["labels"], other["labels"])


# --- stopping and going on ------------------------------------------------------------------------


class Counting(Silent):
    """A reporter that counts predicted voxels and stops the work after some blocks."""

    def __init__(self, stop_after: int = -1) -> None:
        self.blocks = self.voxels = self.total = self.done = 0
        self._stop_after = stop_after
        self._title = ""

    def start(self, title: str, total: int, done: int = 0) -> None:
        self.total, self.done, self._title = total, done, title

    def advance(self, steps: int = 1, note: str = "") -> None:
        if self._title != "predict":
            return
        self.blocks += 1
        self.voxels += steps
        if self.blocks == self._stop_after:
            raise KeyboardInterrupt


def test_a_stopped_prediction_goes_on_with_what_is_not_finished(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out, first, second = tmp_path / "out.tif", Counting(stop_after=3), Counting()
    with pytest.raises(Interrupted, match=r"stopped; finished blocks are kept in .*\.out\.tif"):
        predicted(quick_folder, volume, out, reporter=first)
    assert not out.exists()
    assert first.total == second.total + 2 * 121 * 133
    predicted(quick_folder, volume, out, reporter=second)
    assert second.done == first.voxels > 0
    assert second.done + second.voxels == second.total
    assert contents(tmp_path) == undisturbed


def test_nothing_is_left_where_no_block_was_finished(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "block_maps", stop)
    with pytest.raises(Interrupted, match="stopped; nothing was written"):
        predicted(quick_folder, volume, tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []


def stopped(quick_folder: Path, volume: mp.Volume, out: Path, **options: Any) -> Path:
    """A prediction that was stopped after three blocks; its working folder."""
    with pytest.raises(Interrupted):
        predicted(quick_folder, volume, out, reporter=Counting(stop_after=3), **options)
    return files.working_folder(out)


def test_a_block_that_was_damaged_is_predicted_again(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "out.tif"
    work = stopped(quick_folder, volume, out)
    kept = Counting()
    (maps,) = work.glob("maps-*")
    chunks = (maps / "entropy.ome.zarr" / "0" / "c").rglob("*")
    chunk = min(path for path in chunks if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-20])
    note = max((maps / "blocks").glob("*.json"))
    note.write_text("{", "utf-8")
    predicted(quick_folder, volume, out, reporter=kept)
    assert kept.done < kept.total
    assert kept.blocks == 2 + len(list_of_blocks(quick_folder, volume)) - 3
    assert contents(tmp_path) == undisturbed


@pytest.mark.parametrize("when", ["half way", "when all but the names is done"])
def test_what_changed_in_the_volume_is_predicted_again(
    quick_folder: Path,
    volume: mp.Volume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    """Whatever of it changed: a single voxel will do."""
    first, second = tmp_path / "first" / "out.tif", tmp_path / "second" / "out.tif"
    if when == "half way":
        stopped(quick_folder, volume, first)
    else:

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(run, "publish", stop)
            with pytest.raises(Interrupted):
                predicted(quick_folder, volume, first)
    grey = volume.to_array().copy()
    grey[0, 5, 5] += 40
    changed = mp.Volume.from_array(grey, voxel_size=(0.4, 0.2, 0.2), unit="um", name="scan")
    again = Counting()
    predicted(quick_folder, changed, first, reporter=again)
    predicted(quick_folder, changed, second)
    assert 0 < again.done < again.total
    assert contents(first.parent) == contents(second.parent)


def test_outside_of_a_mask_is_ignored_and_not_counted(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path
) -> None:
    grey, model = masked(volume, "circle"), mp.load(quick_folder)
    record = predicted(quick_folder, grey, tmp_path / "out.tif", keep_samples=True)
    inside = region_of("circle", volume).to_array()
    stored, in_memory = (
        mp.open_prediction(tmp_path / "out.tif"),
        model.predict(volume, mask="circle"),
    )
    copy = in_memory.save(tmp_path / "copy.tif")
    assert (record["mask"], record["outside_share"]) == ("mask 'circle'", 1 - inside.mean())
    assert copy.record["outside_share"] == pytest.approx(1 - inside.mean())
    plain = model.predict(volume)
    assert (plain.phases, plain.phases.ignore) == (model.phases, None)
    for result in (stored, in_memory, copy):
        assert result.phases.ignore == 255
        labels, entropy = np.asarray(result.labels), np.asarray(result.entropy)
        assert (labels[~inside] == 255).all()
        assert np.isnan(entropy[~inside]).all()
        assert not np.asarray(result.idk)[~inside].any()
        counts = np.bincount(labels[inside], minlength=3)
        assert list(result.volume_fractions().values()) == pytest.approx(counts / inside.sum())
        result.plot()
    assert (np.asarray(stored.samples)[:, ~inside] == 255).all()


def test_nan_is_outside_whatever_the_mask(quick_folder: Path, volume: mp.Volume) -> None:
    grey = volume.to_array().copy()
    grey[0, :30] = np.nan
    result = mp.load(quick_folder).predict(mp.Volume.from_array(grey), mask="circle")
    inside = region_of("circle", volume).to_array() & ~np.isnan(grey)
    np.testing.assert_array_equal(result.labels == 255, ~inside)


def test_a_stopped_prediction_goes_on_with_the_same_mask_only(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path
) -> None:
    mask = np.zeros((121, 133), np.uint8)
    mask[:, :99] = 1
    first, second = tmp_path / "first" / "out.tif", tmp_path / "second" / "out.tif"
    predicted(quick_folder, masked(volume, mask), second)
    stopped(quick_folder, masked(volume, mask), first)
    other = mask.copy()
    other[50, 50] = 0
    for grey in (masked(volume, other), masked(volume, "circle"), volume):
        with pytest.raises(OutputError, match="unfinished prediction with another mask"):
            predicted(quick_folder, grey, first)
    again = Counting()
    predicted(quick_folder, masked(volume, mask.copy()), first, reporter=again)
    assert again.done > 0
    assert again.blocks == len(list_of_blocks(quick_folder, volume)) - 3
    assert contents(first.parent) == contents(second.parent)


def test_a_process_whose_place_another_took_writes_nothing_more(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path
) -> None:
    """As a worker may that was still at a block when its run was stopped."""
    out = tmp_path / "out.tif"
    late: list[run.Job] = []

    def crew(job: run.Job, todo: Any) -> Any:
        late.append(job)
        return run.one_by_one(read(quick_folder))(job, todo)

    stopped(quick_folder, volume, out, crew=crew)
    stopped(quick_folder, volume, out, seed=1, restart=True)
    model, first = read(quick_folder), list_of_blocks(quick_folder, volume)[0]
    expected = tmp_path / "expected.tif"
    predicted(quick_folder, volume, expected, seed=1)
    with pytest.raises(OutputError, match="taken over by another prediction of that name"):
        run.predict_block(model, late[0], first)
    # also one that had opened the maps before
    again: list[run.Job] = []

    def opened(job: run.Job, todo: Any) -> Any:
        again.append(job)
        yield first, run.predict_block(model, job, first)
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        predicted(quick_folder, volume, out, restart=True, crew=opened)
    stopped(quick_folder, volume, out, seed=1, restart=True)
    with pytest.raises(OutputError, match="taken over by another prediction of that name"):
        run.predict_block(model, again[0], first)
    predicted(quick_folder, volume, out, seed=1)
    assert out.read_bytes() == expected.read_bytes()


def list_of_blocks(quick_folder: Path, volume: mp.Volume) -> list[Any]:
    model = read(quick_folder)
    return blocks_of(model, volume, task_of(model, volume, memory=SMALL))


def test_an_unfinished_prediction_of_something_else_is_refused(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path
) -> None:
    out = tmp_path / "out.tif"
    work = stopped(quick_folder, volume, out)
    before = sorted(path.name for path in work.rglob("*"))
    coarser = mp.Volume.from_array(volume.to_array(), voxel_size=0.3, unit="um")
    other = random_model(tmp_path / "other model", seed=1)
    for says, call in {
        "another seed;": lambda: predicted(quick_folder, volume, out, seed=1),
        "another memory limit": lambda: predicted(quick_folder, volume, out, memory=10**7),
        "another choice of flips and turns": lambda: predicted(quick_folder, volume, out, tta=True),
        "another set of maps": lambda: predicted(quick_folder, volume, out, probabilities=True),
        "another voxel size": lambda: predicted(quick_folder, coarser, out),
        "another model": lambda: predicted(other, volume, out),
    }.items():
        with pytest.raises(OutputError, match=rf"{says}.*restart=True"):
            call()
    assert sorted(path.name for path in work.rglob("*")) == before
    predicted(quick_folder, volume, out, seed=1, restart=True)
    assert not work.exists()


def test_a_folder_that_was_killed_before_it_began_is_no_hindrance(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    work = stopped(quick_folder, volume, tmp_path / "out.tif")
    (work / "run.json").unlink()
    predicted(quick_folder, volume, tmp_path / "out.tif")
    assert contents(tmp_path) == undisturbed


def test_room_on_the_disk_is_seen_to_before_the_start(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    model = read(quick_folder)
    layers = written_layers(["labels", "global_labels", "entropy", "idk"], model.phases, 0)
    needed = run.disk_bytes(layers, model, volume.shape, pyramid=False)
    assert needed == 2 * 2 * 121 * 133 * (1 + 1 + 4 + 1)
    assert run.disk_bytes(layers, model, volume.shape, pyramid=True) == needed * 4 // 7
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(OutputError, match=r"needs up to .* GB of disk .* free some space"):
        predicted(quick_folder, volume, tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    predicted(quick_folder, volume, tmp_path / "out.tif")


def test_files_that_went_while_they_took_their_places_are_written_again(
    quick_folder: Path,
    volume: mp.Volume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: dict[str, bytes],
) -> None:
    out, moved = tmp_path / "out.tif", []
    replace = files.replace

    def stopping(source: Path, target: Path, *_: object) -> None:
        if len(moved) == 2:
            raise KeyboardInterrupt
        replace(source, target)
        moved.append(target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", stopping)
        with pytest.raises(Interrupted):
            predicted(quick_folder, volume, out)
    for path in moved:
        path.unlink()
    predicted(quick_folder, volume, out)
    assert contents(tmp_path) == undisturbed


def test_a_scale_that_changed_begins_anew_by_itself(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path
) -> None:
    """What the networks would see is another, so no block is kept."""
    out, again = tmp_path / "out.tif", Counting()
    stopped(quick_folder, volume, out)
    brighter = mp.Volume.from_array(
        volume.to_array() + 1, voxel_size=(0.4, 0.2, 0.2), unit="um", name="scan"
    )
    predicted(quick_folder, brighter, out, reporter=again)
    assert again.done == 0


# --- damage, and power cuts -----------------------------------------------------------------------


def stopped_when_ready(quick_folder: Path, volume: mp.Volume, out: Path) -> Path:
    """A prediction that was stopped when only the names were missing; its working folder."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "publish", stop)
        with pytest.raises(Interrupted):
            predicted(quick_folder, volume, out)
    return files.working_folder(out)


DAMAGE = {
    "empty": b"",
    "cut": b'{"files": ["ou',
    "another type": b"[]",
    "null": b"null",
    "wrong values": b'{"files": [3, null], "checksums": 1, "zarr_format": "x", "shape": [0]}',
    "no text": b"\xff\x00\xfe",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
@pytest.mark.parametrize("stage", ["half way", "ready"])
def test_what_cannot_be_read_of_an_unfinished_prediction_is_not_finished(
    quick_folder: Path,
    volume: mp.Volume,
    tmp_path: Path,
    undisturbed_by_suffix: dict[str, dict[str, bytes]],
    stage: str,
    suffix: str,
) -> None:
    """Each JSON file of the working folder in turn, and all at once; with restart and without."""
    begin = stopped if stage == "half way" else stopped_when_ready
    expected = undisturbed_by_suffix[suffix]
    first = tmp_path / "first" / f"out{suffix}"
    work = begin(quick_folder, volume, first)
    found = sorted(path.relative_to(work) for path in work.rglob("*.json"))
    kinds: dict[str, list[Path]] = {}
    for path in found:
        kinds.setdefault(path.name if "blocks" not in path.parts else "note", []).append(path)
    assert {"run.json", "zarr.json", "note"} <= kinds.keys()
    damage = itertools.cycle(DAMAGE.values())
    for number, chosen in enumerate([*kinds.values(), found]):
        for restart in (False, True):
            out = tmp_path / f"{number}{restart}" / f"out{suffix}"
            shutil.copytree(first.parent, out.parent)
            for path in chosen:
                (files.working_folder(out) / path).write_bytes(next(damage))
            predicted(quick_folder, volume, out, restart=restart)
            assert contents(out.parent) == expected, chosen[0]
            shutil.rmtree(out.parent)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", ["run.json", "record.json", "maps-0", "", "files"])
def test_something_else_in_place_of_a_part_of_an_unfinished_prediction(
    quick_folder: Path,
    volume: mp.Volume,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    name: str,
    restart: bool,
) -> None:
    out = tmp_path / "out.tif"
    work = stopped_when_ready(quick_folder, volume, out)
    place = work / name
    if name.endswith("json"):
        place.unlink()
        place.mkdir()
    elif name == "maps-0":
        (maps,) = work.glob("maps-*")
        shutil.rmtree(maps)
        maps.write_bytes(b"?")
    else:
        shutil.rmtree(place)
        place.write_bytes(b"?")
    predicted(quick_folder, volume, out, restart=restart)
    assert contents(tmp_path) == undisturbed


@pytest.mark.parametrize(
    ("suffix", "last"),
    [
        (".tif", 3),
        (".ome.zarr", None),
        pytest.param(".tif", None, marks=pytest.mark.slow),
        pytest.param(".ome.zarr", 3, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("matphase.prediction.store.write_json", 4),
        ("matphase.prediction.run.write_record", 1),
        ("matphase.prediction.run.publish", 1),
        ("matphase.prediction.files.replace", 2),
        ("matphase.prediction.run.remove_working_folder", 1),
    ],
)
def test_a_power_cut_costs_only_time(
    quick_folder: Path,
    volume: mp.Volume,
    tmp_path: Path,
    undisturbed_by_suffix: dict[str, dict[str, bytes]],
    where: str,
    call: int,
    last: int | None,
    suffix: str,
) -> None:
    """Whatever was not on the disk when it came, all of it or what was written last."""
    out, calls = tmp_path / f"out{suffix}", []
    real = pkgutil.resolve_name(where)

    def cutting(*args: Any, **kwargs: Any) -> Any:
        calls.append(where)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    holder, name = where.rsplit(".", 1)
    with watched_disk(tmp_path) as disk, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pkgutil.resolve_name(holder), name, cutting)
        with pytest.raises(Interrupted):
            predicted(quick_folder, volume, out)
        if name == "write_json":
            assert disk.lost(tmp_path), "blocks are not put on the disk one by one"
        disk.cut(tmp_path, last)
    predicted(quick_folder, volume, out)
    assert contents(tmp_path) == undisturbed_by_suffix[suffix]


# --- OME-Zarr, which is written where it will lie -------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed_zarr(
    quick_folder: Path, volume: mp.Volume, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out.ome.zarr"
    predicted(quick_folder, volume, out)
    return contents(out.parent)


@pytest.fixture(scope="module")
def undisturbed_by_suffix(
    undisturbed: dict[str, bytes], undisturbed_zarr: dict[str, bytes]
) -> dict[str, dict[str, bytes]]:
    return {".tif": undisturbed, ".ome.zarr": undisturbed_zarr}


def test_an_ome_zarr_is_what_saving_the_whole_volume_gives(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path
) -> None:
    """All levels of the pyramid, although blocks wrote the finest."""
    tall = mp.Volume.from_array(
        np.tile(volume.to_array(), (1, 3, 1)), voxel_size=(0.4, 0.2, 0.2), unit="um", name="scan"
    )
    predicted(quick_folder, tall, tmp_path / "out.ome.zarr")
    mp.load(quick_folder).predict(tall).save(tmp_path / "whole.ome.zarr")
    for name in ("", "_entropy"):
        one, other = (
            zarr.open_group(tmp_path / f"{stem}{name}.ome.zarr", mode="r")
            for stem in ("out", "whole")
        )
        assert sorted(one.array_keys()) == sorted(other.array_keys()) == ["0", "1"]
        for level in ("0", "1"):
            np.testing.assert_allclose(one[level][...], other[level][...], atol=1e-5)
        first, second = (dict(group.attrs["ome"]) for group in (one, other))
        for metadata in (first, second):
            metadata["multiscales"][0].pop("name")
        assert first == second


def test_each_chunk_has_one_writer(quick_folder: Path, volume: mp.Volume, tmp_path: Path) -> None:
    stopped(quick_folder, volume, tmp_path / "out.ome.zarr")
    (maps,) = files.working_folder(tmp_path / "out.ome.zarr").glob("maps-*")
    chunks = zarr.open_array(maps / "out.ome.zarr" / "0", mode="r").chunks
    for block in list_of_blocks(quick_folder, volume):
        for part, length, side in zip(block.core, chunks, volume.shape, strict=True):
            assert part.start % length == 0
            assert part.stop % length == 0 or part.stop == side


@pytest.mark.parametrize(
    ("shape", "block", "chunks"),
    [
        ((300, 2000, 2000), (16, 2000, 2000), (16, 128, 128)),
        ((300, 2000, 2000), (1, 2000, 2000), (1, 512, 512)),
        ((300, 2000, 2000), (8, 336, 400), (8, 168, 200)),
        ((5, 40, 50), (5, 40, 50), (5, 40, 50)),
        ((2000, 2000), (400, 2000), (400, 512)),
    ],
)
def test_chunks_divide_blocks(
    shape: tuple[int, ...], block: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    assert chunks_within(shape, block) == chunks


def test_a_stopped_ome_zarr_goes_on(
    quick_folder: Path, volume: mp.Volume, tmp_path: Path, undisturbed_zarr: dict[str, bytes]
) -> None:
    out, again = tmp_path / "out.ome.zarr", Counting()
    (maps,) = stopped(quick_folder, volume, out).glob("maps-*")
    chunk = min(path for path in (maps / "out_entropy.ome.zarr/0/c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-20])
    predicted(quick_folder, volume, out, reporter=again)
    assert again.blocks == len(list_of_blocks(quick_folder, volume)) - 2
    assert contents(tmp_path) == undisturbed_zarr


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("moved", [0, 1, 3])
def test_an_ome_zarr_that_was_moved_in_part_is_completed(
    quick_folder: Path,
    volume: mp.Volume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed_zarr: dict[str, bytes],
    moved: int,
    lost: bool,
) -> None:
    """Also where somebody removed what had been moved."""
    out, again = tmp_path / "out.ome.zarr", Counting()
    done: list[Path] = []
    replace = files.replace

    def stopping(source: Path, target: Path, *_: object) -> None:
        if len(done) == moved:
            raise KeyboardInterrupt
        replace(source, target)
        done.append(target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", stopping)
        with pytest.raises(Interrupted):
            predicted(quick_folder, volume, out)
    if lost:
        for path in done:
            shutil.rmtree(path)
    predicted(quick_folder, volume, out, reporter=again)
    assert (again.blocks > 0) == (lost and moved > 0)
    assert contents(tmp_path) == undisturbed_zarr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("matphase.prediction.store.FileStore.put", 3),
        ("matphase.prediction.store.write_json", 4),
        ("matphase.images.formats.write", 2),
        ("matphase.images.formats.ome_zarr_levels.fill_pyramid", 2),
        ("matphase.prediction.files.replace", 2),
        ("matphase.prediction.run.remove_working_folder", 1),
    ],
)
def test_a_run_that_is_killed_at_any_moment_ends_in_the_same_files(
    quick_folder: Path,
    volume: mp.Volume,
    tmp_path: Path,
    undisturbed_by_suffix: dict[str, dict[str, bytes]],
    where: str,
    call: int,
    suffix: str,
) -> None:
    """The process kills itself at the n-th call of a function."""
    if {"write": ".ome.zarr", "fill_pyramid": ".tif"}.get(where.rsplit(".", 1)[1]) == suffix:
        pytest.skip("not called for this format")
    mp.save(tmp_path / "scan.h5", volume)
    out = tmp_path / "there" / f"out{suffix}"
    code = (
        "import os, signal, sys, pkgutil\n"
        "from matphase.cli import main\n"
        "import matphase.prediction.run\n"
        "where, call = sys.argv.pop(1), int(sys.argv.pop(1))\n"
        "holder, name = where.rsplit('.', 1)\n"
        "holder = pkgutil.resolve_name(holder)\n"
        "real, calls = getattr(holder, name), []\n"
        "def killing(*args, **kwargs):\n"
        "    calls.append(1)\n"
        "    if len(calls) == call:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*args, **kwargs)\n"
        "setattr(holder, name, killing)\n"
        "main()\n"
    )
    words = ["predict", str(quick_folder), str(tmp_path / "scan.h5"), "--out", str(out)]
    words += ["--memory", "5MB"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done: Callable[..., Any] = subprocess.run
    killed = done([sys.executable, "-c", code, where, str(call), *words], env=environment)
    assert killed.returncode == -signal.SIGKILL
    again = done([sys.executable, "-m", "matphase", *words], env=environment, capture_output=True)
    assert (again.returncode, again.stderr) == (0, b"")
    assert contents(out.parent) == undisturbed_by_suffix[suffix]
