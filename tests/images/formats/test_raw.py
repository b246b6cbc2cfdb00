"""Files without a header, .npy, NRRD, MetaImage, zipped Zarr, and addresses."""

import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK as itk  # noqa: N813 - as its users write it

from matphase.images import formats
from matphase.images.volume import Volume
from matphase.support import scratch
from matphase.support.errors import FormatError, InputError

STACK = np.random.default_rng(0).integers(0, 60_000, (5, 33, 37)).astype(np.uint16)
WINDOW = slice(1, 4), slice(10, 30), slice(5, 6)


def checked(volume: Volume, expected: np.ndarray = STACK) -> None:
    np.testing.assert_array_equal(volume, expected)
    np.testing.assert_array_equal(volume[WINDOW], expected[WINDOW])
    assert (volume.dtype, volume.dtype.isnative) == (expected.dtype, True)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)), expected)


# --- raw data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.raw", "a.vol", "a.bin", "a"])
def test_raw_data_are_what_the_user_says(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    STACK.tofile(path)
    checked(formats.open(path, shape=STACK.shape, dtype="uint16"))
    checked(formats.open(str(path), shape=list(STACK.shape), dtype=np.uint16))
    STACK.astype(">u2").tofile(path)
    for dtype in (">u2", "uint16be", "UINT16BE", np.dtype(">u2")):
        checked(formats.open(path, shape=STACK.shape, dtype=dtype))
    STACK.T.tofile(path)
    volume = formats.open(
        path, shape=STACK.T.shape, dtype="uint16le", axes="xyz", voxel_size=1, unit="nm"
    )
    checked(volume)
    assert volume.voxel_size == (1, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "is raw data, which does not say its size and type; give shape= and dtype="),
        ({"shape": (5, 33, 37)}, "needs shape= and dtype= together"),
        ({"dtype": "uint16"}, "needs shape= and dtype= together"),
        ({"shape": (5, 33, 36), "dtype": "u2"}, "has 12210 bytes but 5 x 33 x 36 .* take 11880"),
        ({"shape": (6, 33, 37), "dtype": "u2"}, "take 14652; correct shape= or dtype="),
        ({"shape": (5, 33, 37), "dtype": "uint17"}, "dtype 'uint17' is no type of voxels"),
        ({"shape": (5, 33, 37), "dtype": "complex64"}, "is no type of voxels"),
        ({"shape": (5, 33, -37), "dtype": "u2"}, "is not one of voxels"),
        ({"shape": (5, 33, 3.7), "dtype": "u2"}, "is not one of voxels"),
        ({"shape": (6105,), "dtype": "u2"}, "is not one of voxels"),
    ],
)
def test_raw_data_that_do_not_fit(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    STACK.tofile(tmp_path / "a.raw")
    with pytest.raises((FormatError, InputError), match=message):
        formats.open(tmp_path / "a.raw", **options)


def test_a_shape_is_for_raw_data_only(tmp_path: Path) -> None:
    formats.save(tmp_path / "a.tif", Volume.from_array(STACK))
    for source in (tmp_path / "a.tif", STACK, [tmp_path / "a.tif"]):
        with pytest.raises(InputError, match="leave them out"):
            formats.open(source, shape=STACK.shape, dtype="uint16")
    with pytest.raises(FormatError, match=r"gone\.raw cannot be read"):
        formats.open(tmp_path / "gone.raw", shape=(3, 3), dtype="uint8")


# --- NumPy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("code", ["<u2", ">u2", ">f4"])
def test_npy_is_mapped(tmp_path: Path, order: Any, code: str) -> None:
    np.save(tmp_path / "a.npy", np.asarray(STACK, code, order=order))
    checked(formats.open(tmp_path / "a.npy"), STACK.astype(np.dtype(code).newbyteorder("=")))


def test_npy_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for array in (np.array([[{}, None]], object), np.zeros((3, 4), [("a", "i4")]), STACK * 1j):
        np.save(path, array, allow_pickle=True)
        with pytest.raises(InputError, match=r"a\.npy holds .* values; give an array of numbers"):
            formats.open(path)
    np.save(path, STACK)
    whole = path.read_bytes()
    for length in (0, 5, 60, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"a\.npy"):
            formats.open(path)
    np.save(path, np.zeros(9))
    with pytest.raises(InputError, match="has 1 dimensions; give one slice"):
        formats.open(path)


# --- ITK ----------------------------------------------------------------------------------------


def by_itk(path: Path, array: np.ndarray, *, packed: bool, spacing: Any = (0.1, 0.2, 0.5)) -> Path:
    image = itk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    itk.WriteImage(image, str(path), packed)
    return path


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_itk_writes(tmp_path: Path, name: str, packed: bool) -> None:
    for array in (STACK, STACK.astype(np.float32), STACK.astype(np.int8)):
        volume = formats.open(by_itk(tmp_path / name, array, packed=packed))
        checked(volume, array)
        assert volume.voxel_size is None  # ITK records no unit
    plane = formats.open(by_itk(tmp_path / name, STACK[0], packed=packed, spacing=(1, 1)))
    assert (plane.axes, plane.shape) == ("yx", (33, 37))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_several_values_a_voxel_are_channels(tmp_path: Path, name: str) -> None:
    image = itk.GetImageFromArray(np.zeros((5, 33, 37, 3), np.uint8), isVector=True)
    itk.WriteImage(image, str(tmp_path / name))
    with pytest.raises(InputError, match="holds 3 channels; save one of them"):
        formats.open(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("packed", [False, True])
def test_truncated_values(tmp_path: Path, name: str, packed: bool) -> None:
    path = by_itk(tmp_path / name, STACK, packed=packed)
    (values,) = [one for one in tmp_path.iterdir() if one != path] or [path]
    values.write_bytes(values.read_bytes()[:-100])
    with pytest.raises(FormatError, match="truncated"):
        formats.open(path).to_array()
    if values != path:
        values.unlink()
        with pytest.raises(FormatError, match=r"names the data file .* which is missing"):
            formats.open(path)
    path.write_bytes(b"no image")
    with pytest.raises(FormatError, match="is not a"):
        formats.open(path)


def test_headers_of_nrrd_by_pynrrd(tmp_path: Path) -> None:
    for encoding in ("raw", "gzip", "bzip2"):
        header = {"spacings": [0.1, 0.2, 500.0], "units": ["um", "um", "nm"], "encoding": encoding}
        nrrd.write(str(tmp_path / "a.nrrd"), STACK.astype(">u2"), header, index_order="C")
        volume = formats.open(tmp_path / "a.nrrd")
        checked(volume)
        assert (volume.voxel_size, volume.unit) == ((0.5, 0.2, 0.1), "um")
    header = {
        "space": "left-posterior-superior",
        "space units": ["mm"] * 3,
        "kinds": ["domain"] * 3,
    }
    header["space directions"] = np.diag([0.1, 0.2, 0.5])
    nrrd.write(str(tmp_path / "a.nhdr"), STACK, header, index_order="C")
    assert formats.open(tmp_path / "a.nhdr").voxel_size == (0.5, 0.2, 0.1)
    nrrd.write(str(tmp_path / "a.nrrd"), STACK, {"labels": ["z", "y", "x"]}, index_order="C")
    np.testing.assert_array_equal(formats.open(tmp_path / "a.nrrd"), STACK.T)
    header = {"kinds": ["domain", "domain", "domain", "time"]}
    nrrd.write(str(tmp_path / "a.nrrd"), np.stack([STACK] * 2), header, index_order="C")
    with pytest.raises(InputError, match="holds 2 times"):
        formats.open(tmp_path / "a.nrrd")


def test_headers_of_metaimage(tmp_path: Path) -> None:
    text = (
        "ObjectType = Image\nNDims = 3\nDimSize = 37 33 5\nElementType = MET_USHORT\n"
        "ElementSpacing = 0.1 0.2 0.5\nDistanceUnits = um\nElementByteOrderMSB = True\n"
        "HeaderSize = {}\nElementDataFile = a.raw\n"
    )
    STACK.astype(">u2").tofile(tmp_path / "a.raw")
    (tmp_path / "a.raw").write_bytes(b"skipped!" + (tmp_path / "a.raw").read_bytes())
    for size in ("8", "-1"):
        (tmp_path / "a.mhd").write_text(text.format(size))
        volume = formats.open(tmp_path / "a.mhd")
        checked(volume)
        assert (volume.voxel_size, volume.unit) == ((0.5, 0.2, 0.1), "um")
    for old, new, message in (
        ("ElementDataFile = a.raw", "ElementDataFile = LIST", "several data files"),
        ("ElementDataFile = a.raw", "ElementDataFile = a%03d.raw 1 5 1", "several data files"),
        ("NDims = 3", "BinaryData = False", "values as text"),
        ("MET_USHORT", "MET_STRING", "holds MET_STRING values"),
        ("DimSize = 37 33 5\n", "", "does not give its size"),
    ):
        (tmp_path / "a.mhd").write_text(text.format("8").replace(old, new))
        with pytest.raises((FormatError, InputError), match=message):
            formats.open(tmp_path / "a.mhd")


def test_large_streams_are_unpacked_to_disk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "SMALL", 100)
    volume = formats.open(by_itk(tmp_path / "a.mha", STACK, packed=True))
    checked(volume)
    (tmp_path / "a.mha").unlink()
    np.testing.assert_array_equal(volume[WINDOW], STACK[WINDOW])


def test_pynrrd_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = by_itk(tmp_path / "a.nrrd", STACK, packed=False)
    monkeypatch.setitem(__import__("sys").modules, "nrrd", None)
    with pytest.raises(FormatError, match=r"needs the package pynrrd; .*'matphase\[nrrd\]'"):
        formats.open(path)


# --- zipped Zarr, addresses ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.ome.zarr.zip", "a.zip", "a.ozx", "a.zarr"])
@pytest.mark.parametrize("inside", [False, True])
def test_zipped_zarr(tmp_path: Path, name: str, inside: bool) -> None:
    folder = tmp_path / "scan" / "b.ome.zarr"
    volume = Volume.from_array(STACK, voxel_size=0.2, unit="um")
    formats.save(folder, volume)
    formats.save(folder / "labels" / "phases", Volume.from_array(STACK % 3))
    root = folder.parent if inside else folder
    zipped = shutil.make_archive(str(tmp_path / "z"), "zip", root)
    Path(zipped).rename(tmp_path / name)
    again = formats.open(tmp_path / name)
    checked(again)
    assert again.voxel_size == (0.2,) * 3
    checked(formats.open(tmp_path / name / "labels" / "phases"), STACK % 3)
    assert formats.files_of(again) == [tmp_path / name]


def test_zip_files_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("notes.txt", "none")
    with pytest.raises(FormatError, match=r"a\.zip holds no Zarr metadata"):
        formats.open(tmp_path / "a.zip")
    (tmp_path / "b.zarr").write_text("not a ZIP file")
    with pytest.raises(FormatError, match=r"b\.zarr is neither a folder of a Zarr store nor a ZIP"):
        formats.open(tmp_path / "b.zarr")


@pytest.mark.parametrize(
    "address", ["https://example.org/a.ome.zarr", "s3://bucket/a.zarr", "file:///a.tif"]
)
def test_addresses(address: str) -> None:
    for source in (address, Path(address)):
        with pytest.raises(FormatError, match="is an address; only files on this machine are read"):
            formats.open(source)
