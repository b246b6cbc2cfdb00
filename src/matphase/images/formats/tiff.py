"""TIFF: slices and stacks, BigTIFF, with the voxel sizes of ImageJ and OME-TIFF.

Only ImageJ and OME metadata count as a measurement. The plain resolution tags do not: cameras,
scanners and plotting programs fill them with the dots per inch of a page.
"""

import logging
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from matphase.images.formats._reading import Header, reading, stack_of, stacked
from matphase.images.formats._tiff_windows import read_window, segment_shape
from matphase.images.volume import Volume
from matphase.images.voxel_size import VoxelSize, checked_voxel_size, converted, normalised_unit
from matphase.support.errors import FormatError, InputError, OutputError

# tifffile logs what it finds wrong in a file; here that becomes an error or nothing. A handler
# that does nothing keeps the log off the terminal and leaves it to those who configure logging.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_OME_DTYPES = ("int8", "int16", "int32", "uint32", "float64")

# Offsets of a classic TIFF have 32 bits; the rest is room for its page tables.
_CLASSIC_BYTES = 2**32 - 2**26
_MAX_UINT32 = 2**32 - 1


def open_file(path: Path, axes: str | None) -> Volume:
    """Open a TIFF file as a volume: one page is a slice, several are a stack.

    Args:
        path: the file.
        axes: "zyx" reads a file as a stack whatever its metadata call the pages (ImageJ often
            calls the slices of a stack frames), even a file of one page; None trusts the file.

    Raises:
        FormatError: a file that is missing, empty, truncated, damaged, or compressed in a way
            that is not supported here.
        InputError: a picture in colour, several channels, or a time series.
    """
    with reading(path), _opened(path) as tif:
        _check_whole(tif, path)
        series = _only_series(tif, path)
        stacked = _is_stack(series, path, axes)
        source = _source(series, path, stacked=stacked)
        voxel_size, unit = _voxel_size(tif)
    if voxel_size is not None and not stacked:
        voxel_size = voxel_size[1:]
    return Volume.from_array(source, "zyx" if stacked else "yx", voxel_size, unit, str(path))


def open_slices(paths: list[Path], name: str) -> Volume:
    """Open TIFF slices of one page each as a stack; see `stack_of` for what it raises."""
    return stack_of(paths, name, _read_header, _read_single)


def save(path: Path, volume: Volume, *, compress: bool) -> None:
    """Write a TIFF that keeps the voxel size, slice by slice.

    ImageJ's form, which Fiji reads with its voxel size, for uint8, uint16 and float32; OME-TIFF
    for other types, for names that end in .ome.tif, and as BigTIFF above 4 GB. bool is stored as
    uint8 0 and 1 and float16 as float32, with the same values. A stack of one slice becomes one
    page, which reads as a slice unless `axes="zyx"` is passed.

    Raises:
        OutputError: integers of 64 bits, or a voxel size that the format cannot hold.
    """
    stored = {"bool": "uint8", "float16": "float32"}.get(volume.dtype.name, volume.dtype.name)
    dtype = np.dtype(stored)
    if stored not in _IMAGEJ_DTYPES + _OME_DTYPES:
        raise OutputError(
            f"{path.name}: TIFF readers do not take {stored}; save it as .h5, or convert it"
        )
    big = math.prod(volume.shape) * dtype.itemsize > _CLASSIC_BYTES
    ome = (
        big or stored not in _IMAGEJ_DTYPES or path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    )
    describe = _ome_description if ome else _imagej_description
    with tifffile.TiffWriter(path, bigtiff=big, imagej=not ome, ome=ome) as tif:
        tif.write(
            (plane.astype(dtype, copy=False) for plane in volume.slices()),
            dtype=dtype,
            photometric="minisblack",
            compression="zlib" if compress else None,
            **describe(volume),
        )


@dataclass(frozen=True, eq=False)
class _Pages:
    """Array of a file with one page per slice; it is open only while it is read."""

    path: Path
    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block, given by one window per axis; decodes only strips or tiles it touches.

        Raises:
            FormatError: the file is gone, changed or damaged.
        """
        *z, rows, columns = windows
        with reading(self.path), _opened(self.path) as tif:

            def window(number: int) -> NDArray[Any]:
                tif.filehandle.seek(self.offsets[number])
                page = tifffile.TiffPage(tif, number)
                if (page.imagelength, page.imagewidth) != self.shape[-2:]:
                    raise FormatError(f"{self.path} has changed since it was opened; open it again")
                return read_window(page, rows, columns)

            if not z:
                return window(0)
            return stacked(map(window, range(z[0].start, z[0].stop)), windows, self.dtype)


@dataclass(frozen=True, eq=False)
class _Contiguous:
    """Array of uncompressed slices that lie one after the other, as in ImageJ files above 4 GB."""

    path: Path
    offset: int
    stored: np.dtype[Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Copy a block, given by one window per axis, out of the memory-mapped file.

        Raises:
            FormatError: the file is gone or has become shorter.
        """
        with reading(self.path):
            mapped = np.memmap(self.path, self.stored, "r", self.offset, self.shape)
            return np.array(mapped[windows], self.dtype)


