"""What holds for every format: round trips, folders, and paths that cannot be used."""

import math
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from matphase.images import formats
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError, OutputError
from matphase.support.files import remove

SUFFIXES = [".tif", ".ome.tif", ".h5", ".ome.zarr"]
EXACT = (".h5", ".ome.zarr")  # hold every type of number
DTYPES = [
    "uint8",
    "uint16",
    "float32",
    "int8",
    "int16",
    "int32",
    "uint32",
    "float64",
    "float16",
    "bool",
    "int64",
    "uint64",
]
RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 60_000, (4, 33, 37)).astype(np.uint16)

lengths = st.one_of(st.sampled_from([0.2, 0.065, 1.0, 0.1, 3, 12.5, 1 / 3]), st.floats(1e-6, 1e6))


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    ndim = draw(st.sampled_from([2, 3]))
    # A stack of one slice is one page in TIFF, which does not tell it from a slice.
    shape = draw(st.tuples(*[st.integers(2, 5)] * (ndim - 2), st.integers(1, 6), st.integers(1, 6)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    array = draw(npst.arrays(dtype, shape))
    size = draw(st.none() | st.tuples(*[lengths] * ndim))
    if size is not None and ndim == 3 and draw(st.booleans()):
        size = (None, *size[1:])
    unit = None if size is None else draw(st.sampled_from(["nm", "um", "mm", "cm", "m"]))
    return Volume.from_array(array, "zyx"[-ndim:], size, unit)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(volume=volumes(), compress=st.booleans())
def test_a_saved_volume_comes_back(
    tmp_path: Path, suffix: str, volume: Volume, compress: bool
) -> None:
    path = tmp_path / f"volume{suffix}"
    if suffix not in EXACT and volume.dtype.itemsize == 8 and volume.dtype.kind in "iu":
        with pytest.raises(OutputError, match=r"save it as \.h5"):
            formats.save(path, volume, overwrite=True)
        return
    formats.save(path, volume, overwrite=True, compress=compress)
    again = formats.open(path)
    np.testing.assert_array_equal(again.to_array(), volume.to_array())
    if suffix in EXACT or volume.dtype.name not in ("bool", "float16"):
        assert again.dtype == volume.dtype
    assert (again.axes, again.unit) == (volume.axes, volume.unit)
    if volume.voxel_size is None:
        assert again.voxel_size is None
    else:
        assert again.voxel_size is not None
        for length, expected in zip(again.voxel_size, volume.voxel_size, strict=True):
            assert length == (expected if expected is None else pytest.approx(expected, rel=1e-6))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("length", [0.2, 0.065, 0.35, 1.0, 62.5])
def test_a_length_that_people_type_comes_back_exactly(
    tmp_path: Path, suffix: str, length: float
) -> None:
    formats.save(tmp_path / f"a{suffix}", Volume.from_array(STACK, voxel_size=length, unit="um"))
    assert formats.open(tmp_path / f"a{suffix}").voxel_size == (length,) * 3


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".png"])
def test_reading_is_lazy_and_names_the_file_that_has_gone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    formats.save(path, Volume.from_array(STACK[0]))
    volume = formats.open(path)
    remove(path)
    with pytest.raises(FormatError, match=f"a{suffix}(/0)? cannot be read"):
        volume.slice(0)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".png"])
def test_slices_can_be_written_to(tmp_path: Path, suffix: str) -> None:
    formats.save(tmp_path / f"a{suffix}", Volume.from_array(STACK[0]))
    plane = formats.open(tmp_path / f"a{suffix}").slice(0)
    plane[0, 0] = 1
    assert plane.dtype.isnative


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".png"])
@pytest.mark.parametrize("compress", [True, False])
def test_blocks(tmp_path: Path, suffix: str, compress: bool) -> None:
    path = tmp_path / f"a{suffix}"
    array = STACK[0] if suffix == ".png" else STACK
    formats.save(path, Volume.from_array(array), compress=compress)
    volume = formats.open(path)
    for z in (slice(0, 1), slice(0, 4), slice(2, 4)):
        window = (slice(0, 1) if suffix == ".png" else z, slice(3, 30), slice(36, 37))
        block = volume.block(*window)
        np.testing.assert_array_equal(block, STACK[window])
        assert (block.dtype, block.flags.writeable) == (STACK.dtype, True)


def test_blocks_of_a_folder(tmp_path: Path) -> None:
    for z, plane in enumerate(STACK):
        Image.fromarray(plane).save(tmp_path / f"{z}.png")
    window = slice(1, 3), slice(3, 30), slice(0, 37)
    np.testing.assert_array_equal(formats.open(tmp_path).block(*window), STACK[window])


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".png"])
def test_volumes_travel_to_other_processes(tmp_path: Path, suffix: str) -> None:
    formats.save(tmp_path / f"a{suffix}", Volume.from_array(STACK[0]))
    copy = pickle.loads(pickle.dumps(formats.open(tmp_path / f"a{suffix}")))
    np.testing.assert_array_equal(copy.to_array(), STACK[0])


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".png"])
def test_a_missing_file(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FormatError, match="does not exist; check the path"):
        formats.open(tmp_path / f"missing{suffix}")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".png"])
