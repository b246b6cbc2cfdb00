import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from matphase.images import formats
from matphase.images.formats import tiff
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError, OutputError

STACK = np.random.default_rng(0).integers(0, 60_000, (5, 33, 37)).astype(np.uint16)
GREY = {"photometric": "minisblack"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "zlib"},
        {"compression": "zlib", "predictor": 2},
        {"tile": (16, 16), "compression": "zlib"},
        {"rowsperstrip": 5},
        {"metadata": None},
        {"contiguous": False, "metadata": None},
        {"imagej": True},
        {"imagej": True, "truncate": True},
        {"ome": True},
        {"ome": True, "bigtiff": True, "tile": (16, 16)},
    ],
)
def test_stacks_as_other_programs_write_them(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    if options.pop("contiguous", True):
        if "imagej" in options or "ome" in options:
            options = {**options, "metadata": {"axes": "ZYX"}}
        tifffile.imwrite(path, STACK, **GREY, **options)
    else:
        with tifffile.TiffWriter(path) as file:
            for plane in STACK:
                file.write(plane, **GREY, **options)
    volume = formats.open(path)
    assert (volume.axes, volume.voxel_size, volume.unit) == ("zyx", None, None)
    assert volume.dtype == np.uint16
    assert volume.slice(3).dtype.isnative
    np.testing.assert_array_equal(volume.slice(3), STACK[3])
    np.testing.assert_array_equal(volume.to_array(), STACK)
    window = slice(1, 4), slice(10, 33), slice(15, 20)
    np.testing.assert_array_equal(volume.block(*window), STACK[window])


def test_pillow_and_tifffile_write_the_same_slice(tmp_path: Path) -> None:
    Image.fromarray(STACK[0]).save(tmp_path / "a.tif", dpi=(72, 72))
    volume = formats.open(tmp_path / "a.tif")
    assert (volume.axes, volume.voxel_size) == ("yx", None)
    np.testing.assert_array_equal(volume.to_array(), STACK[0])


def test_a_bilevel_mask(tmp_path: Path) -> None:
    mask = STACK > 30_000
    tifffile.imwrite(tmp_path / "a.tif", mask, **GREY)
    np.testing.assert_array_equal(formats.open(tmp_path / "a.tif").to_array(), mask)
    tifffile.imwrite(tmp_path / "b.tif", mask, **GREY, rowsperstrip=5, compression="packbits")
    np.testing.assert_array_equal(formats.open(tmp_path / "b.tif")[2, 3:14, 5:], mask[2, 3:14, 5:])


@pytest.mark.parametrize("unit", [None, "NONE", "INCH", "CENTIMETER"])
def test_plain_resolution_tags_are_no_measurement(tmp_path: Path, unit: str | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], resolution=(72, 72), resolutionunit=unit)
    assert formats.open(tmp_path / "a.tif").voxel_size is None


def write_imagej(path: Path, description: str, resolution: tuple[float, float] = (5, 4)) -> Path:
    """A stack with the text that ImageJ itself writes."""
    with tifffile.TiffWriter(path, byteorder=">") as file:
        for z, plane in enumerate(STACK):
            text = {"description": description} if z == 0 else {}
            file.write(plane, **GREY, metadata=None, resolution=resolution, **text)
    return path


@pytest.mark.parametrize(
    ("description", "size", "unit"),
    [
        ("unit=micron\nspacing=0.5\n", (0.5, 0.25, 0.2), "um"),
        ("unit=\\u00B5m\nspacing=0.5\n", (0.5, 0.25, 0.2), "um"),
        ("unit=\\u03bcm\nspacing=0.5\n", (0.5, 0.25, 0.2), "um"),
        ("unit=um\n", (None, 0.25, 0.2), "um"),
        ("unit=nm\nspacing=2\n", (2, 0.25, 0.2), "nm"),
        ("unit=um\nspacing=-0.5\n", (None, 0.25, 0.2), "um"),
        ("unit=um\nspacing=NaN\n", (None, 0.25, 0.2), "um"),
        ("unit=um\nzunit=nm\nspacing=500\n", None, None),
        ("unit=pixel\nspacing=0.5\n", None, None),
        ("unit=inch\nspacing=0.5\n", None, None),
        ("spacing=0.5\n", None, None),
        ("", None, None),
    ],
)
def test_imagej_voxel_size(tmp_path: Path, description: str, size: Any, unit: str | None) -> None:
    path = write_imagej(
        tmp_path / "a.tif", f"ImageJ=1.53t\nimages=5\nslices=5\n{description}loop=false\n"
    )
    volume = formats.open(path)
    assert (volume.voxel_size, volume.unit) == (size, unit)
    np.testing.assert_array_equal(volume.to_array(), STACK)