def _opened(path: Path) -> tifffile.TiffFile:
    if path.stat().st_size == 0:
        raise FormatError(f"{path} is empty; export it again")
    try:
        return tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        raise FormatError(f"{path} is not a TIFF file; check the file") from error


def _check_whole(tif: tifffile.TiffFile, path: Path) -> None:
    """Check that the chain of pages is complete and that the pixels of each page lie in the file.

    Raises:
        FormatError: part of the file is missing.
    """
    truncated = FormatError(f"{path} is truncated or damaged; copy or export it again")
    if not len(tif.pages):
        raise truncated
    # The reader stops at a link that leads nowhere; only a whole chain ends in a zero.
    link = struct.Struct(tif.tiff.offsetformat)
    tif.filehandle.seek(tif.pages.next_page_offset or 0)
    end = tif.filehandle.read(link.size)
    if len(end) < link.size or link.unpack(end)[0] != 0:
        raise truncated
    size = tif.filehandle.size
    for page in tif.pages:
        if not page.dataoffsets or len(page.dataoffsets) != len(page.databytecounts):
            raise truncated
        ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
        if max(ends) > size:
            raise truncated


def _only_series(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """Find the image or stack that the file holds.

    Raises:
        FormatError: pages that differ, that are missing, or that lie in other files.
        InputError: colour.
    """
    series = tif.series
    if len(series) != 1:
        raise FormatError(
            f"{path} holds {len(series)} images of different size or type; save each as a file"
        )
    page = series[0].keyframe
    if page.samplesperpixel > 1:
        raise _colour(path)
    _check_codec(page, path)
    declared = int((tif.imagej_metadata or {}).get("images", 1))
    if series[0].size < declared * page.size:
        raise FormatError(
            f"{path} should hold {declared} slices but has fewer; copy or export it again"
        )
    if series[0].is_multifile or any(part is None for part in series[0].pages):
        raise FormatError(
            f"{path} is one part of an image in several files; save the image as one file"
        )
    return series[0]


def _colour(path: Path) -> InputError:
    return InputError(
        f"{path} is a picture in colour (RGB); convert it to grey, or if these are a few slices, "
        "write them with mp.save, or tifffile's photometric='minisblack'"
    )


def _check_codec(page: tifffile.TiffPage, path: Path) -> None:
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
        tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        name = tifffile.COMPRESSION(page.compression).name
        raise FormatError(
            f"{path} is compressed with {name}, which needs the package imagecodecs: install it, "
            "or save the image uncompressed"
        ) from error


def _is_stack(series: tifffile.TiffPageSeries, path: Path, axes: str | None) -> bool:
    """Tell whether the series is a stack rather than a slice.

    Raises:
        InputError: several channels or times, or more than three axes.
    """
    lengths = dict(zip(series.axes, series.shape, strict=True))
    more = {axis: length for axis, length in lengths.items() if axis not in "YX" and length > 1}
    if len(more) > 1:
        listed = ", ".join(f"{axis} {length}" for axis, length in lengths.items())
        raise InputError(
            f"{path} has axes {listed}; save one channel and time as slices or a stack"
        )
    if axes is not None:
        return axes == "zyx" or bool(more)
    # Q and I are the names of an axis of pages of which the file says nothing.
    for axis, length in more.items():
        if axis not in "ZQI":
            what = {"T": "times", "C": "channels"}.get(axis, f"images along {axis}")
            raise InputError(
                f"{path} holds {length} {what}; save one of them, or pass axes='zyx' if they are "
                "the slices of a stack"
            )
    return bool(more)


def _source(series: tifffile.TiffPageSeries, path: Path, *, stacked: bool) -> _Pages | _Contiguous:
    page = series.keyframe
    plane = (page.imagelength, page.imagewidth)
    slices = series.size // math.prod(plane)
    shape = (slices, *plane) if stacked else plane
    dtype = series.dtype.newbyteorder("=")
    if series.dataoffset is not None:
        end = series.dataoffset + series.size * dtype.itemsize
        if end > path.stat().st_size:
            raise FormatError(f"{path} is truncated or damaged; copy or export it again")
        stored = series.dtype.newbyteorder(series.keyframe.parent.byteorder)
        return _Contiguous(path, series.dataoffset, stored, shape, dtype)
    offsets = tuple(part.offset for part in series.pages if part is not None)
    if len(offsets) != slices or page.imagedepth != 1:
        raise FormatError(f"{path} does not hold one slice per page; save it as a plain stack")
    chunks = (1, *segment_shape(page))[-len(shape) :]
    return _Pages(path, offsets, shape, dtype, chunks)


def _read_header(path: Path) -> Header:
    with reading(path), _opened(path) as tif:
        _check_whole(tif, path)
        if len(tif.pages) > 1:
            raise FormatError(
                f"{path} holds {len(tif.pages)} pages; files of a stack hold one slice each, so "
                "open the file itself"
            )
        page = tif.pages.first
        if page.samplesperpixel > 1:
            raise _colour(path)
        _check_codec(page, path)
        dtype = np.dtype(page.dtype).newbyteorder("=")
        return Header((page.imagelength, page.imagewidth), dtype, *_voxel_size(tif))


def _read_single(path: Path, rows: slice, columns: slice) -> tuple[tuple[int, int], NDArray[Any]]:
    with reading(path), _opened(path) as tif:
        page = tif.pages.first
        shape = page.imagelength, page.imagewidth
        inside = slice(rows.start, min(rows.stop, shape[0]))
        return shape, read_window(page, inside, slice(columns.start, min(columns.stop, shape[1])))


def _voxel_size(tif: tifffile.TiffFile) -> tuple[VoxelSize | None, str | None]:
    """Read voxel size (z, y, x) and unit, as far as the file records them."""
    read: Callable[[tifffile.TiffFile], tuple[list[float | None], str | None]]
    if tif.is_ome:
        read = _ome_voxel_size
    elif tif.is_imagej:
        read = _imagej_voxel_size
    else:
        return None, None
    lengths, unit = read(tif)
    if unit is None:
        return None, None
    try:
        return checked_voxel_size([_usable(lengths[0]), *lengths[1:]], unit, "zyx", "the file")
    except InputError:
        return None, None


def _usable(length: float | None) -> float | None:
    return length if length is not None and math.isfinite(length) and length > 0 else None


def _imagej_voxel_size(tif: tifffile.TiffFile) -> tuple[list[float | None], str | None]:
    """Read ImageJ's voxel size: pixels per unit in resolution tags, slice spacing and unit in text.

    ImageJ leaves out a distance of exactly 1, and of slices that were never measured: the two
    cannot be told apart, so the distance is then not known.
    """
    metadata = tif.imagej_metadata or {}
    # ImageJ writes other letters than ASCII as \u and four digits, the micro sign above all.
    unit = re.sub(
        r"\\u([0-9a-fA-F]{4})",
        lambda code: chr(int(code[1], 16)),
        str(metadata.get("unit", "")),
    )
    spacing = metadata.get("spacing")
    lengths: list[float | None] = [float(spacing) if isinstance(spacing, int | float) else None]
    if "yunit" in metadata or "zunit" in metadata:  # written only where the axes differ in unit
        return [None] * 3, None
    for tag in ("YResolution", "XResolution"):
        pixels, units = tif.pages.first.tags.valueof(tag, (0, 0))
        lengths.append(units / pixels if pixels else None)
    return lengths, normalised_unit(unit)


def _ome_voxel_size(tif: tifffile.TiffFile) -> tuple[list[float | None], str | None]:
    """Read OME's voxel size: PhysicalSizeZ, Y, X of the first image, in micrometres by default."""
    try:
        root = ElementTree.fromstring(tif.ome_metadata or "")
    except ElementTree.ParseError:
        return [None] * 3, None
    pixels = root.find(".//{*}Pixels")
    if pixels is None:
        return [None] * 3, None
    unit = normalised_unit(pixels.get("PhysicalSizeXUnit", "um"))
    lengths: list[float | None] = []
    for axis in "ZYX":
        own = normalised_unit(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        size = pixels.get(f"PhysicalSize{axis}")
        if size is None or own is None or unit is None:
            lengths.append(None)
        else:
            lengths.append(converted(float(size), own, unit))
    return lengths, unit


def _imagej_description(volume: Volume) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": "TZCYXS"}
    resolution = ((1, 1), (1, 1))
    if volume.voxel_size is not None:
        *spacing, y, x = volume.voxel_size
        resolution = (_pixels_per_unit(x, volume.name), _pixels_per_unit(y, volume.name))
        metadata["unit"] = volume.unit
        if spacing and spacing[0] is not None:
            metadata["spacing"] = repr(spacing[0])
    # With all six axes of ImageJ, a side of one pixel is not taken for a channel.
    shape = (1, volume.n_slices, 1, *volume.shape[-2:], 1)
    return {"shape": shape, "metadata": metadata, "resolution": resolution}


def _ome_description(volume: Volume) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": volume.axes.upper()}
    for axis, length in zip(volume.axes.upper(), volume.voxel_size or (), strict=False):
        if length is not None:
            metadata[f"PhysicalSize{axis}"] = repr(length)
            metadata[f"PhysicalSize{axis}Unit"] = "\u00b5m" if volume.unit == "um" else volume.unit
    return {"shape": volume.shape, "metadata": metadata}


def _pixels_per_unit(length: float | None, name: str) -> tuple[int, int]:
    """Write the inverse of a length as a ratio of two 32-bit numbers, for the resolution tags.

    Raises:
        OutputError: no such ratio is within a millionth of it.
    """
    # repr has the digits that were typed: 0.065 becomes 200/13, and reads back as 0.065.
    inverse = 1 / Fraction(repr(length))
    largest = _MAX_UINT32 // math.ceil(inverse)
    ratio = inverse.limit_denominator(max(largest, 1))
    if ratio.numerator > _MAX_UINT32 or abs(ratio / inverse - 1) > 1e-6:
        raise OutputError(
            f"a TIFF cannot hold the voxel size {length} of {name}; use a fitting unit, or save .h5"
        )
    return ratio.numerator, ratio.denominator
