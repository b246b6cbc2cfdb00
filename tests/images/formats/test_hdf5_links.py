"""HDF5 files that are put together from others: what is missing is named, and never zeros."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from matphase.images import formats
from matphase.images.formats import _hdf5_links
from matphase.support.errors import FormatError

STACK = np.random.default_rng(0).integers(1, 60_000, (6, 33, 37)).astype(np.uint16)


def raw(folder: Path) -> Path:
    with h5py.File(folder / "raw.h5", "w") as file:
        file["data"] = STACK
    return folder / "raw.h5"


# --- links --------------------------------------------------------------------------------------


def test_external_links_lead_to_the_dataset_that_they_name(tmp_path: Path) -> None:
    raw(tmp_path)
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file["data"] = np.zeros_like(STACK)
        file["scan"] = h5py.ExternalLink("raw.h5", "/data")
        file["entry/there"] = h5py.ExternalLink("raw.h5", "/")
    volume = formats.open(tmp_path / "master.h5:/scan")
    assert volume.name == f"{tmp_path / 'master.h5'}:/scan"
    np.testing.assert_array_equal(volume, STACK)
    np.testing.assert_array_equal(formats.open(tmp_path / "master.h5:/entry/there/data"), STACK)
    assert formats.files_of(volume) == [tmp_path / "master.h5", tmp_path / "raw.h5"]
    with pytest.raises(FormatError, match=r"choose one of .*:/data .*:/(scan|entry/there/data) "):
        formats.open(tmp_path / "master.h5")


@pytest.mark.parametrize("link", ["external", "soft", "both", "group"])
def test_the_only_dataset_may_be_behind_a_link(tmp_path: Path, link: str) -> None:
    raw(tmp_path)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        if link == "soft":
            file["entry/data"] = STACK
            file["shown"] = h5py.SoftLink("/entry/data")
            file["entry/itself"] = h5py.SoftLink("/entry")
        elif link == "group":
            file["entry"] = h5py.ExternalLink("raw.h5", "/")
        else:
            file["entry/scan"] = h5py.ExternalLink("raw.h5", "/data")
        if link == "both":
            file["shown"] = h5py.SoftLink("/entry/scan")
    np.testing.assert_array_equal(formats.open(tmp_path / "m.h5"), STACK)
    if link in ("soft", "both"):
        np.testing.assert_array_equal(formats.open(tmp_path / "m.h5:/shown"), STACK)


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    raw(tmp_path)
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["gone"] = h5py.ExternalLink("gone.h5", "/data")
        file["other"] = h5py.ExternalLink("raw.h5", "/other")
        file["soft"] = h5py.SoftLink("/nothing")
        file["text"] = h5py.ExternalLink("text.h5", "/data")
    for name, message in (
        ("gone", r"link /gone leads to the file gone\.h5, which is missing"),
        ("other", r"link /other leads to /other in .*raw\.h5, which does not exist"),
        ("soft", "link /soft leads to /nothing, which does not exist"),
        ("text", r"link /text leads to the file .*text\.h5, which cannot be read"),
    ):
        with pytest.raises(FormatError, match=message):
            formats.open(tmp_path / f"m.h5:/{name}")
    with pytest.raises(FormatError, match=r"names no dataset; .*gone\.h5, which is missing"):
        formats.open(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["data"] = STACK
    with pytest.raises(FormatError, match=r"links that lead nowhere; choose .*:/data .*gone\.h5"):
        formats.open(tmp_path / "m.h5")
    np.testing.assert_array_equal(formats.open(tmp_path / "m.h5:/data"), STACK)


# --- virtual datasets ---------------------------------------------------------------------------


def parts(folder: Path, name: str = "part{}.h5", inside: str = "d") -> None:
    folder.mkdir(exist_ok=True)
    for number, plane in enumerate(STACK):
        with h5py.File(folder / name.format(number), "w") as file:
            file[inside.format(number)] = plane[None]


def layout(names: Callable[[int], str]) -> Any:
    virtual = h5py.VirtualLayout(STACK.shape, STACK.dtype)
    for number in range(len(STACK)):
        virtual[number] = h5py.VirtualSource(names(number), "d", (1, *STACK.shape[1:]))[0]
    return virtual


def by_name(folder: Path) -> Path:
    parts(folder)
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_virtual_dataset("data", layout("part{}.h5".format))
    return folder / "v.h5"


def by_folder(folder: Path) -> Path:
    parts(folder / "raw")
    (folder / "sub").mkdir()
    with h5py.File(folder / "sub" / "v.h5", "w") as file:
        file.create_virtual_dataset("data", layout("../raw/part{}.h5".format))
    return folder / "sub" / "v.h5"


def by_pattern(folder: Path, source: str = "part%b.h5", inside: str = "d") -> Path:
    if source != ".":
        parts(folder, source.replace("%b", "{}").replace("%%", "%"), inside.replace("%b", "{}"))
    with h5py.File(folder / "v.h5", "w", libver="latest") as file:
        if source == ".":
            for number, plane in enumerate(STACK):
                file[inside.replace("%b", str(number))] = plane[None]
        side = STACK.shape[1:]
        whole = h5py.h5s.create_simple((1, *side), (h5py.h5s.UNLIMITED, *side))
        whole.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (1, 1, 1), (1, *side))
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        one = h5py.h5s.create_simple((1, *side))
        settings.set_virtual(whole, source.encode(), inside.encode(), one)
        kind = h5py.h5t.py_create(STACK.dtype)
        h5py.h5d.create(file.id, b"data", kind, whole, dcpl=settings)
    return folder / "v.h5"


def nested(folder: Path) -> Path:
    by_name(folder)
    with h5py.File(folder / "outer.h5", "w") as file:
        whole = h5py.VirtualLayout(STACK.shape, STACK.dtype)
        whole[:] = h5py.VirtualSource("v.h5", "data", STACK.shape)
        file.create_virtual_dataset("data", whole)
    return folder / "outer.h5"


MADE = [
    by_name,
    by_folder,
    by_pattern,
    lambda folder: by_pattern(folder, "50%%_%b.h5"),
    lambda folder: by_pattern(folder, "part%b.h5", "d%b"),
    nested,
]


@pytest.mark.parametrize("make", MADE)
def test_virtual_datasets_are_read_while_they_are_complete(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    volume = formats.open(path)
    np.testing.assert_array_equal(volume, STACK)
    assert len(formats.files_of(volume)) >= 7
    (missing,) = tmp_path.rglob("*3.h5")
    missing.rename(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match=f"{missing.name}, which .* reads from, is gone"):
        volume[1:5]
    with pytest.raises(FormatError, match=f"{missing.name} is missing; copy it to where"):
        formats.open(path)
    missing.write_bytes(b"not HDF5")
    with pytest.raises(FormatError, match=rf"{missing.name}, which .* cannot be read"):
        formats.open(path)
    with h5py.File(missing, "w") as file:
        file["other"] = STACK[3][None]
    with pytest.raises(FormatError, match=f"{missing.name} has no dataset"):
        formats.open(path)
    with h5py.File(missing, "w") as file:
        for name in ("d", "d3"):
            file[name] = STACK[3][None, :20]
    with pytest.raises(FormatError, match=rf"{missing.name}:/d3? of shape .* is smaller"):
        formats.open(path)


def test_patterns_of_datasets_in_one_file(tmp_path: Path) -> None:
    path = by_pattern(tmp_path, ".", "d%b")
    np.testing.assert_array_equal(formats.open(f"{path}:/data"), STACK)
    with h5py.File(path, "a") as file:
        del file["d2"]
    with pytest.raises(FormatError, match=r"of which .*v\.h5:d2 is missing"):
        formats.open(f"{path}:/data")


def test_sources_that_hdf5_finds_beside_the_file(tmp_path: Path) -> None:
    parts(tmp_path)
    with h5py.File(tmp_path / "v.h5", "w") as file:  # copied from another machine
        file.create_virtual_dataset("data", layout("/data/visit/part{}.h5".format))
    np.testing.assert_array_equal(formats.open(tmp_path / "v.h5"), STACK)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link.h5").symlink_to(tmp_path / "v.h5")
    np.testing.assert_array_equal(formats.open(tmp_path / "other" / "link.h5"), STACK)


def test_raw_files_beside_hdf5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("e.h5", "w") as file:
        file.create_dataset("data", STACK.shape, "u2", external=[("e.bin", 0, STACK.nbytes)])
        file["data"][...] = STACK
    np.testing.assert_array_equal(formats.open("e.h5"), STACK)
    whole = Path("e.bin").read_bytes()
    Path("e.bin").write_bytes(whole[:-1])
    with pytest.raises(FormatError, match=r"e\.bin, which .* is read from, is too short"):
        formats.open("e.h5")
    Path("e.bin").unlink()
    with pytest.raises(FormatError, match=r"e\.bin is missing"):
        formats.open("e.h5")


# --- filters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", [hdf5plugin.Bitshuffle(), hdf5plugin.Blosc(), hdf5plugin.LZ4()])
def test_filters_of_hdf5plugin_are_read_where_it_is_installed(tmp_path: Path, filters: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=STACK, chunks=(1, 33, 37), **filters)
    np.testing.assert_array_equal(formats.open(tmp_path / "a.h5"), STACK)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (32008, r"filter bitshuffle \(32008\), which is not installed; .*matphase\[hdf5plugin\]"),
        (32004, r"filter lz4 \(32004\)"),
        (60_000, r"filter number \(60000\), which is not known here; save it with gzip"),
    ],
)
def test_a_filter_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset(
            "data", STACK.shape, "u2", chunks=STACK.shape, compression=code,
            compression_opts=(0, 2), allow_unknown_filter=True,
        )  # fmt: skip
        made.id.write_direct_chunk((0, 0, 0), STACK.tobytes(), 0)
    monkeypatch.setattr(_hdf5_links.h5py.h5z, "filter_avail", lambda number: number < 100)
    with pytest.raises(FormatError, match=message):
        formats.open(tmp_path / "a.h5")


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.h5", "a.hdf", "a.HDF5", "a.nxs", "a.nx5", "a.he5", "scan.001"])
def test_names_of_files_and_datasets(tmp_path: Path, name: str) -> None:
    with h5py.File(tmp_path / name, "w") as file:
        file["exchange/data"] = STACK
        file["exchange/data_dark"] = STACK[:2]
    for place in (":/exchange/data", ":exchange/data", "/exchange/data"):
        volume = formats.open(f"{tmp_path / name}{place}")
        assert volume.name == f"{tmp_path / name}:/exchange/data"
        np.testing.assert_array_equal(volume, STACK)
        assert formats.files_of(volume) == [tmp_path / name]
    with pytest.raises(FormatError, match="has no dataset /exchange/other; choose one of"):
        formats.open(tmp_path / name / "exchange" / "other")


def test_hdf4_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.hdf").write_bytes(b"\x0e\x03\x13\x01" + bytes(100))
    with pytest.raises(FormatError, match="is HDF4, not HDF5; convert it"):
        formats.open(tmp_path / "a.hdf")


@pytest.mark.parametrize("content", ["text", np.zeros(3, "S4"), 3.5])
def test_datasets_without_voxels(tmp_path: Path, content: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = content
    with pytest.raises(Exception, match=r"a\.h5:/data (holds texts|has shape \(\); give one)"):
        formats.open(tmp_path / "a.h5:/data")
