"""Whatever a library writes is read to the last bit, or refused with one sentence."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import nrrd
import numpy as np
import pytest
import SimpleITK as itk  # noqa: N813 - as its users write it
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from zarr.storage import LocalStore, ZipStore

from matphase.images import formats
from matphase.support.errors import MatPhaseError
from matphase.support.files import remove

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "S3"]


@dataclass(frozen=True)
class Case:
    """An array and how it is written.

    Attributes:
        array: what is stored.
        axes: a letter for each axis.
        named: the file records the axes, where the writer can.
        order: byte order, `<` or `>`.
        packed: compressed.
        seed: chooses among further options.
    """

    array: np.ndarray
    axes: str
    named: bool
    order: str
    packed: bool
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    axes = "".join(draw(st.permutations("zyx" if draw(st.booleans()) else "yx")))
    if draw(st.booleans()):
        axes = "zyx"[-len(axes) :]
    sides = [draw(st.integers(1, 7)) for _ in axes]
    for extra in draw(st.lists(st.sampled_from("tc"), max_size=2, unique=True)):
        place = draw(st.integers(0, len(axes)))
        axes = axes[:place] + extra + axes[place:]
        sides.insert(place, draw(st.sampled_from([1, 1, 1, 2, 3])))
    order = draw(st.sampled_from("<>"))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    seed = draw(st.integers(0, 2**16))
    bits = np.random.default_rng(seed).integers(0, 256, (*sides, dtype.itemsize), np.uint8)
    array = (bits & 1).astype(bool)[..., 0] if dtype.kind == "b" else bits.view(dtype)[..., 0]
    return Case(array, axes, draw(st.booleans()), order, draw(st.booleans()), seed)


def stored(case: Case) -> np.ndarray:
    return np.ascontiguousarray(case.array).astype(case.array.dtype.newbyteorder(case.order))


def tiff(folder: Path, case: Case) -> Path:
    options: dict[str, Any] = {"photometric": "minisblack", "byteorder": case.order}
    if case.packed:
        options["compression"] = ("zlib", "lzw", "zstd", "packbits")[case.seed % 4]
    if case.seed % 3 == 0:
        options["tile"] = (16, 32)
    elif case.seed % 3 == 1:
        options["rowsperstrip"] = 2
    if case.named:
        options["metadata"] = {"axes": case.axes.upper()}
    if case.seed % 5 == 0:
        options["bigtiff"] = True
    tifffile.imwrite(folder / "a.tif", case.array, **options)
    return folder / "a.tif"


def pages(folder: Path, case: Case) -> Path:
    if case.array.ndim != 3:
        raise ValueError("pages count along one axis only")
    with tifffile.TiffWriter(folder / "a.tif", byteorder=case.order) as file:  # type: ignore[arg-type]
        for plane in case.array:
            file.write(plane, photometric="minisblack", compression="zlib" if case.packed else None)
    return folder / "a.tif"


def ome(folder: Path, case: Case) -> Path:
    tifffile.imwrite(
        folder / "a.ome.tif",
        case.array,
        photometric="minisblack",
        metadata={"axes": case.axes.upper()},
        compression="zlib" if case.packed else None,
    )
    return folder / "a.ome.tif"


def hdf5(folder: Path, case: Case) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        filters = (
            {"compression": "gzip"}, {"compression": "lzf"}, hdf5plugin.Bitshuffle(),
            hdf5plugin.Zstd(),
        )[case.seed % 4] if case.packed else {}  # fmt: skip
        data = file.create_dataset("entry/data", data=stored(case), **filters)
        if case.named and case.seed % 3 == 0:
            data.attrs["axistags"] = json.dumps({"axes": [{"key": one} for one in case.axes]})
        elif case.named and case.seed % 3 == 1:
            data.attrs["axes"] = list(case.axes)
        elif case.named:
            for place, name in enumerate(case.axes):
                data.dims[place].label = name
    return folder / "a.h5"


def zarr_array(folder: Path, case: Case) -> Path:
    zarr_format: Any = 2 + case.seed % 2
    store: Any = LocalStore(folder / "a.zarr")
    if case.seed % 3 == 0:
        store = ZipStore(folder / "a.zarr.zip", mode="w")
    array = zarr.create_array(
        store,
        shape=case.array.shape,
        dtype=stored(case).dtype if zarr_format == 2 else case.array.dtype,
        zarr_format=zarr_format,
        compressors="auto" if case.packed else None,
        dimension_names=tuple(case.axes) if case.named and zarr_format == 3 else None,
        attributes={"_ARRAY_DIMENSIONS": list(case.axes)} if case.named else {},
    )
    array[...] = case.array
    store.close()
    return folder / ("a.zarr.zip" if case.seed % 3 == 0 else "a.zarr")


def npy(folder: Path, case: Case) -> Path:
    array = stored(case)
    np.save(folder / "a.npy", np.asfortranarray(array) if case.seed % 2 else array)
    return folder / "a.npy"


def raw(folder: Path, case: Case) -> Path:
    stored(case).tofile(folder / "a.raw")
    return folder / "a.raw"


def nrrd_file(folder: Path, case: Case) -> Path:
    header: dict[str, Any] = {
        "encoding": ("gzip", "bzip2")[case.seed % 2] if case.packed else "raw"
    }
    if case.named:
        header["labels"] = list(case.axes[::-1])
    name = "a.nrrd" if case.seed % 3 else "a.nhdr"
    nrrd.write(str(folder / name), stored(case), header, index_order="C")
    return folder / name


def metaimage(folder: Path, case: Case) -> Path:
    name = "a.mha" if case.seed % 2 else "a.mhd"
    image = itk.GetImageFromArray(case.array, isVector=False)
    itk.WriteImage(image, str(folder / name), case.packed)
    return folder / name


def png(folder: Path, case: Case) -> Path:
    Image.fromarray(case.array).save(folder / "a.png")
    return folder / "a.png"


WRITERS: list[Callable[[Path, Case], Path]] = [
    tiff, pages, ome, hdf5, zarr_array, npy, raw, nrrd_file, metaimage, png,
]  # fmt: skip
NAMING = (tiff, ome, hdf5, zarr_array, nrrd_file)


def expected(case: Case, axes: str) -> np.ndarray:
    """The array as z, y, x, where its axes are known."""
    letters = list(axes)
    array = case.array
    for letter in "tc":
        if letter in letters:
            place = letters.index(letter)
            array = np.squeeze(array, place)
            letters.remove(letter)
    return array.transpose([letters.index(one) for one in "zyx" if one in letters])


def check(folder: Path, writer: Callable[[Path, Case], Path], case: Case, given: bool) -> None:
    for path in folder.iterdir():
        remove(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = writer(folder, case)
    except Exception:  # what the library itself does not write
        return
    options: dict[str, Any] = {"axes": case.axes} if given else {}
    if writer is raw:
        options |= {"shape": case.array.shape, "dtype": stored(case).dtype.str}
    # times that the user names stand for slices where there are none
    axes = case.axes if not given or "z" in case.axes else case.axes.replace("t", "z")
    sides = case.array.shape
    several = any(side > 1 for axis, side in zip(axes, sides, strict=True) if axis in "tc")
    said, whole = "", np.empty(0)
    try:
        volume = formats.open(path, **options)
        whole = volume.to_array()
    except MatPhaseError as error:
        said = str(error)
    if said:
        assert "\n" not in said
        plain = axes in ("zyx", "yx") and min(sides) > 1 and sides[-1] not in (3, 4)
        assert several or not plain or case.array.dtype.kind in "cS"
        return
    assert case.array.dtype.kind not in "cS"
    assert whole.dtype == case.array.dtype
    assert whole.dtype.isnative
    if given:
        assert not several
        target = expected(case, axes)
    else:
        named = writer is ome or (case.named and writer in NAMING)
        if named:
            assert not several
        target = expected(case, axes) if named else case.array
        # of one page or without names, axes of length 1 are dropped
        whole, target = np.squeeze(whole), np.squeeze(target)
    assert whole.shape == target.shape
    assert whole.tobytes() == np.ascontiguousarray(target).tobytes()
    if volume.ndim == 3:
        window = tuple(slice(side // 2, side) for side in volume.shape)
        np.testing.assert_array_equal(volume.block(*window), volume.to_array()[window])


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=100, deadline=None, suppress_health_check=QUIET)
@given(writer=st.sampled_from(WRITERS), case=cases(), given_axes=st.booleans())
def test_what_is_written_is_read_or_refused(
    tmp_path: Path, writer: Callable[[Path, Case], Path], case: Case, given_axes: bool
) -> None:
    check(tmp_path, writer, case, given_axes)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=QUIET)
@given(writer=st.sampled_from(WRITERS), case=cases(), given_axes=st.booleans())
def test_what_is_written_is_read_or_refused_two_thousand_times(
    tmp_path: Path, writer: Callable[[Path, Case], Path], case: Case, given_axes: bool
) -> None:
    check(tmp_path, writer, case, given_axes)