@pytest.mark.parametrize("content", [b"", b"\0", b"no image at all, but some text of a page"])
def test_a_file_that_holds_no_image(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"a{suffix} "):
        formats.open(path)


@pytest.mark.parametrize("name", ["scan.jpg", "scan"])
def test_a_kind_of_file_that_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"abc")
    with pytest.raises(FormatError, match=r"not supported; give a TIFF .* HDF5"):
        formats.open(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.nxs", "a.ome.zarr.zip"])
def test_a_suffix_that_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"suffixes \.tif, \.tiff, \.ome\.tif, \.h5"):
        formats.save(tmp_path / name, Volume.from_array(STACK))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_file_stays_unless_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists"):
        formats.save(path, Volume.from_array(STACK))
    assert path.read_bytes() == b"precious"
    if suffix.endswith(".zarr"):
        with pytest.raises(OutputError, match="is a file, which is not replaced by a folder"):
            formats.save(path, Volume.from_array(STACK), overwrite=True)
        path.unlink()
        formats.save(path, Volume.from_array(STACK))
    formats.save(path, Volume.from_array(STACK), overwrite=True)
    np.testing.assert_array_equal(formats.open(path).to_array(), STACK)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_source_that_fails_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    for z, plane in enumerate(STACK):
        tifffile.imwrite(tmp_path / f"{z}.tif", plane, photometric="minisblack")
    volume = formats.open(tmp_path)
    (tmp_path / "3.tif").unlink()
    with pytest.raises(FormatError, match=r"3\.tif"):
        formats.save(tmp_path / "out" / f"a{suffix}", volume)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_the_user_says_comes_before_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    formats.save(path, Volume.from_array(STACK, voxel_size=0.5, unit="mm"))
    volume = formats.open(path, voxel_size=(0.3, 0.2, 0.1), unit="micron")
    assert (volume.voxel_size, volume.unit) == ((0.3, 0.2, 0.1), "um")
    with pytest.raises(InputError, match=f"a{suffix}.*give the unit too"):
        formats.open(path, voxel_size=0.2)
    with pytest.raises(InputError, match="above zero"):
        formats.open(path, voxel_size=-1, unit="um")
    with pytest.raises(InputError, match="pass 'zyx'"):
        formats.open(path, axes="yx")
    turned = formats.open(path, axes="xyz")
    assert turned.voxel_size == (0.5,) * 3
    np.testing.assert_array_equal(turned, STACK.transpose(2, 1, 0))
    for axes in ("abc", "zz", "y", "", "zyxz"):
        with pytest.raises(InputError, match=f"axes '{axes}' are not known"):
            formats.open(path, axes=axes)


def test_a_single_page_can_be_read_as_a_stack(tmp_path: Path) -> None:
    single = Volume.from_array(STACK[:1], voxel_size=(0.5, 0.2, 0.2), unit="um")
    formats.save(tmp_path / "a.tif", single)
    assert formats.open(tmp_path / "a.tif").axes == "yx"
    volume = formats.open(tmp_path / "a.tif", axes="zyx")
    assert (volume.shape, volume.voxel_size) == ((1, 33, 37), (0.5, 0.2, 0.2))
    np.testing.assert_array_equal(volume.to_array(), STACK[:1])


@pytest.mark.parametrize("suffix", [".tif", ".png", ".TIF"])
def test_a_folder_is_a_stack_in_the_order_of_its_numbers(tmp_path: Path, suffix: str) -> None:
    for z, number in enumerate([2, 9, 10, 100]):
        path = tmp_path / f"slice_{number}{suffix}"
        if suffix == ".png":
            Image.fromarray(STACK[z]).save(path)
        else:
            tifffile.imwrite(path, STACK[z])
    for other in ("Thumbs.db", "notes.txt", f".hidden{suffix}"):
        (tmp_path / other).write_text("not an image")
    (tmp_path / f"folder{suffix}").mkdir()
    volume = formats.open(tmp_path)
    assert (volume.axes, volume.voxel_size) == ("zyx", None)
    np.testing.assert_array_equal(volume.to_array(), STACK)


def test_a_folder_of_one_slice_is_a_stack_of_one(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0])
    assert formats.open(tmp_path).shape == (1, 33, 37)


