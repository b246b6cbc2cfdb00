"""The axes of files as their writers record them, or do not: every volume is z, y, x."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imageio.v3 as imageio
import numpy as np
import pytest
import skimage.io
import tifffile
import xarray
import zarr
from zarr.storage import LocalStore, ZipStore

from matphase.images import formats
from matphase.images.formats._axes import letter_of, names_in
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError

STACK = np.random.default_rng(0).integers(0, 250, (6, 33, 37)).astype(np.uint8)
FOUR = np.stack([STACK, 255 - STACK, STACK])


def checked(volume: Volume, expected: np.ndarray) -> None:
    """All of it and a part in the middle are as expected."""
    assert volume.axes == "zyx"[-expected.ndim :]
    np.testing.assert_array_equal(volume.to_array(), expected)
    window = tuple(slice(side // 3, side // 3 + 2) for side in expected.shape)
    np.testing.assert_array_equal(volume[window], expected[window])
    if volume.chunks is not None:
        assert len(volume.chunks) == volume.ndim


# --- axes of length 1 -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("places", [(1,), (3,), (0, 2), (0, 1), (1, 4), (0,), (2,)])
def test_axes_of_length_one_of_a_tiff_are_dropped(
    tmp_path: Path, places: tuple[int, ...], options: dict[str, Any]
) -> None:
    if places == (2,) and "tile" in options:
        options = {}
    tifffile.imwrite(tmp_path / "a.tif", np.expand_dims(STACK, places), **options)
    checked(formats.open(tmp_path / "a.tif"), STACK)


@pytest.mark.parametrize("place", [0, 2])
def test_axes_of_length_one_of_a_slice_are_dropped(tmp_path: Path, place: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.expand_dims(STACK[0], place))
    checked(formats.open(tmp_path / "a.tif"), STACK[0])
    if place == 0:
        checked(formats.open(tmp_path / "a.tif", axes="zyx"), STACK[:1])


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("ZCYX", {"ome": True}),
        ("TZCYX", {"imagej": True}),
        ("TCZYX", {"ome": True}),
        ("CZYX", {}),
        ("QYX", {}),
        ("IYX", {}),
        ("SYX", {}),
    ],
)
def test_named_axes_of_length_one_are_dropped(
    tmp_path: Path, axes: str, options: dict[str, Any]
) -> None:
    places = tuple(place for place, axis in enumerate(axes) if axis in "TC")
    array = np.expand_dims(STACK, places)
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="minisblack", metadata={"axes": axes}, **options
    )
    checked(formats.open(tmp_path / "a.tif"), STACK)


def test_axes_of_length_one_of_arrays_are_dropped() -> None:
    checked(formats.open(STACK[:, None]), STACK)
    checked(formats.open(STACK[None, ..., None]), STACK)
    checked(formats.open(STACK[0][..., None]), STACK[0])
    assert formats.open(STACK[:1]).shape == (1, 33, 37)


# --- a fourth axis ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 6, 33, 37), "4 axes of 3 x 6 x 33 x 37 voxels .* 3 times or channels, save one"),
        ((2, 1, 6, 33, 37), "5 axes .* 2 times or channels"),
        ((6, 33, 37, 2), "4 axes .* 2 channels, such as the probabilities"),
    ],
)
def test_a_fourth_axis_without_a_name_is_refused(
    tmp_path: Path, shape: tuple[int, ...], message: str
) -> None:
    array = np.zeros(shape, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack")
    np.save(tmp_path / "a.npy", array)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = array
    for name in ("a.tif", "a.npy", "a.h5", "a.h5:/data"):
        with pytest.raises(InputError, match=message):
            formats.open(tmp_path / name)
    with pytest.raises(InputError, match=message):
        formats.open(array)


def test_a_fourth_axis_is_refused_by_its_name(tmp_path: Path) -> None:
    tags = json.dumps({"axes": [{"key": key} for key in "zyxc"]})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["probabilities"] = np.moveaxis(FOUR, 0, -1)
        file["probabilities"].attrs["axistags"] = tags
    with pytest.raises(InputError, match=r"a\.h5:/probabilities holds 3 channels; save one of"):
        formats.open(tmp_path / "a.h5")
    with pytest.raises(InputError, match="holds 3 times; save one of them"):
        formats.open(FOUR, axes="tzyx")


# --- a few slices -------------------------------------------------------------------------------


def by_tifffile(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array)


def by_imageio(path: Path, array: np.ndarray) -> None:
    imageio.imwrite(path, array)


def by_skimage(path: Path, array: np.ndarray) -> None:
    skimage.io.imsave(path, array, check_contrast=False)


def compressed(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(path, array, compression="zlib", rowsperstrip=5)


@pytest.mark.parametrize("write", [by_tifffile, by_imageio, by_skimage, compressed])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.filterwarnings("ignore")
def test_a_few_slices_of_default_writers_are_a_stack(
    tmp_path: Path, write: Callable[[Path, np.ndarray], None], count: int, dtype: str
) -> None:
    array = STACK[:count].astype(dtype)
    write(tmp_path / "a.tif", array)
    checked(formats.open(tmp_path / "a.tif"), array)
    checked(formats.open(tmp_path / "a.tif", axes="zyx"), array)


def test_narrow_slices_are_not_colour_unless_the_file_says_so(tmp_path: Path) -> None:
    narrow = STACK[..., :3]
    tifffile.imwrite(tmp_path / "grey.tif", narrow, photometric="minisblack")
    checked(formats.open(tmp_path / "grey.tif"), narrow)
    for name, array in (("rgb", narrow), ("rgba", STACK[..., :4])):
        tifffile.imwrite(tmp_path / f"{name}.tif", array, photometric="rgb", compression="zlib")
        with pytest.raises(InputError, match="is a picture in colour; convert it to grey, or if"):
            formats.open(tmp_path / f"{name}.tif")
        checked(formats.open(tmp_path / f"{name}.tif", axes="zyx"), array)


def test_grey_with_transparency_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", STACK[..., :2], photometric="minisblack", extrasamples=["unassalpha"]
    )
    with pytest.raises(InputError, match="is a picture in colour"):
        formats.open(tmp_path / "a.tif")


# --- what the user says -------------------------------------------------------------------------


def test_slices_that_are_called_channels_or_times(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "channels.tif", STACK, imagej=True)
    tifffile.imwrite(tmp_path / "times.ome.tif", STACK, ome=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "plain.tif", STACK, metadata={"axes": "CYX"})
    for name, what in (("channels", "channels"), ("times.ome", "times"), ("plain", "channels")):
        path = tmp_path / f"{name}.tif"
        message = f"holds 6 {what}; save one of them, or pass axes='zyx' if they are the slices"
        with pytest.raises(InputError, match=message):
            formats.open(path)
        for axes in ("zyx", "tyx", "ZYX", "z, y, x"):
            checked(formats.open(path, axes=axes), STACK)


@pytest.mark.parametrize("suffix", ["tif", "h5", "npy", "zarr"])
@pytest.mark.parametrize("axes", ["xyz", "zxy", "yxz", "czyx", "xcyz", "zyxt"])
def test_given_axes_are_those_of_every_format(tmp_path: Path, suffix: str, axes: str) -> None:
    order = [axes.replace("c", "").replace("t", "").index(axis) for axis in "zyx"]
    stored = STACK.transpose(np.argsort(order))
    for place, axis in enumerate(axes):
        if axis in "ct":
            stored = np.expand_dims(stored, place)
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, stored, photometric="minisblack")
    elif suffix == "h5":
        with h5py.File(path, "w") as file:
            file["data"] = stored
    elif suffix == "npy":
        np.save(path, stored)
    else:
        zarr.create_array(LocalStore(path), data=stored)
    checked(formats.open(path, axes=axes), STACK)


def test_given_axes_of_folders_slices_and_arrays(tmp_path: Path) -> None:
    for number, plane in enumerate(STACK):
        tifffile.imwrite(tmp_path / f"{number}.tif", plane)
    volume = formats.open(tmp_path, axes="yzx")
    checked(volume, STACK.transpose(1, 0, 2))
    assert formats.files_of(volume) == [
        tmp_path,
        *(tmp_path / f"{number}.tif" for number in range(6)),
    ]
    checked(formats.open(tmp_path / "0.tif", axes="xy"), STACK[0].T)
    checked(formats.open(STACK, axes="xyz"), STACK.T)
    checked(formats.open(formats.open(STACK), axes="xyz"), STACK.T)
    with pytest.raises(InputError, match="axes 'yx' do not fit array of shape 6 x 33 x 37; pass"):
        formats.open(STACK, axes="yx")


# --- what a file records ------------------------------------------------------------------------


def tags(axes: str) -> str:
    listed = [{"key": key, "typeFlags": 2, "resolution": 0, "description": ""} for key in axes]
    return json.dumps({"axes": listed})


@pytest.mark.parametrize(
    "recorded",
    [
        {"axistags": tags("xyz")},
        {"axes": "xyz"},
        {"axes": b"x,y,z"},
        {"axes": "[x:y:z]"},
        {"axes": np.array([b"x", b"y", b"z"])},
        {"axes": ["width", "row", "slice"]},
        {"dimension_names": ["x", "y", "z"]},
        {"axes": "xyz", "element_size_um": [3.0, 2.0, 1.0]},
    ],
)
def test_attributes_of_a_dataset_name_its_axes(tmp_path: Path, recorded: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=STACK.T, chunks=(8, 16, 2)).attrs.update(recorded)
        volume = formats.open(file["data"])
        np.testing.assert_array_equal(volume, STACK)
    volume = formats.open(tmp_path / "a.h5")
    checked(volume, STACK)
    assert volume.chunks == (2, 16, 8)
    if "element_size_um" in recorded:
        assert volume.voxel_size == (3, 2, 1)
    checked(formats.open(tmp_path / "a.h5", axes="zyx"), STACK.T)


def test_ilastik_exports(tmp_path: Path) -> None:
    for axes, array, expected in (
        ("yxc", STACK[0][..., None], STACK[0]),
        ("tzyxc", STACK[None, ..., None], STACK),
        ("zyxc", STACK[..., None], STACK),
        ("xy", STACK[0].T, STACK[0]),
        ("xz", STACK[:, 0].T, STACK[:, 0]),
    ):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["exported_data"] = array
            file["exported_data"].attrs["axistags"] = tags(axes)
        checked(formats.open(tmp_path / "a.h5"), expected)


def test_dimension_labels_and_scales(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["data"] = STACK.T
        for place, name in enumerate("xyz"):
            file["data"].dims[place].label = name
    checked(formats.open(tmp_path / "labels.h5"), STACK)
    with h5py.File(tmp_path / "scales.h5", "w") as file:
        file["data"] = STACK.T
        for place, (name, length) in enumerate({"x": 0.1, "y": 0.2, "z": 0.5}.items()):
            file[f"axes/{name}"] = np.arange(STACK.T.shape[place]) * length
            file[f"axes/{name}"].attrs["units"] = "um"
            file[f"axes/{name}"].make_scale(name)
            file["data"].dims[place].attach_scale(file[f"axes/{name}"])
    volume = formats.open(tmp_path / "scales.h5:/data")
    checked(volume, STACK)
    assert (volume.voxel_size, volume.unit) == ((0.5, 0.2, 0.1), "um")


def nexus(path: Path, axes: list[str], *, old: bool = False) -> None:
    """A file of a beamline: the data in the detector, linked where they are shown."""
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        file["entry/instrument/detector/data"] = STACK.T
        file["entry/instrument/detector/dark"] = STACK.T[:5]
        shown = entry.create_group("data")
        shown.attrs["NX_class"] = "NXdata"
        shown["data"] = file["entry/instrument/detector/data"]
        if old:
            shown["data"].attrs["signal"] = 1
            shown["data"].attrs["axes"] = ":".join(axes)
        else:
            shown.attrs["signal"] = "data"
            shown.attrs["axes"] = axes
        for name, side in zip(axes, STACK.T.shape, strict=True):
            if name != ".":
                shown[name] = np.arange(side) * 0.5
                shown[name].attrs["units"] = "um"


@pytest.mark.parametrize("old", [False, True])
def test_nexus_names_its_axes_and_what_it_shows(tmp_path: Path, old: bool) -> None:
    nexus(tmp_path / "scan.nxs", ["x", "y", "z"], old=old)
    for place in ("", ":/entry/data/data", ":/entry/data"):
        volume = formats.open(f"{tmp_path / 'scan.nxs'}{place}")
        checked(volume, STACK)
        assert volume.name.endswith("/entry/data/data")
    if not old:
        assert (volume.voxel_size, volume.unit) == ((0.5,) * 3, "um")


def test_projections_are_no_slices(tmp_path: Path) -> None:
    nexus(tmp_path / "scan.nxs", ["rotation_angle", "y", "x"])
    with pytest.raises(InputError, match="holds 37 images along rotation_angle; save one"):
        formats.open(tmp_path / "scan.nxs")
    nexus(tmp_path / "known.nxs", ["detector_x", ".", "voxel_z"])
    checked(formats.open(tmp_path / "known.nxs"), STACK)


def test_recorded_axes_that_do_not_fit(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = STACK
        file["data"].attrs["axes"] = "tzyx"
    with pytest.raises(InputError, match=r"records 4 axes \(t, z, y, x\); say what its axes are"):
        formats.open(tmp_path / "a.h5")
    checked(formats.open(tmp_path / "a.h5", axes="zyx"), STACK)


@pytest.mark.parametrize("names", [("x", "y", "z"), ("X", "row", "depth")])
def test_dimension_names_of_zarr(tmp_path: Path, names: tuple[str, ...]) -> None:
    stored = zarr.create_array(
        LocalStore(tmp_path / "3.zarr"), data=STACK.T, chunks=(8, 16, 2), dimension_names=names
    )
    old = zarr.create_array(LocalStore(tmp_path / "2.zarr"), data=STACK.T, zarr_format=2)
    old.attrs["_ARRAY_DIMENSIONS"] = list(names)
    zipped = ZipStore(tmp_path / "3.zarr.zip", mode="w")
    zarr.create_array(zipped, data=STACK.T, dimension_names=names)
    zipped.close()
    for name in ("3.zarr", "2.zarr", "3.zarr.zip"):
        checked(formats.open(tmp_path / name), STACK)
    checked(formats.open(stored), STACK)
    assert formats.open(stored).chunks == (2, 16, 8)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.filterwarnings("ignore")
def test_what_xarray_writes(tmp_path: Path, zarr_format: Any) -> None:
    known = Volume.from_array(STACK, voxel_size=(0.5, 0.2, 0.1), unit="um", name="scan")
    data = known.to_xarray().transpose("x", "z", "y")
    data.to_dataset(name="scan").to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format)
    for source in (data, tmp_path / "a.zarr" / "scan"):
        volume = formats.open(source)
        checked(volume, STACK)
        assert (volume.voxel_size, volume.unit) == ((0.5, 0.2, 0.1), "um")
    unnamed = xarray.DataArray(STACK)  # dim_0 and so on are no names
    checked(formats.open(unnamed), STACK)


@pytest.mark.parametrize("options", [{}, {"ome": True}])
def test_a_tiff_names_its_axes(tmp_path: Path, options: dict[str, Any]) -> None:
    metadata = {"axes": "ZYX"} if options else {"axes": "XYZ"}
    array = STACK if options else STACK.T
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="minisblack", metadata=metadata, **options
    )
    checked(formats.open(tmp_path / "a.tif"), STACK)


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        ("z", "z"), ("Time", "t"), ("detector_y", "y"), ("voxel z", "z"), ("columns", "x"),
        ("RGB", "s"), ("dim_0", None), ("x2", None), ("angle", None), ("", None), ("x_y", None),
    ],
)  # fmt: skip
def test_letters_of_names(name: str, letter: str | None) -> None:
    assert letter_of(name) == letter


@pytest.mark.parametrize("odd", [None, 3, 2.5, "{}", '{"axes": 3}', "{", np.zeros(3)])
def test_attributes_that_name_no_axes(tmp_path: Path, odd: Any) -> None:
    assert not any(map(letter_of, names_in(odd) or ()))
    if odd is not None:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["data"] = STACK
            file["data"].attrs["axes"] = odd
            file["data"].attrs["axistags"] = odd
        checked(formats.open(tmp_path / "a.h5"), STACK)


# --- pages --------------------------------------------------------------------------------------


def each(path: Path, **options: Any) -> None:
    with tifffile.TiffWriter(path) as file:
        for plane in STACK:
            file.write(plane, **options)


def test_pages_that_are_written_one_by_one_are_a_stack(tmp_path: Path) -> None:
    each(tmp_path / "loop.tif")
    each(tmp_path / "packed.tif", compression="zlib", rowsperstrip=7)
    each(tmp_path / "bare.tif", metadata=None)
    for plane in STACK:
        tifffile.imwrite(tmp_path / "appended.tif", plane, append=True)
    with tifffile.TiffWriter(tmp_path / "one.tif") as file:
        for plane in STACK:
            file.write(plane[None])
    with tifffile.TiffWriter(tmp_path / "blocks.tif") as file:
        for part in (STACK[:3], STACK[3:5], STACK[5:]):
            file.write(part, photometric="minisblack")
    for path in sorted(tmp_path.iterdir()):
        checked(formats.open(path), STACK)


@pytest.mark.filterwarnings("ignore")
def test_blocks_of_three_slices_that_were_taken_for_colours(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK[:3], compression="zlib")
        file.write(STACK[3:], compression="zlib")
    checked(formats.open(tmp_path / "a.tif"), STACK)


def test_images_that_the_file_keeps_apart(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(STACK, metadata={"axes": "ZYX"}, photometric="minisblack")
        file.write(STACK, metadata={"axes": "ZYX"}, photometric="minisblack")
    with pytest.raises(FormatError, match="holds 2 images; save each as a file"):
        formats.open(tmp_path / "a.ome.tif")


def test_smaller_copies_for_viewers_are_left_out(tmp_path: Path) -> None:
    options = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif", ome=True) as file:
        file.write(STACK, subifds=2, metadata={"axes": "ZYX"}, **options)
        file.write(STACK[:, ::2, ::2], subfiletype=1, **options)
        file.write(STACK[:, ::4, ::4], subfiletype=1, **options)
    checked(formats.open(tmp_path / "pyramid.ome.tif"), STACK)
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as file:
        file.write(STACK[0], metadata=None)
        file.write(STACK[0, ::4, ::4], metadata=None, subfiletype=1)
    checked(formats.open(tmp_path / "thumbnail.tif"), STACK[0])
    (tmp_path / "folder").mkdir()
    (tmp_path / "thumbnail.tif").rename(tmp_path / "folder" / "0.tif")
    checked(formats.open(tmp_path / "folder"), STACK[:1])


def test_a_volume_in_one_page(tmp_path: Path) -> None:
    for number, options in enumerate(({}, {"compression": "zlib"}, {"tile": (2, 16, 16)})):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, STACK, volumetric=True, photometric="minisblack", **options)
        checked(formats.open(path), STACK)


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".h5"])
@pytest.mark.filterwarnings("ignore")
def test_an_empty_axis(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, STACK[:0], photometric="minisblack")
    elif suffix == ".npy":
        np.save(path, STACK[:0])
    else:
        with h5py.File(path, "w") as file:
            file["data"] = STACK[:0]
    with pytest.raises((InputError, FormatError), match=f"a{suffix}"):
        formats.open(path)
