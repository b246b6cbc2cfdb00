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
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from matphase.images.arrays import ArrayLike
from matphase.images.formats._axes import UNKNOWN, Stored, unnamed
from matphase.images.formats._reading import Header, MappedFile, reading, stack_of
from matphase.images.formats._tiff_windows import read_window, segment_shape
from matphase.images.formats._tones import Recoded, grey_ramp, inverted, recoded
from matphase.images.volume import Volume
from matphase.images.voxel_size import converted, normalised_unit
from matphase.support.errors import FormatError, InputError, OutputError

# tifffile logs what it finds wrong in a file; here that becomes an error or nothing. A handler
# that does nothing keeps the log off the terminal and leaves it to those who configure logging.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_OME_DTYPES = ("int8", "int16", "int32", "uint32", "float64")

# Offsets of a classic TIFF have 32 bits; the rest is room for its page tables.
_CLASSIC_BYTES = 2**32 - 2**26
_MAX_UINT32 = 2**32 - 1


def open_file(path: Path) -> Stored:
    """Open a TIFF file: pages that are alike make one stack, with the axes that it records.

    Pages are alike if they have one size and type, however they were written. Smaller copies of
    an image, for viewers, are left out.

    Raises:
        FormatError: a file that is missing, empty, truncated, damaged, or compressed in a way
            that is not supported here, or pages that differ.
        InputError: a picture in colour, or floats with white as zero.
    """
    with reading(path), _opened(path) as tif:
        _check_whole(tif, path)
        layout = _layout(tif, path)
        recode = _recoding(layout.page, path)
        array: ArrayLike = layout.array if recode is None else Recoded(layout.array, recode)
        lengths, unit = _voxel_size(tif)
        size = None
        if lengths is not None and layout.names is not None:
            # of an axis that is neither y nor x, the length is that between slices
            size = tuple(lengths[name if name in lengths else "z"] for name in layout.names)
    return Stored(array, str(path), layout.names, size, unit)


