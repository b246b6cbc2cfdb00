"""MetaImage of ITK (.mha, .mhd): a short text, then values in the same or another file.

The voxel size is that of `ElementSpacing`, or `ElementSize`, where `DistanceUnits` gives a unit.
ITK does not write one, and lengths without a unit are no measurement.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from matphase.images.arrays import ArrayLike
from matphase.images.formats._axes import Stored
from matphase.images.formats._inflated import Inflated
from matphase.images.formats._reading import data_file, mapped, reading
from matphase.images.voxel_size import normalised_unit
from matphase.support.errors import FormatError, InputError

SUFFIXES = (".mha", ".mhd")

_TYPES = {
    "MET_UCHAR": "u1",
    "MET_CHAR": "i1",
    "MET_USHORT": "u2",
    "MET_SHORT": "i2",
    "MET_UINT": "u4",
    "MET_INT": "i4",
    "MET_ULONG": "u4",  # of 32 bit in the format, whatever the machine
    "MET_LONG": "i4",
    "MET_ULONG_LONG": "u8",
    "MET_LONG_LONG": "i8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LONGEST = 2**16
"""Bytes of a header."""


def open_file(path: Path) -> Stored:
    """Open a MetaImage.

    Raises:
        FormatError: a file that is damaged, truncated or no MetaImage, or values as text or in
            several files.
        InputError: values that are no numbers.
    """
    with reading(path), path.open("rb") as file:
        header = _header(file, path)
        sides = tuple(int(one) for one in header["DimSize"].split())[::-1]
        kind = header["ElementType"].removesuffix("_ARRAY")
        if kind not in _TYPES:
            raise InputError(f"{path} holds {kind} values; give an image of numbers")
        high = header.get("ElementByteOrderMSB", header.get("BinaryDataByteOrderMSB", "False"))
        stored = np.dtype(_TYPES[kind]).newbyteorder(">" if _yes(high) else "<")
        channels = int(header.get("ElementNumberOfChannels", "1"))
        names = ("t", "z", "y", "x")[-len(sides) :]
        shape = sides
        if channels > 1:
            names, shape = (*names, "c"), (*sides, channels)
        array = _array(path, header, file.tell(), stored, shape)
        size, unit = _voxel_size(header)
    if size is not None and len(size) < len(shape):
        size = (*size, None)
    return Stored(array, str(path), names if len(names) == len(shape) else None, size, unit)


def _header(file: BinaryIO, path: Path) -> dict[str, str]:
    header: dict[str, str] = {}
    while "ElementDataFile" not in header:
        line = file.readline(_LONGEST)
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals or file.tell() > _LONGEST:
            raise FormatError(f"{path} is not a MetaImage file, or damaged; check the file")
        header[key.strip()] = value.strip()
    if not {"DimSize", "ElementType"} <= set(header):
        raise FormatError(f"{path} does not give its size and type; export it again")
    return header


def _array(
    path: Path,
    header: dict[str, str],
    offset: int,
    stored: "np.dtype[np.generic]",
    shape: tuple[int, ...],
) -> ArrayLike:
    named, file = header["ElementDataFile"], path
    if named.upper() not in ("LOCAL", "LOCAL_BINARY"):
        file, offset = data_file(path, named), 0
    if not _yes(header.get("BinaryData", "True")):
        raise FormatError(f"{path} has values as text; save it in binary form")
    skip = int(header.get("HeaderSize", "0"))
    if _yes(header.get("CompressedData", "False")):
        return Inflated(file, offset + max(skip, 0), "zlib", stored, shape)
    return mapped(file, None if skip == -1 else offset + skip, stored, shape)


def _voxel_size(header: dict[str, str]) -> tuple[tuple[float | None, ...] | None, str | None]:
    """Read the length along each axis, the slowest first, and the unit."""
    text = header.get("ElementSpacing", header.get("ElementSize"))
    unit = normalised_unit(header.get("DistanceUnits"))
    if text is None or unit is None:
        return None, None
    return tuple(float(one) for one in text.split())[::-1], unit


def _yes(text: str) -> bool:
    return text.strip().lower() in ("true", "t", "1", "yes")