def test_imagej_slices_that_are_called_frames(tmp_path: Path) -> None:
    path = write_imagej(
        tmp_path / "a.tif", "ImageJ=1.53t\nimages=5\nframes=5\nunit=um\nspacing=0.5\n"
    )
    with pytest.raises(InputError, match="holds 5 times; save one of them, or pass axes='zyx'"):
        formats.open(path)
    volume = formats.open(path, axes="zyx")
    assert volume.voxel_size == (0.5, 0.25, 0.2)
    np.testing.assert_array_equal(volume.to_array(), STACK)


def test_imagej_file_that_lost_its_last_slices(tmp_path: Path) -> None:
    path = write_imagej(tmp_path / "a.tif", "ImageJ=1.53t\nimages=7\nslices=7\n")
    with pytest.raises(FormatError, match=r"a\.tif"):
        formats.open(path)


OME = {"PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "\u00b5m", "PhysicalSizeY": 0.25}


@pytest.mark.parametrize(
    ("metadata", "size", "unit"),
    [
        (OME | {"PhysicalSizeYUnit": "\u00b5m", "PhysicalSizeZ": 0.5}, (0.5, 0.25, 0.2), "um"),
        (OME | {"PhysicalSizeZ": 500, "PhysicalSizeZUnit": "nm"}, (0.5, 0.25, 0.2), "um"),
        (OME | {"PhysicalSizeZ": 0.001, "PhysicalSizeZUnit": "mm"}, (1, 0.25, 0.2), "um"),
        (OME, (None, 0.25, 0.2), "um"),
        ({"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.25}, (None, 0.25, 0.2), "um"),
        ({"PhysicalSizeX": 0.2}, None, None),
        (OME | {"PhysicalSizeXUnit": "pixel"}, None, None),
        (OME | {"PhysicalSizeX": 0}, None, None),
        ({}, None, None),
    ],
)
def test_ome_voxel_size(tmp_path: Path, metadata: Any, size: Any, unit: str | None) -> None:
    tifffile.imwrite(
        tmp_path / "a.ome.tif", STACK, **GREY, metadata={"axes": "ZYX", **metadata}, ome=True
    )
    volume = formats.open(tmp_path / "a.ome.tif")
    assert (volume.voxel_size, volume.unit) == (size, unit)


@pytest.mark.parametrize("kind", ["imagej", "ome"])
@pytest.mark.parametrize(
    ("axes", "message"),
    [("CYX", "5 channels"), ("TYX", "5 times"), ("ZCYX", "Z 5, C 2"), ("TZYX", "T 5, Z 2")],
)
def test_channels_and_times(tmp_path: Path, kind: str, axes: str, message: str) -> None:
    stack = STACK if len(axes) == 3 else np.stack([STACK, STACK], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", stack, **GREY, metadata={"axes": axes}, **{kind: True})
    with pytest.raises(InputError, match=message):
        formats.open(tmp_path / "a.tif")


PLANAR = {"planarconfig": "separate", "metadata": None}


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("options", [{}, PLANAR, {"imagej": True}])
def test_pictures_in_colour(tmp_path: Path, folder: bool, options: dict[str, Any]) -> None:
    shape = (3, 33, 37) if "planarconfig" in options else (33, 37, 3)
    picture = np.zeros(shape, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb", **options)
    with pytest.raises(InputError, match="convert it to grey"):
        formats.open(tmp_path if folder else tmp_path / "a.tif")


def test_pages_of_different_size(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for plane in (STACK[0], STACK[1, 3:], STACK[2]):
            file.write(plane, **GREY, metadata=None)
    with pytest.raises(FormatError, match=r"a\.tif holds 2 images of different size"):
        formats.open(tmp_path / "a.tif")


def test_an_ome_file_whose_other_files_are_not_here(tmp_path: Path) -> None:
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1">'
        f'<UUID FileName="{z}.tif">urn:uuid:{z}</UUID></TiffData>'
        for z in range(3)
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'UUID="urn:uuid:0"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        'Type="uint16" SizeX="37" SizeY="33" SizeZ="3" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "0.tif", STACK[0], description=xml, metadata=None)
    with pytest.raises(FormatError, match="one part of an image in several files"):
        formats.open(tmp_path / "0.tif")


def test_a_compression_that_needs_another_package(tmp_path: Path, monkeypatch: Any) -> None:
    Image.fromarray(STACK[0]).save(tmp_path / "a.tif", compression="tiff_lzw")

    class Nothing(dict[int, Any]): ...

    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", Nothing())
    with pytest.raises(
        FormatError, match="compressed with LZW, which needs the package imagecodecs"
    ):
        formats.open(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"metadata": None, "compression": "zlib"},
        {"metadata": None, "bigtiff": True},
        {"metadata": {"axes": "ZYX"}, "imagej": True},
        {"metadata": {"axes": "ZYX"}, "imagej": True, "truncate": True},
        {"metadata": {"axes": "ZYX"}, "ome": True},
    ],
)
def test_a_truncated_file_is_refused_at_open(
    tmp_path: Path, options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, **GREY, **options)
    with tifffile.TiffFile(path) as file:
        # Behind pixels and pages there may be texts, without which the pixels are still whole.
        needed = max(
            max(page.dataoffsets[-1] + page.databytecounts[-1], page.offset) for page in file.pages
        )
    for length in [*range(needed - 1, 8, -97), 8, 7, 4, 1, 0]:
        os.truncate(path, length)
        with pytest.raises(FormatError, match=r"a\.tif"):
            formats.open(path)
    assert capfd.readouterr() == ("", "")


def test_a_chain_of_pages_that_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, **GREY, metadata=None)
    with tifffile.TiffFile(path) as file:
        link = file.pages[2].offset + 2 + 12 * len(file.pages[2].tags)
    with path.open("r+b") as file:
        file.seek(link)
        file.write(b"\xff\xff\xff\x7f")
    with pytest.raises(FormatError, match="truncated or damaged"):
        formats.open(path)


def test_damage_inside_is_met_when_the_slice_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    formats.save(path, Volume.from_array(STACK))
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[2].dataoffsets[0], file.pages[2].databytecounts[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    volume = formats.open(path)
    np.testing.assert_array_equal(volume.slice(1), STACK[1])
    with pytest.raises(FormatError, match=r"a\.tif is damaged"):
        volume.slice(2)


SEGMENTS = [
    {"tile": (16, 16), "compression": "zlib"},
    {"tile": (16, 32), "compression": "zlib", "predictor": 2, "byteorder": ">"},
    {"tile": (16, 16)},
    {"rowsperstrip": 5, "compression": "zlib"},
    {"rowsperstrip": 7, "compression": "lzw", "predictor": 2},
]


@pytest.mark.parametrize("options", SEGMENTS)
@pytest.mark.parametrize("folder", [False, True])
def test_windows_of_tiles_and_strips(tmp_path: Path, options: dict[str, Any], folder: bool) -> None:
    if folder:
        for z, plane in enumerate(STACK):
            tifffile.imwrite(tmp_path / f"{z}.tif", plane, **GREY, **options)
    else:
        tifffile.imwrite(tmp_path / "a.tif", STACK, **GREY, **options)
    volume = formats.open(tmp_path if folder else tmp_path / "a.tif")
    for top, bottom in ((0, 1), (3, 18), (15, 17), (16, 32), (31, 33), (0, 33)):
        for left, right in ((0, 1), (15, 17), (31, 37), (36, 37), (0, 37)):
            window = slice(1, 3), slice(top, bottom), slice(left, right)
            np.testing.assert_array_equal(volume[window], STACK[window])


@pytest.mark.parametrize("options", [*SEGMENTS[:2], *SEGMENTS[3:]])
def test_only_tiles_and_strips_that_a_block_touches_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, **GREY, **options)
    volume = formats.open(tmp_path / "a.tif")
    decoded = []
    number = {"zlib": 8, "lzw": 5}[options["compression"]]
    decode = tifffile.TIFF.DECOMPRESSORS[number]

    def counted(data: bytes, **further: Any) -> Any:
        decoded.append(len(data))
        return decode(data, **further)

    monkeypatch.setitem(tifffile.TIFF.DECOMPRESSORS._codecs, number, counted)
    np.testing.assert_array_equal(volume[2, 1:4, 3:7], STACK[2, 1:4, 3:7])
    assert len(decoded) == 1
    volume[2]
    assert len(decoded) > 3


def test_damage_elsewhere_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, **GREY, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path) as file:
        page = file.pages[2]
        offset, size = page.dataoffsets[4], page.databytecounts[4]  # rows and columns 16 to 32
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    volume = formats.open(path)
    np.testing.assert_array_equal(volume[2, :16], STACK[2, :16])
    np.testing.assert_array_equal(volume[2, :, 32:], STACK[2, :, 32:])
    with pytest.raises(FormatError, match=r"a\.tif is damaged"):
        volume[2, 10:20, 10:20]


def test_tiles_that_were_never_written_are_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, **GREY, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = file.pages[1].tags[name]
            tag.overwrite([0, *tag.value[1:]])
    expected = STACK[1].copy()
    expected[:16, :16] = 0
    volume = formats.open(path)
    np.testing.assert_array_equal(volume[1, 3:20, 3:20], expected[3:20, 3:20])
    np.testing.assert_array_equal(volume[1], expected)


def test_many_tiles_are_decoded_by_several_threads(tmp_path: Path) -> None:
    large = np.random.default_rng(1).integers(0, 99, (512, 640)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", large, tile=(64, 64), compression="zlib")
    volume = formats.open(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume[10:400, 100:639], large[10:400, 100:639])


def test_uncompressed_pages_are_mapped_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for contiguous in (True, False):
        with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=">") as file:
            for plane in STACK:
                file.write(plane, **GREY, metadata=None, contiguous=contiguous)
        volume = formats.open(tmp_path / "a.tif")
        monkeypatch.setattr(tifffile.TiffPage, "asarray", None)
        monkeypatch.setattr(tifffile.FileHandle, "read_array", None)
        window = slice(1, 4), slice(3, 5), slice(20, 37)
        np.testing.assert_array_equal(volume[window], STACK[window])


def test_imagej_reads_what_is_saved(tmp_path: Path) -> None:
    """The tags and the text that Fiji takes the voxel size from."""
    volume = Volume.from_array(STACK, voxel_size=(0.5, 0.25, 0.2), unit="um")
    formats.save(tmp_path / "a.tif", volume)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_imagej
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["slices"] == 5
        assert file.imagej_metadata["spacing"] == 0.5
        assert file.imagej_metadata["unit"] == "um"
        assert file.pages.first.tags["XResolution"].value == (5, 1)
        assert file.pages.first.tags["YResolution"].value == (4, 1)
        assert file.series[0].axes == "ZYX"


def test_ome_readers_read_what_is_saved(tmp_path: Path) -> None:
    volume = Volume.from_array(STACK, voxel_size=(0.5, 0.25, 0.2), unit="um")
    formats.save(tmp_path / "a.ome.tif", volume)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert [pixels[f"PhysicalSize{axis}"] for axis in "ZYX"] == [0.5, 0.25, 0.2]
    assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "ZYX"} == {"\u00b5m"}
    assert pixels["SizeZ"] == 5


def test_large_volumes_become_bigtiff_and_keep_their_voxel_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "_CLASSIC_BYTES", STACK.nbytes - 1)
    formats.save(tmp_path / "a.tif", Volume.from_array(STACK, voxel_size=0.2, unit="um"))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff
    volume = formats.open(tmp_path / "a.tif")
    assert (volume.voxel_size, volume.unit) == ((0.2, 0.2, 0.2), "um")
    np.testing.assert_array_equal(volume.to_array(), STACK)


@pytest.mark.parametrize("length", [1e-12, 1e12])
def test_a_length_that_the_tags_cannot_hold(tmp_path: Path, length: float) -> None:
    volume = Volume.from_array(STACK, voxel_size=length, unit="m")
    with pytest.raises(OutputError, match="use a fitting unit"):
        formats.save(tmp_path / "a.tif", volume)
    formats.save(tmp_path / "a.h5", volume)
    assert formats.open(tmp_path / "a.h5").voxel_size == (length,) * 3