def open_slices(paths: list[Path], name: str) -> Stored:
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
class _Planes:
    """Array of the planes of a file, which is open only while it is read.

    A page holds one plane, or several where it has depth or samples that are stored one after the
    other.

    Attributes:
        path: the file.
        offsets: where each page begins in the file.
        page: shape of a page: planes of samples, depth, rows, columns, samples of a pixel.
        segment: shape of its strips or tiles.
        leading: lengths of the axes along which the planes are counted, the last one fastest.
        places: for each axis in a plane, its place in `page`; None for one of length 1 that no
            page has.
        dtype: type of the values.
    """

    path: Path
    offsets: tuple[int, ...]
    page: tuple[int, ...]
    segment: tuple[int, ...]
    leading: tuple[int, ...]
    places: tuple[int | None, ...]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes, then those in a plane."""
        return (*self.leading, *(1 if one is None else self.page[one] for one in self.places))

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a strip or tile."""
        inside = (1 if one is None else self.segment[one] for one in self.places)
        return (*(1,) * len(self.leading), *inside)

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block, given by one window per axis; decodes only strips or tiles it touches.

        Raises:
            FormatError: the file is gone, changed or damaged.
        """
        leading, inside = windows[: len(self.leading)], windows[len(self.leading) :]
        window = [slice(0, 1)] * 5
        for place, part in zip(self.places, inside, strict=True):
            if place is not None:
                window[place] = part
        block = np.empty([part.stop - part.start for part in windows], self.dtype)
        sides = block.shape[len(leading) :]
        depth = self.page[1]
        with reading(self.path), _opened(self.path) as tif:
            for at in np.ndindex(*block.shape[: len(leading)]):
                plane = 0
                for part, one, length in zip(leading, at, self.leading, strict=True):
                    plane = plane * length + part.start + one
                number, rest = divmod(plane, self.page[0] * depth)
                tif.filehandle.seek(self.offsets[number])
                page = tifffile.TiffPage(tif, number)
                if page.shaped != self.page:
                    raise FormatError(f"{self.path} has changed since it was opened; open it again")
                sample, deep = divmod(rest, depth)
                window[:2] = slice(sample, sample + 1), slice(deep, deep + 1)
                block[at] = read_window(page, tuple(window)).reshape(sides)
        return block


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


@dataclass(frozen=True, eq=False)
class _Layout:
    """What a file holds: its array, the names of the axes, and a page that stands for all."""

    array: ArrayLike
    names: tuple[str, ...] | None
    page: tifffile.TiffPage


def _layout(tif: tifffile.TiffFile, path: Path) -> _Layout:
    """Find the image or stack that the file holds.

    Raises:
        FormatError: pages that differ, that are missing, or that lie in other files.
        InputError: colour.
    """
    series = [one for one in tif.series if not one.keyframe.is_reduced] or tif.series
    page = series[0].keyframe
    _check_codec(page, path)
    if len(series) > 1:
        return _joined(tif, series, path)
    (one,) = series
    names, shape = _names(one), tuple(one.get_shape(squeeze=False))
    declared = int((tif.imagej_metadata or {}).get("images", 1))
    if one.size < declared * page.size:
        raise FormatError(
            f"{path} should hold {declared} slices but has fewer; copy or export it again"
        )
    if one.is_multifile or any(part is None for part in one.pages):
        raise FormatError(
            f"{path} is one part of an image in several files; save the image as one file, or give "
            "the files as a folder or a pattern"
        )
    if one.dataoffset is not None:
        end = one.dataoffset + one.size * one.dtype.itemsize
        if end > path.stat().st_size:
            raise FormatError(f"{path} is truncated or damaged; copy or export it again")
        stored = one.dtype.newbyteorder(page.parent.byteorder)
        return _Layout(MappedFile(path, one.dataoffset, stored, shape), names, page)
    offsets = tuple(part.offset for part in one.pages if part is not None)
    return _Layout(_planes(path, page, offsets, shape), names, page)


def _joined(tif: tifffile.TiffFile, series: list[tifffile.TiffPageSeries], path: Path) -> _Layout:
    """Join images that were written one after the other, if all pages are alike.

    Raises:
        FormatError: they differ, or the file says that they are different images.
    """
    page = series[0].keyframe
    alike = {(one.keyframe.shaped, one.dtype, one.keyframe.photometric) for one in series}
    if len(alike) > 1:
        raise FormatError(
            f"{path} holds {len(series)} images of different size or type; save each as a file"
        )
    names = [_names(one) for one in series]
    leading = {name for one in names for name in one or () if name not in ("y", "x")}
    if tif.is_ome or leading - {UNKNOWN, "z"}:
        raise FormatError(f"{path} holds {len(series)} images; save each as a file")
    offsets: list[int] = []
    for one in series:
        if any(part is None for part in one.pages) or one.size != len(one.pages) * page.size:
            raise FormatError(f"{path} holds {len(series)} images; save each as a file")
        offsets += [part.offset for part in one.pages if part is not None]
    planes = len(offsets) * page.shaped[0] * page.shaped[1]
    array = _planes(path, page, tuple(offsets), (planes, *page.shaped[2:4]))
    return _Layout(array, (UNKNOWN, "y", "x"), page)


def _planes(
    path: Path, page: tifffile.TiffPage, offsets: tuple[int, ...], shape: tuple[int, ...]
) -> _Planes:
    """Describe the array of `shape` that pages like `page` at `offsets` make.

    Raises:
        FormatError: they do not make it.
    """
    planes = len(offsets) * page.shaped[0] * page.shaped[1]
    sides = [place for place in (2, 3, 4) if page.shaped[place] > 1]
    samples = page.shaped[4] > 1
    for inside in (3, 2, 1, 0, 4) if samples else (2, 3, 1, 0, 4):
        leading, plane = shape[: len(shape) - inside], shape[len(shape) - inside :]
        longer = [length for length in plane if length > 1]
        if math.prod(leading) != planes or longer != [page.shaped[place] for place in sides]:
            continue
        if plane == page.shaped[2 : 2 + inside]:
            places: list[int | None] = list(range(2, 2 + inside))
        else:
            left = iter(sides)
            places = [next(left) if length > 1 else None for length in plane]
        dtype = np.dtype(page.dtype).newbyteorder("=")
        return _Planes(
            path, offsets, page.shaped, segment_shape(page), leading, tuple(places), dtype
        )
    raise FormatError(f"{path} does not hold one slice per page; save it as a plain stack")


def _names(series: tifffile.TiffPageSeries) -> tuple[str, ...] | None:
    """Name the axes of a series as the file does; None where it names none of several."""
    shape = tuple(series.get_shape(squeeze=False))
    axes = series.get_axes(squeeze=False)
    described = '"axes"' in (series.keyframe.shaped_description or "")
    if series.kind == "shaped" and series.keyframe.shaped[4] == 1 and not described:
        # The file records its shape alone. That a few slices are planes of a picture in colour is
        # a guess of the library that wrote them.
        names = unnamed(shape)
        if not any(names):
            return None
        return (UNKNOWN, *names[1:]) if len(shape) > 2 and shape[0] == 1 else names
    # Q and I are the names of an axis of pages of which the file says nothing, as S is where no
    # pixel has several samples. A single page is a slice, whatever its stack of one is called.
    nameless = "QI" if series.keyframe.samplesperpixel > 1 else "QIS"
    return tuple(
        UNKNOWN if axis in nameless or (axis == "Z" and length == 1) else axis.lower()
        for axis, length in zip(axes, shape, strict=True)
    )


def _recoding(page: tifffile.TiffPage, path: Path) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """Find what has to be done with stored values; None where they are the grey values or labels.

    Raises:
        InputError: white is zero in values of a type that has no largest one.
    """
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        if np.dtype(page.dtype).kind not in "bu":
            raise InputError(
                f"{path} is stored with white as zero in {page.dtype}, which has no largest value; "
                "save it with black as zero"
            )
        return partial(inverted, bits=page.bitspersample)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        greys = grey_ramp(np.asarray(page.colormap))
        if greys is not None and page.dtype == np.uint8:
            return partial(recoded, values=greys)
    return None


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


def _read_header(path: Path) -> Header:
    with reading(path), _opened(path) as tif:
        _check_whole(tif, path)
        page = _only_page(tif, path)
        if page.shaped[0] > 1 and page.shaped_description is not None:
            raise _several(path, page.shaped[0])
        if page.samplesperpixel > 1:
            raise InputError(f"{path} is a picture in colour (RGB); convert it to grey")
        _check_codec(page, path)
        _recoding(page, path)
        dtype = np.dtype(page.dtype).newbyteorder("=")
        lengths, unit = _voxel_size(tif)
        size = None if lengths is None else (lengths["z"], lengths["y"], lengths["x"])
        return Header((page.imagelength, page.imagewidth), dtype, size, unit)


def _read_single(path: Path, rows: slice, columns: slice) -> tuple[tuple[int, int], NDArray[Any]]:
    with reading(path), _opened(path) as tif:
        page = _only_page(tif, path)
        shape = page.imagelength, page.imagewidth
        inside = slice(rows.start, min(rows.stop, shape[0]))
        across = slice(columns.start, min(columns.stop, shape[1]))
        one = slice(0, 1)
        block = read_window(page, (one, one, inside, across, one))[0, 0, :, :, 0]
        recode = _recoding(page, path)
        return shape, block if recode is None else recode(block)


def _only_page(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPage:
    """Give the page of a file of one slice; smaller copies of it do not count.

    Raises:
        FormatError: there are several.
    """
    whole = [page for page in tif.pages if not getattr(page.keyframe, "is_reduced", False)]
    if len(whole) > 1:
        raise _several(path, len(whole))
    return tif.pages.first


def _several(path: Path, count: int) -> FormatError:
    return FormatError(
        f"{path} holds {count} pages; files of a stack hold one slice each, so open the file itself"
    )


def _voxel_size(tif: tifffile.TiffFile) -> tuple[dict[str, float | None] | None, str | None]:
    """Read the voxel size along z, y, x and its unit, as far as the file records them."""
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
    return {"z": _usable(lengths[0]), "y": lengths[1], "x": lengths[2]}, unit


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