def written(folder: Path, suffix: str = ".tif", numbers: tuple[int, ...] = (2, 9, 10, 100)) -> None:
    for z, number in enumerate(numbers):
        path = folder / f"slice_{number}{suffix}"
        if suffix == ".png":
            Image.fromarray(STACK[z]).save(path)
        else:
            tifffile.imwrite(path, STACK[z])


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_pattern_is_a_stack_in_the_order_of_its_numbers(tmp_path: Path, suffix: str) -> None:
    written(tmp_path, suffix)
    (tmp_path / "notes.txt").write_text("not an image")
    volume = formats.open(tmp_path / f"slice_*{suffix}", voxel_size=(None, 0.2, 0.2), unit="um")
    assert (volume.axes, volume.voxel_size) == ("zyx", (None, 0.2, 0.2))
    assert volume.name == str(tmp_path / f"slice_*{suffix}")
    np.testing.assert_array_equal(volume.to_array(), STACK)
    two = formats.open(str(tmp_path / f"slice_?{suffix}"))
    np.testing.assert_array_equal(two.to_array(), STACK[:2])


def test_folders_of_a_pattern_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for z, number in enumerate((2, 10)):
        (tmp_path / f"part_{number}").mkdir()
        tifffile.imwrite(tmp_path / f"part_{number}" / "a.tif", STACK[z])
    np.testing.assert_array_equal(formats.open(tmp_path / "part_*" / "a.tif"), STACK[:2])


def test_a_list_of_files_is_a_stack_in_its_own_order(tmp_path: Path) -> None:
    written(tmp_path)
    names = [tmp_path / "slice_10.tif", str(tmp_path / "slice_2.tif")]
    volume = formats.open(names)
    np.testing.assert_array_equal(volume.to_array(), STACK[[2, 0]])
    assert volume.name == f"{names[0]} and 1 more files"
    assert formats.open(names[:1]).shape == (1, 33, 37)


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "scan[1].tif", STACK[0])
    assert formats.open(tmp_path / "scan[1].tif").axes == "yx"


def test_patterns_and_lists_that_are_no_stack(tmp_path: Path) -> None:
    written(tmp_path)
    Image.fromarray(STACK[0]).save(tmp_path / "slice_3.png")
    formats.save(tmp_path / "a.h5", Volume.from_array(STACK))
    with pytest.raises(FormatError, match=r"no file matches .*scan_\*\.tif; check the pattern"):
        formats.open(tmp_path / "scan_*.tif")
    with pytest.raises(FormatError, match=r"slice_\* mixes \.png and \.tif files"):
        formats.open(tmp_path / "slice_*")
    with pytest.raises(
        FormatError, match=r"a\.h5 is not an image of a slice; give \.tif, \.tiff, \.png files"
    ):
        formats.open(tmp_path / "*.h5")
    with pytest.raises(FormatError, match=r"gone\.tif cannot be read"):
        formats.open([tmp_path / "slice_2.tif", tmp_path / "gone.tif"])


def test_a_volume_is_opened_as_it_is_or_with_another_voxel_size() -> None:
    volume = Volume.from_array(STACK, name="mine")
    assert formats.open(volume) is volume
    other = formats.open(volume, voxel_size=0.2, unit="um")
    assert (other.data, other.voxel_size, other.name) == (volume.data, (0.2,) * 3, "mine")


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(FormatError, match=r"holds no images; give one with \.tif"):
        formats.open(tmp_path)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, suffix: str) -> None:
    written(tmp_path, suffix)
    (tmp_path / f"slice_9{suffix}").unlink()
    (tmp_path / f"slice_9{suffix}").symlink_to(".git/annex/gone")
    (tmp_path / "other.txt").symlink_to("nothing")  # would not have been a slice
    message = rf"slice_9{suffix} is a link to .git/annex/gone, which is missing"
    listed = [tmp_path / f"slice_{number}{suffix}" for number in (2, 9)]
    for source in (tmp_path, tmp_path / f"*{suffix}", listed, listed[1]):
        with pytest.raises(FormatError, match=message):
            formats.open(source)


def test_links_to_slices_are_slices(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    written(tmp_path / "real")
    (tmp_path / "links").mkdir()
    for path in (tmp_path / "real").iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
    np.testing.assert_array_equal(formats.open(tmp_path / "links"), STACK)


def test_suffixes_of_tiff_side_by_side(tmp_path: Path) -> None:
    for z, name in enumerate(["1.tif", "2.TIF", "3.tiff", "4.TIFF"]):
        tifffile.imwrite(tmp_path / name, STACK[z])
    np.testing.assert_array_equal(formats.open(tmp_path), STACK)
    tifffile.imwrite(tmp_path / "2.tiff", STACK[0])
    with pytest.raises(FormatError, match=r"has both 2\.(TIF|tiff) and 2\.(TIF|tiff); keep one"):
        formats.open(tmp_path)


def test_decimal_numbers_in_names(tmp_path: Path) -> None:
    for z, name in enumerate(["z_0.5", "z_1", "z_1.25", "z_10"]):
        tifffile.imwrite(tmp_path / f"{name}.tif", STACK[z])
    np.testing.assert_array_equal(formats.open(tmp_path), STACK)
    np.testing.assert_array_equal(formats.open(tmp_path / "z_*.tif"), STACK)


def test_a_folder_of_two_kinds(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0])
    Image.fromarray(STACK[0]).save(tmp_path / "b.png")
    with pytest.raises(FormatError, match=r"mixes \.png and \.tif"):
        formats.open(tmp_path)


