import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v04.image import ImageAttrs as Image04
from ome_zarr_models.v04.image_label import ImageLabelAttrs as Label04
from ome_zarr_models.v04.labels import LabelsAttrs as Labels04
from ome_zarr_models.v05.image import ImageAttrs as Image05
from ome_zarr_models.v05.image_label import ImageLabelAttrs as Label05
from ome_zarr_models.v05.labels import LabelsAttrs as Labels05
from zarr.storage import LocalStore

from matphase.images import formats
from matphase.images.formats import _pyramid
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError, OutputError

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 60_000, (5, 33, 37)).astype(np.uint16)
LABELS = (STACK // 20_000).astype(np.uint8)
SIZE = (0.5, 0.25, 0.2)
VERSIONS = ["0.4", "0.5"]
MODELS: Any = {
    "0.4": {"image": Image04, "label": Label04, "labels": Labels04},
    "0.5": {"image": Image05, "label": Label05, "labels": Labels05},
}


def written(
    path: Path,
    axes: str = "zyx",
    *,
    zarr_format: int = 3,
    version: Any = None,
    units: Any = None,
    scale: Any = None,
    extra: dict[str, Any] | None = None,
    array: np.ndarray = STACK,
    **options: Any,
) -> Path:
    """An image as other programs write it: by zarr itself, with metadata by hand."""
    version = version or {2: "0.4", 3: "0.5"}[zarr_format]
    kinds = {"t": "time", "c": "channel", "q": "angle"}
    listed: list[dict[str, Any]] = [
        {"name": axis, "type": kinds.get(axis, "space")} for axis in axes
    ]
    for axis, unit in zip(listed, units or [None] * len(axes), strict=True):
        if unit is not None:
            axis["unit"] = unit
    transform = {"type": "scale", "scale": list(scale or [1.0] * len(axes))}
    image = {
        "axes": listed,
        "datasets": [{"path": "s0", "coordinateTransformations": [transform]}],
        **(extra or {}),
    }
    if zarr_format == 3:
        attributes: dict[str, Any] = {"ome": {"version": version, "multiscales": [image]}}
    else:
        attributes = {"multiscales": [{"version": version, **image}]}
    group = zarr.create_group(LocalStore(path), zarr_format=zarr_format, attributes=attributes)  # type: ignore[arg-type]
    shaped = array.reshape((1,) * (len(axes) - array.ndim) + array.shape)
    data = group.create_array("s0", shape=shaped.shape, dtype=array.dtype, **options)
    data[...] = shaped
    return path


def attributes_of(path: Path) -> dict[str, Any]:
    return zarr.open_group(LocalStore(path), mode="r").attrs.asdict()


def checked(path: Path, version: str, kind: str) -> Any:
    """The metadata of a group, as the models of the specification understand them."""
    attributes = attributes_of(path)
    return MODELS[version][kind].model_validate(attributes.get("ome", attributes))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


# --- what other programs wrote ------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("chunks", [(1, 1, 5, 33, 37), (1, 1, 2, 16, 16)])
def test_five_axes_in_nanometres(tmp_path: Path, zarr_format: int, chunks: Any) -> None:
    path = written(
        tmp_path / "scan.zarr",
        "tczyx",
        zarr_format=zarr_format,
        units=["second", None, *["nanometer"] * 3],
        scale=[3.0, 1.0, 50, 25, 20],
        chunks=chunks,
    )
    volume = formats.open(path)
    assert (volume.axes, volume.shape, volume.dtype) == ("zyx", STACK.shape, STACK.dtype)
    assert (volume.voxel_size, volume.unit) == ((50, 25, 20), "nm")
    assert volume.name == str(path)
    np.testing.assert_array_equal(volume.to_array(), STACK)
    window = slice(1, 4), slice(10, 30), slice(15, 20)
    np.testing.assert_array_equal(volume.block(*window), STACK[window])


@pytest.mark.parametrize(
    ("units", "scale", "size", "unit"),
    [
        (["micrometer"] * 3, SIZE, SIZE, "um"),
        (["micrometer"] * 3, (1, 1, 1), (1, 1, 1), "um"),
        (["nanometer", "micrometer", "micrometer"], (500, 0.25, 0.2), SIZE, "um"),
        ([None, "micrometer", "micrometer"], (1, 0.25, 0.2), (None, 0.25, 0.2), "um"),
        ([None, None, None], SIZE, None, None),
        ([None, None, None], (1, 1, 1), None, None),
        (["micrometer", "micrometer", None], SIZE, None, None),
        (["micrometer"] * 3, (0.5, 0, 0.2), None, None),
        (["parsec"] * 3, SIZE, None, None),
        (["pixel"] * 3, SIZE, None, None),
    ],
)
def test_voxel_size_is_read_where_it_is_recorded(
    tmp_path: Path, units: Any, scale: Any, size: Any, unit: str | None
) -> None:
    volume = formats.open(written(tmp_path / "a.zarr", units=units, scale=scale))
    assert (volume.voxel_size, volume.unit) == (size, unit)


def test_the_scale_of_all_levels_counts_too(tmp_path: Path) -> None:
    extra = {"coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.25, 0.2]}]}
    path = written(tmp_path / "a.zarr", units=["millimeter"] * 3, scale=(2, 1, 1), extra=extra)
    assert formats.open(path).voxel_size == (1.0, 0.25, 0.2)


def test_a_plain_array_has_no_voxel_size(tmp_path: Path) -> None:
    for zarr_format, name in ((2, "a.zarr"), (3, "b.zarr"), (3, "without a suffix")):
        array = zarr.create_array(
            LocalStore(tmp_path / name),
            shape=STACK.shape,
            dtype=">u2" if zarr_format == 2 else "uint16",
            zarr_format=zarr_format,  # type: ignore[arg-type]
        )
        array[...] = STACK
        volume = formats.open(tmp_path / name)
        assert (volume.axes, volume.voxel_size, volume.dtype) == ("zyx", None, np.uint16)
        assert volume.slice(0).dtype.isnative
        np.testing.assert_array_equal(volume.to_array(), STACK)


def test_the_array_of_an_image_can_be_opened_itself(tmp_path: Path) -> None:
    written(tmp_path / "a.zarr")
    np.testing.assert_array_equal(formats.open(tmp_path / "a.zarr" / "s0").to_array(), STACK)


def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path: Path) -> None:
    zarr.create_array(LocalStore(tmp_path / "a.zarr"), shape=(9, 8), dtype="u1", fill_value=7)
    assert (formats.open(tmp_path / "a.zarr").to_array() == 7).all()


# --- bad input ----------------------------------------------------------------------------------


def test_channels_and_times(tmp_path: Path) -> None:
    for axes, message in (("czyx", "2 channels"), ("tzyx", "2 times"), ("qzyx", "2 images along")):
        path = written(tmp_path / f"{axes}.zarr", axes, array=np.stack([STACK, STACK]))
        with pytest.raises(InputError, match=f"{message}.*; save one of them"):
            formats.open(path)


def test_axes_in_another_order(tmp_path: Path) -> None:
    units = ["nanometer", "micrometer", "micrometer"]
    path = written(tmp_path / "a.zarr", "xyz", units=units, scale=(200, 0.25, 0.5))
    volume = formats.open(path)
    assert (volume.voxel_size, volume.unit) == ((500, 250, 200), "nm")
    np.testing.assert_array_equal(volume, STACK.T)
    window = slice(3, 9), slice(10, 30), slice(1, 4)
    np.testing.assert_array_equal(volume.block(*window), STACK.T[window])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("version", ["0.3", "0.6", "1.0"])
def test_other_versions(tmp_path: Path, zarr_format: int, version: str) -> None:
    path = written(tmp_path / "a.zarr", zarr_format=zarr_format, version=version)
    with pytest.raises(
        FormatError, match=f"is OME-Zarr {version}; only 0.4 and 0.5 can be read.*/s0"
    ):
        formats.open(path)


def test_a_number_of_axes_that_is_not_that_of_the_array(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", "yx", array=STACK[0])
    shutil.rmtree(path / "s0")
    zarr.create_array(LocalStore(path / "s0"), shape=(3, 4, 5), dtype="u1")
    with pytest.raises(FormatError, match=r"s0 has 3 axes but the metadata .* name y, x"):
        formats.open(path)


def test_metadata_that_break_the_rules(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", scale=[1.0, 1.0])
    with pytest.raises(FormatError, match=r"a\.zarr has metadata that are not OME-Zarr 0\.5"):
        formats.open(path)


@pytest.mark.parametrize("left", [None, [], [{"type": "translation", "translation": [0, 0, 0]}]])
def test_an_image_without_scale_needs_a_voxel_size(tmp_path: Path, left: Any) -> None:
    path = written(tmp_path / "a.zarr")
    group = zarr.open_group(LocalStore(path), mode="r+")
    ome = group.attrs.asdict()["ome"]
    for dataset in ome["multiscales"][0]["datasets"]:
        del dataset["coordinateTransformations"]
        if left is not None:
            dataset["coordinateTransformations"] = left
    group.attrs["ome"] = ome
    with pytest.raises(FormatError, match=r"a\.zarr has no scale.* voxel_size= and unit="):
        formats.open(path)
    volume = formats.open(path, voxel_size=0.3, unit="um")
    assert (volume.voxel_size, volume.unit) == ((0.3, 0.3, 0.3), "um")
    np.testing.assert_array_equal(volume.to_array(), STACK)


@pytest.mark.parametrize("size", [None, 0.3])
@pytest.mark.parametrize(
    "broken",
    [{"axes": None}, {"axes": 3}, {"datasets": [{"path": "s0", "coordinateTransformations": 5}]}],
)
def test_metadata_of_the_wrong_kind(tmp_path: Path, broken: dict[str, Any], size: Any) -> None:
    path = written(tmp_path / "a.zarr", extra={"datasets": [{"path": "s0"}], **broken})
    with pytest.raises(FormatError, match=r"a\.zarr has metadata that are not OME-Zarr 0\.5"):
        formats.open(path, voxel_size=size, unit=size and "um")


def test_a_level_that_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr")
    shutil.rmtree(path / "s0")
    with pytest.raises(FormatError, match=r"s0 is missing, the array of .*a\.zarr"):
        formats.open(path)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", array=np.zeros((4, 5, 6), np.complex64))
    with pytest.raises(InputError, match="s0 holds complex64 values"):
        formats.open(path)


def test_a_group_without_an_image_lists_what_it_holds(tmp_path: Path) -> None:
    group = zarr.create_group(LocalStore(tmp_path / "a.zarr"))
    with pytest.raises(FormatError, match=r"holds no OME-Zarr image .*; export it again"):
        formats.open(tmp_path / "a.zarr")
    group.create_array("raw", shape=(4, 5), dtype="u1")
    with pytest.raises(FormatError, match=r"choose one of .*a\.zarr/raw"):
        formats.open(tmp_path / "a.zarr")


def test_a_folder_that_is_only_called_zarr(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(FormatError, match="holds no Zarr metadata"):
        formats.open(tmp_path / "a.zarr")
    with pytest.raises(FormatError, match=r"b\.zarr does not exist; check the path"):
        formats.open(tmp_path / "b.zarr")


@pytest.mark.parametrize("place", ["", "s0"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"zarr_format": 3, "node_type": 1}'])
def test_damaged_metadata(tmp_path: Path, place: str, content: bytes) -> None:
    path = written(tmp_path / "a.zarr")
    (path / place / "zarr.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.zarr"):
        formats.open(path)


@pytest.mark.parametrize("length", [0, 10, 100, -1])
@pytest.mark.parametrize("compressor", [None, "zstd", "blosc"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_chunk_that_was_cut_short(
    tmp_path: Path, compressor: str | None, zarr_format: int, length: int
) -> None:
    codec = {"id": compressor} if zarr_format == 2 else {"name": compressor, "configuration": {}}
    path = written(
        tmp_path / "a.zarr",
        zarr_format=zarr_format,
        chunks=(2, 33, 37),
        compressors=codec if compressor else None,
    )
    volume = formats.open(path)
    np.testing.assert_array_equal(volume.to_array(), STACK)
    chunk = path / ("s0/c/1/0/0" if zarr_format == 3 else "s0/1.0.0")
    chunk.write_bytes(chunk.read_bytes()[:length])
    np.testing.assert_array_equal(volume.slice(1), STACK[1])
    with pytest.raises(FormatError, match=r"s0 .*again"):
        volume.slice(2)


def test_chunks_that_lie_together_in_shards(tmp_path: Path) -> None:
    blosc = {"name": "blosc", "configuration": {"cname": "lz4"}}
    shards = {"chunks": (1, 11, 37), "shards": (4, 33, 37), "compressors": blosc}
    volume = formats.open(written(tmp_path / "a.zarr", **shards))
    assert volume.chunks == (1, 11, 37)
    np.testing.assert_array_equal(volume.to_array(), STACK)
    window = slice(3, 5), slice(10, 30), slice(15, 20)
    np.testing.assert_array_equal(volume.block(*window), STACK[window])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("compress", [True, False])
def test_damage_inside_is_met_where_chunks_are_compressed(
    tmp_path: Path, version: Any, compress: bool
) -> None:
    path = tmp_path / "a.ome.zarr"
    formats.save(path, Volume.from_array(STACK // 100), ome_version=version, compress=compress)
    chunk = path / ("0/c/0/0/0" if version == "0.5" else "0/0/0/0")
    whole = bytearray(chunk.read_bytes())
    assert (len(whole) < STACK.nbytes) == compress
    whole[len(whole) // 2] ^= 1
    chunk.write_bytes(whole)
    if compress:
        with pytest.raises(FormatError, match=r"a\.ome\.zarr/0 is damaged"):
            formats.open(path).to_array()


def test_an_array_that_changes_after_opening(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr")
    volume = formats.open(path)
    zarr.open_array(LocalStore(path / "s0"), mode="r+").resize((4, 33, 37))
    with pytest.raises(FormatError, match="s0 has changed"):
        volume.slice(4)


# --- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("size", [SIZE, None, (None, 0.25, 0.2)])
def test_a_volume_comes_back_and_its_metadata_follow_the_specification(
    tmp_path: Path, version: Any, labels: bool, size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pyramid, "LARGEST_SIDE", 16)
    path = tmp_path / "a.ome.zarr"
    array = LABELS if labels else STACK
    volume = Volume.from_array(array, voxel_size=size, unit=None if size is None else "um")
    formats.save(path, volume, labels=labels, ome_version=version)
    again = formats.open(path)
    np.testing.assert_array_equal(again.to_array(), array)
    assert (again.voxel_size, again.unit, again.dtype) == (size, volume.unit, array.dtype)

    group = zarr.open_group(LocalStore(path), mode="r")
    assert group.metadata.zarr_format == {"0.4": 2, "0.5": 3}[version]
    assert group["0"].metadata.zarr_format == group.metadata.zarr_format
    multiscale = checked(path, version, "label" if labels else "image").multiscales[0]
    scales = [
        [list(getattr(t, t.type)) for t in one.coordinateTransformations]
        for one in multiscale.datasets
    ]
    z, y, x = (1.0 if length is None else length for length in size or (None,) * 3)
    shifts = [] if labels else [[[z / 2, y / 2, x / 2]], [[1.5 * z, 1.5 * y, 1.5 * x]]]
    assert scales == [
        [[z, y, x]],
        [[2 * z, 2 * y, 2 * x], *(shifts[0] if shifts else [])],
        [[4 * z, 4 * y, 4 * x], *(shifts[1] if shifts else [])],
    ]
    assert [group[str(level)].shape for level in range(3)] == [(5, 33, 37), (3, 17, 19), (2, 9, 10)]
    assert ("image-label" in json.dumps(attributes_of(path))) == labels


def test_slices_of_one_image(tmp_path: Path) -> None:
    plane = Volume.from_array(STACK[0], voxel_size=(0.25, 0.2), unit="mm")
    formats.save(tmp_path / "a.ome.zarr", plane)
    again = formats.open(tmp_path / "a.ome.zarr")
    assert (again.axes, again.voxel_size, again.unit) == ("yx", (0.25, 0.2), "mm")
    formats.save(tmp_path / "b.ome.zarr", Volume.from_array(STACK[:1]))
    assert formats.open(tmp_path / "b.ome.zarr").axes == "zyx"


def test_levels_lie_over_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ramp tells where each voxel of a coarser level lies: its value is its position."""
    monkeypatch.setattr(_pyramid, "LARGEST_SIDE", 8)
    ramp = np.broadcast_to(0.2 * np.arange(64), (40, 48, 64))
    for labels in (False, True):
        values = (np.arange(64) if labels else ramp) + np.zeros(ramp.shape)
        volume = Volume.from_array(values.astype("u1" if labels else "f8"), None, 0.2, "um")
        path = tmp_path / f"{labels}.ome.zarr"
        formats.save(path, volume, labels=labels)
        image = attributes_of(path)["ome"]["multiscales"][0]
        for dataset in image["datasets"]:
            level = zarr.open_array(LocalStore(path / dataset["path"]), mode="r")[...]
            scale, *rest = dataset["coordinateTransformations"]
            start = rest[0]["translation"][2] if rest else 0
            position = start + scale["scale"][2] * np.arange(level.shape[2])
            seen = level[-1, -1] * (0.2 if labels else 1)
            np.testing.assert_allclose(seen, position, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u8", "i8", "f2", "f4", "f8", "?"])
def test_means_are_those_of_the_voxels_there_are(dtype: str) -> None:
    shape = (5, 1, 7)
    wild = RNG.integers(0, 256, (*shape, 8), np.uint8).view(f"u{np.dtype(dtype).itemsize}")
    block = (wild[..., 0] % 2 if dtype == "?" else wild[..., 0].view(dtype)).astype(dtype)
    if dtype[0] == "f":
        block = RNG.normal(0, 100, shape).astype(dtype)
    found = _pyramid.coarser(block, shape, labels=False)
    assert (found.shape, found.dtype) == ((3, 1, 4), np.dtype(dtype))
    for z in range(3):
        for x in range(4):
            part = block[2 * z : 2 * z + 2, 0, 2 * x : 2 * x + 2].ravel().tolist()
            if dtype[0] == "f":
                assert found[z, 0, x] == pytest.approx(np.mean(part), rel=2e-3)
            else:
                half_up = (2 * sum(part) + len(part)) // (2 * len(part))
                assert found[z, 0, x] == half_up


def test_coarser_labels_are_labels() -> None:
    found = _pyramid.coarser(LABELS * 100, LABELS.shape, labels=True)
    np.testing.assert_array_equal(found, LABELS[::2, ::2, ::2] * 100)


def test_labels_that_are_no_whole_numbers(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="labels must be integers, got float32"):
        formats.save(tmp_path / "a.ome.zarr", Volume.from_array(STACK.astype("f4")), labels=True)
    assert not list(tmp_path.iterdir())
    formats.save(tmp_path / "a.ome.zarr", Volume.from_array(STACK > 30_000), labels=True)
    assert formats.open(tmp_path / "a.ome.zarr").dtype == np.uint8


def test_somebodys_folder_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="a folder but not a Zarr store, so it is not replaced"):
        formats.save(path, Volume.from_array(STACK), overwrite=True)
    assert (path / "notes.txt").read_text() == "mine"


def test_a_store_is_replaced_only_when_told_and_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    formats.save(path, Volume.from_array(STACK))
    formats.save(path / "labels" / "phases", Volume.from_array(LABELS))
    with pytest.raises(OutputError, match="exists"):
        formats.save(path, Volume.from_array(STACK[:2]))
    with pytest.raises(OutputError, match=r"contains labels/.*, which was not written with it"):
        formats.save(path, Volume.from_array(STACK[:2]), overwrite=True)
    shutil.rmtree(path / "labels")
    formats.save(path, Volume.from_array(STACK[:2]), overwrite=True)
    np.testing.assert_array_equal(formats.open(path).to_array(), STACK[:2])


@pytest.mark.parametrize(
    "name", ["notes.txt", "0/notes.txt", "0/c/0/0/mine", "c.json", "a/zarr.json"]
)
def test_a_store_with_somebodys_file_is_not_replaced(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.ome.zarr"
    formats.save(path, Volume.from_array(STACK))
    (path / name).parent.mkdir(exist_ok=True, parents=True)
    (path / name).write_text("mine")
    before = sorted(path.rglob("*"))
    with pytest.raises(OutputError, match=f"contains {name}, which was not written with it"):
        formats.save(path, Volume.from_array(STACK), overwrite=True)
    assert sorted(path.rglob("*")) == before


def test_what_a_kill_leaves_in_a_store_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    formats.save(path, Volume.from_array(STACK))
    (path / "0" / "c" / "0" / "0" / "0.0123456789abcdef.partial").write_text("half")
    formats.save(path, Volume.from_array(STACK), overwrite=True)
    assert not (path / "labels").exists()


def full_disk(monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    """From the chunk of this number on, the disk takes nothing more."""
    from zarr.storage import _local

    put, count = _local._put, 0

    def limited(path: Path, *args: Any, **options: Any) -> Any:
        nonlocal count
        if not path.name.startswith((".z", "zarr.json")):
            count += 1
            if count > chunks:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return put(path, *args, **options)

    monkeypatch.setattr(_local, "_put", limited)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_disk_that_runs_full(
    tmp_path: Path, version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ome.zarr"
    formats.save(path, Volume.from_array(STACK), ome_version=version)
    before = snapshot(tmp_path)
    full_disk(monkeypatch, 0)
    for target in (path, tmp_path / "b.ome.zarr"):
        with pytest.raises(OutputError, match=f"cannot write {target}: No space left on device"):
            formats.save(target, Volume.from_array(STACK), overwrite=True, ome_version=version)
    with pytest.raises(OutputError, match=r"cannot write .*phases: No space left on device"):
        formats.save(path / "labels" / "phases", Volume.from_array(LABELS))
    assert snapshot(tmp_path) == before
    assert not (path / "labels").exists()


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_join_their_image(
    tmp_path: Path, version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pyramid, "LARGEST_SIDE", 16)
    path = tmp_path / "a.ome.zarr"
    formats.save(path, Volume.from_array(STACK, None, SIZE, "um"), ome_version=version)
    before = snapshot(path)
    formats.save(path / "labels" / "phases", Volume.from_array(LABELS))
    formats.save(path / "labels" / "idk", Volume.from_array(STACK > 30_000))
    assert before.items() <= snapshot(path).items()
    again = formats.open(path / "labels" / "phases")
    np.testing.assert_array_equal(again.to_array(), LABELS)
    assert (again.voxel_size, again.unit) == (SIZE, "um")
    assert formats.open(path).dtype == STACK.dtype
    assert checked(path / "labels", version, "labels").labels == ["phases", "idk"]
    for name in ("phases", "idk"):
        label = checked(path / "labels" / name, version, "label")
        assert label.image_label.source.image == "../../"
        assert len(label.multiscales[0].datasets) == 3
    assert not list(path.rglob(".matphase-*"))

    with pytest.raises(OutputError, match="phases exists"):
        formats.save(path / "labels" / "phases", Volume.from_array(LABELS))
    formats.save(path / "labels" / "phases", Volume.from_array(2 * LABELS), overwrite=True)
    np.testing.assert_array_equal(formats.open(path / "labels" / "phases").to_array(), 2 * LABELS)
    with pytest.raises(FormatError, match=r"none does not exist; choose one of .*idk, .*phases"):
        formats.open(path / "labels" / "none")
    with pytest.raises(FormatError, match=r"no OME-Zarr image .* choose one of .*labels/idk"):
        formats.open(path / "labels")


def test_labels_have_as_many_levels_as_an_image_of_other_programs(tmp_path: Path) -> None:
    path = written(tmp_path / "a.zarr", "tczyx", units=[None, None, *["micrometer"] * 3])
    zarr.create_group(
        LocalStore(path / "labels"), attributes={"ome": {"version": "0.5", "more": 1}}
    )
    formats.save(path / "labels" / "phases", Volume.from_array(LABELS))
    attributes = attributes_of(path / "labels" / "phases")["ome"]
    assert len(attributes["multiscales"][0]["datasets"]) == 1
    assert attributes["image-label"] == {"source": {"image": "../../"}}
    assert attributes_of(path / "labels")["ome"] == {
        "version": "0.5",
        "more": 1,
        "labels": ["phases"],
    }


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    with pytest.raises(OutputError, match=r"needs an image that it belongs to: .*a\.ome\.zarr"):
        formats.save(path / "labels" / "phases", Volume.from_array(LABELS))
    assert not path.exists()
    formats.save(path, Volume.from_array(STACK))
    before = snapshot(path)
    with pytest.raises(OutputError, match=r"shape \(4, 33, 37\) do not fit .*\(5, 33, 37\)"):
        formats.save(path / "labels" / "phases", Volume.from_array(LABELS[:4]))
    with pytest.raises(OutputError, match="must be integers"):
        formats.save(path / "labels" / "phases", Volume.from_array(STACK / 2))
    zarr.create_array(LocalStore(tmp_path / "b.zarr"), shape=STACK.shape, dtype="u1")
    with pytest.raises(OutputError, match="plain array"):
        formats.save(tmp_path / "b.zarr" / "labels" / "phases", Volume.from_array(LABELS))
    assert snapshot(path) == before
    assert not (path / "labels").exists()


# --- memory -------------------------------------------------------------------------------------

FLAT = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
from matphase.images import formats
from matphase.images.volume import Volume

class Source:
    shape, dtype = (1024, 256, 256), np.dtype(np.uint8)

    def __getitem__(self, windows):
        z = windows[0]
        shape = [part.stop - part.start for part in windows]
        planes = (np.arange(z.start, z.stop) % 256).astype(np.uint8)
        return np.broadcast_to(planes[:, None, None], shape).copy()

path = Path(sys.argv[1])
volume = Volume.from_array(Source())
formats.save(path.with_name("warm.ome.zarr"), Volume.from_array(np.zeros((2, 3, 4), np.uint8)))
tracemalloc.start()
formats.save(path, volume)
opened = formats.open(path)
for z, plane in enumerate(opened.slices()):
    assert plane[0, 0] == z % 256
opened.block(slice(100, 108), slice(0, 256), slice(0, 256))
print(volume.nbytes, tracemalloc.get_traced_memory()[1])
"""


def test_memory_stays_flat(tmp_path: Path) -> None:
    run = [sys.executable, "-c", FLAT, str(tmp_path / "a.ome.zarr")]
    total, peak = map(int, subprocess.run(run, check=True, capture_output=True).stdout.split())
    assert total == 64 * 2**20
    assert peak < 16 * 2**20
