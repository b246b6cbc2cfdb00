from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from matphase.images import formats
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError

STACK = np.random.default_rng(0).integers(0, 60_000, (4, 33, 37)).astype(np.uint16)


def write(
    path: Path, datasets: Mapping[str, Any], attributes: Mapping[str, Any] | None = None
) -> str:
    with h5py.File(path, "w") as file:
        for name, content in datasets.items():
            file[name] = content
            file[name].attrs.update(attributes or {})
    return str(path)


@pytest.mark.parametrize("name", ["scan.h5", "scan.HDF5", "scan.nxs"])
def test_a_dataset_is_named_behind_a_colon(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, {"entry/data": STACK, "entry/dark": STACK[:2]})
    volume = formats.open(f"{path}:/entry/data")
    np.testing.assert_array_equal(volume.to_array(), STACK)
    np.testing.assert_array_equal(volume.slice(3), STACK[3])
    assert volume.name == f"{path}:/entry/data"
    np.testing.assert_array_equal(formats.open(Path(f"{path}:entry/dark")).to_array(), STACK[:2])


def test_the_only_dataset_needs_no_name(tmp_path: Path) -> None:
    path = write(
        tmp_path / "scan.h5",
        {"entry/data": STACK, "entry/angles": np.arange(9.0), "entry/title": "NMC", "n": 3},
    )
    assert formats.open(path).shape == STACK.shape


def test_several_datasets_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5", {"entry/data": STACK, "entry/dark": STACK[0]})
    with pytest.raises(
        FormatError, match=r"several datasets; choose one of .*/entry/dark \(33, 37"
    ):
        formats.open(path)


@pytest.mark.parametrize("dataset", ["/entry/nothing", "/entry", "/entry/data/deeper"])
def test_a_dataset_that_is_not_there(tmp_path: Path, dataset: str) -> None:
    path = write(tmp_path / "scan.h5", {"entry/data": STACK})
    with pytest.raises(FormatError, match=rf"no dataset {dataset}; choose one of .*/entry/data"):
        formats.open(f"{path}:{dataset}")


def test_a_file_without_any_image(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5", {"angles": np.arange(9.0)})
    with pytest.raises(FormatError, match="holds no slice or stack of numbers"):
        formats.open(path)


def test_axes_of_length_one_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5", {"data": STACK[None, :, None]})
    volume = formats.open(path)
    assert volume.axes == "zyx"
    np.testing.assert_array_equal(volume.to_array(), STACK)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((2, 4, 33, 37)), "4 axes of 2 x 4 x 33 x 37 voxels .*2 times or channels"),
        (np.zeros(5), "one slice"),
        (np.zeros((33, 37), complex), "holds complex128"),
        (np.zeros((33, 37), [("a", int)]), "dataset of numbers"),
        (np.zeros((33, 37, 3), np.uint8), "RGB"),
        (h5py.Empty("f"), "is empty"),
    ],
)
def test_datasets_that_are_no_volume(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path / "scan.h5", {"data": content})
    with pytest.raises(InputError, match=message):
        formats.open(f"{path}:/data")


def test_given_axes_tell_a_narrow_stack_from_a_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5", {"data": np.zeros((33, 37, 3), np.uint8)})
    assert formats.open(path, axes="zyx").shape == (33, 37, 3)


@pytest.mark.parametrize(
    ("attributes", "size", "unit"),
    [
        ({"element_size_um": [0.5, 0.1, 0.2]}, (0.5, 0.1, 0.2), "um"),
        ({"voxel_size": 0.2, "unit": "\u00b5m"}, (0.2,) * 3, "um"),
        ({"voxel_size": [50, 20, 30], "units": b"nm"}, (50, 20, 30), "nm"),
        ({"voxel_size": [0.2, 0.1, 0.1], "unit": np.array(["mm"], "S2")}, (0.2, 0.1, 0.1), "mm"),
        ({"voxel_size": [np.nan, 0.1, 0.1], "unit": "um"}, (None, 0.1, 0.1), "um"),
        ({"voxel_size": 0.2}, None, None),
        ({"unit": "um"}, None, None),
        ({"voxel_size": [0.2, 0.2], "unit": "um"}, None, None),
        ({"voxel_size": [0, 0.1, 0.1], "unit": "um"}, None, None),
        ({"voxel_size": [0.1, np.nan, 0.1], "unit": "um"}, None, None),
        ({"voxel_size": 0.2, "unit": "pixel"}, None, None),
        ({"voxel_size": "small", "unit": "um"}, None, None),
        ({"resolution": [0.1, 0.1, 0.1]}, None, None),
    ],
)
def test_voxel_size_is_read_where_it_is_recorded(
    tmp_path: Path, attributes: dict[str, Any], size: Any, unit: str | None
) -> None:
    volume = formats.open(write(tmp_path / "scan.h5", {"data": STACK}, attributes))
    assert (volume.voxel_size, volume.unit) == (size, unit)


def test_a_slice_takes_the_pixel_size_of_its_stack(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.h5", {"data": STACK[0]}, {"element_size_um": [0.5, 0.1, 0.2]})
    assert formats.open(path).voxel_size == (0.1, 0.2)


def test_chunks_of_several_slices(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("data", data=STACK[None], chunks=(1, 3, 8, 8), compression="gzip")
    volume = formats.open(tmp_path / "scan.h5")
    assert volume.chunks == (3, 8, 8)
    np.testing.assert_array_equal(np.stack(list(volume.slices())), STACK)
    window = slice(2, 4), slice(5, 20), slice(0, 9)
    np.testing.assert_array_equal(volume.block(*window), STACK[window])


def test_a_block_reads_only_the_chunks_that_it_touches(tmp_path: Path) -> None:
    """Chunks elsewhere are damaged, which a reader of more would meet."""
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        data = file.create_dataset("data", data=STACK, chunks=(2, 8, 8), compression="gzip")
        damaged = [data.id.get_chunk_info_by_coord(at) for at in ((0, 8, 0), (2, 0, 0))]
    with (tmp_path / "scan.h5").open("r+b") as raw:
        for chunk in damaged:
            raw.seek(chunk.byte_offset)
            raw.write(bytes(chunk.size))
    volume = formats.open(tmp_path / "scan.h5")
    window = slice(0, 2), slice(0, 8), slice(0, 37)
    np.testing.assert_array_equal(volume.block(*window), STACK[window])
    with pytest.raises(FormatError, match=r"scan\.h5"):
        volume.block(slice(0, 2), slice(0, 9), slice(0, 8))


def test_a_stack_of_one_slice_stays_a_stack(tmp_path: Path) -> None:
    formats.save(tmp_path / "a.h5", Volume.from_array(STACK[:1]))
    assert formats.open(tmp_path / "a.h5").axes == "zyx"


def test_big_endian_data_become_native(tmp_path: Path) -> None:
    volume = formats.open(write(tmp_path / "scan.h5", {"data": STACK.astype(">u2")}))
    assert volume.dtype.isnative
    assert volume.slice(0).dtype.isnative
    np.testing.assert_array_equal(volume.to_array(), STACK)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    write(path, {"data": STACK})
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 25):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"scan\.h5"):
            formats.open(path)


def test_damage_inside_is_met_when_the_slice_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    formats.save(path, Volume.from_array(STACK))
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info(2)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(bytes(chunk.size))
    volume = formats.open(path)
    np.testing.assert_array_equal(volume.slice(1), STACK[1])
    with pytest.raises(FormatError, match=r"scan\.h5"):
        volume.slice(2)