@pytest.mark.parametrize("odd", [STACK[0, 1:], STACK[0].astype(np.float32)])
def test_a_folder_of_slices_that_differ(tmp_path: Path, odd: np.ndarray) -> None:
    for z in (0, 1):
        tifffile.imwrite(tmp_path / f"{z}.tif", STACK[z])
    tifffile.imwrite(tmp_path / "2.tif", odd)
    with pytest.raises(FormatError, match=r"2\.tif holds .* but 0\.tif 33 x 37 px of uint16"):
        formats.open(tmp_path)


def test_a_folder_with_a_damaged_slice(tmp_path: Path) -> None:
    for z in (0, 1):
        tifffile.imwrite(tmp_path / f"{z}.tif", STACK[z])
    whole = (tmp_path / "1.tif").read_bytes()
    (tmp_path / "1.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"1\.tif"):
        formats.open(tmp_path)


def test_a_slice_that_is_replaced_after_opening(tmp_path: Path) -> None:
    for z in (0, 1):
        tifffile.imwrite(tmp_path / f"{z}.tif", STACK[z])
    volume = formats.open(tmp_path)
    tifffile.imwrite(tmp_path / "1.tif", STACK[1, 1:])
    with pytest.raises(FormatError, match=r"1\.tif has changed"):
        volume.to_array()


def test_a_folder_of_stacks(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "0.tif", STACK, photometric="minisblack")
    with pytest.raises(FormatError, match=r"0\.tif holds 4 pages"):
        formats.open(tmp_path)


@pytest.mark.parametrize("spacing", [None, 0.5])
def test_a_folder_has_the_pixel_size_of_its_slices(tmp_path: Path, spacing: float | None) -> None:
    metadata = {"axes": "YX", "unit": "um"} | ({} if spacing is None else {"spacing": spacing})
    for z, plane in enumerate(STACK):
        tifffile.imwrite(
            tmp_path / f"{z}.tif", plane, imagej=True, resolution=(4, 5), metadata=metadata
        )
    volume = formats.open(tmp_path)
    assert (volume.voxel_size, volume.unit) == ((spacing, 0.2, 0.25), "um")


def test_unknown_is_not_not_a_number(tmp_path: Path) -> None:
    volume = Volume.from_array(STACK, voxel_size=(None, 0.2, 0.2), unit="um")
    for suffix in SUFFIXES:
        formats.save(tmp_path / f"a{suffix}", volume)
        size = formats.open(tmp_path / f"a{suffix}").voxel_size
        assert size is not None
        assert size[0] is None
        assert not any(length is not None and math.isnan(length) for length in size)


def test_the_files_that_a_volume_is_read_from(tmp_path: Path) -> None:
    paths = [tmp_path / f"slice_{number}.tif" for number in range(3)]
    for path in paths:
        formats.save(path, Volume.from_array(np.zeros((32, 32), np.uint8)))
    file = tmp_path / "scan.h5"
    formats.save(file, Volume.from_array(np.zeros((3, 32, 32), np.uint8)))
    pattern = tmp_path / "slice_*.tif"
    assert formats.files_of(formats.open(pattern)) == [pattern, *paths]
    assert formats.files_of(formats.open(tmp_path)) == [tmp_path, *paths]
    assert formats.files_of(formats.open(paths)) == paths
    assert formats.files_of(formats.open(paths[0])) == [paths[0]]
    assert formats.files_of(formats.open(f"{file}:/data")) == [file]
    named = formats.open(np.zeros((32, 32), np.uint8), name=str(file))
    assert formats.files_of(named) == []


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".ome.zarr/zarr.json", ".ome.zarr/0/c/0/0/0"])
def test_pipes_and_devices_are_no_images(tmp_path: Path, suffix: str) -> None:
    """They may never end."""
    path = tmp_path / f"a{suffix.partition('.zarr')[0]}{'.zarr' if '.zarr' in suffix else ''}"
    formats.save(path, Volume.from_array(STACK))
    inside = tmp_path / f"a{suffix}"
    for kind in ("pipe", "device"):
        shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
        if kind == "pipe":
            os.mkfifo(inside)
        else:
            inside.symlink_to("/dev/zero")
        with pytest.raises(FormatError, match=r"not a regular file|no Zarr|not supported"):
            formats.open(path).to_array()
