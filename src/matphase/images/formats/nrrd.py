"""NRRD (.nrrd, .nhdr): headers are read by pynrrd, values from the mapped file.

Axes are those of kinds and labels; without them the fastest is x. The voxel size is that of
`spacings` with `units`, or of `space directions` with `space units`. Lengths without a unit, as ITK
writes them, are no measurement.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from matphase.images.arrays import ArrayLike
from matphase.images.formats._axes import Stored, letter_of
from matphase.images.formats._inflated import Inflated
from matphase.images.formats._reading import data_file, mapped, reading
from matphase.images.voxel_size import converted, normalised_unit
from matphase.support.errors import FormatError, InputError

SUFFIXES = (".nrrd", ".nhdr")

_TYPES = {"char": "i1", "short": "i2", "int": "i4", "long long": "i8", "float": "f4"}
_CHANNELS = ("vector", "list", "point", "normal", "color", "quaternion", "matrix", "complex")


def open_file(path: Path) -> Stored:
    """Open a NRRD file, with its values inside or in a file of their own.

    Raises:
        FormatError: a file that is damaged, truncated or no NRRD, values as text or in several
            files, or pynrrd is not installed.
        InputError: values that are no numbers.
    """
    try:
        import nrrd
    except ImportError as error:
        raise FormatError(
            f"{path} is NRRD, which needs the package pynrrd; pip install 'matphase[nrrd]'"
        ) from error
    with reading(path), path.open("rb") as file:
        if file.read(4) != b"NRRD":
            raise FormatError(f"{path} is not a NRRD file; check the file")
        file.seek(0)
        header = nrrd.read_header(file)
        offset = file.tell()
        shape = tuple(int(side) for side in header["sizes"])[::-1]
        stored = _dtype(header, path)
        array = _array(path, header, offset, stored, shape)
        size, unit = _voxel_size(header)
    names = _names(header)
    return Stored(array, str(path), None if names is None else names[::-1], size, unit)


def _dtype(header: dict[str, Any], path: Path) -> np.dtype[Any]:
    name = str(header["type"]).removesuffix("_t")
    unsigned = name.startswith(("u", "unsigned"))
    short = re.sub(r"^(unsigned|signed) |(?<=[a-z]) int$", "", name)
    short = "char" if short == "uchar" else short.removeprefix("u") if unsigned else short
    code = _TYPES.get(short, short)
    try:
        found = np.dtype(f"u{code[-1]}" if unsigned and code[0] == "i" and len(code) == 2 else code)
        found = np.dtype(f"u{found.itemsize}") if unsigned else found
    except TypeError:
        found = None
    if found is None or found.kind not in "biuf":
        raise InputError(f"{path} holds {name} values; give an image of numbers")
    return found.newbyteorder(">" if header.get("endian") == "big" else "<")


def _array(
    path: Path,
    header: dict[str, Any],
    offset: int,
    stored: np.dtype[Any],
    shape: tuple[int, ...],
) -> ArrayLike:
    """Find the values: behind the header, or in the file that it names."""
    named = header.get("data file", header.get("datafile"))
    file = path
    if named is not None:
        file, offset = data_file(path, named), 0
    lines, skip = (
        int(header.get(key, header.get(key.replace(" ", "")) or 0) or 0)
        for key in ("line skip", "byte skip")
    )
    encoding = str(header["encoding"]).lower()
    if lines:
        with file.open("rb") as lined:
            lined.seek(offset)
            for _ in range(lines):
                lined.readline()
            offset = lined.tell()
    if encoding == "raw":
        return mapped(file, None if skip == -1 else offset + skip, stored, shape)
    if encoding not in ("gzip", "gz", "bzip2", "bz2") or skip:
        raise FormatError(f"{path} has values in the encoding {encoding}; save it as raw or gzip")
    codec: Any = "bzip2" if encoding.startswith("bz") else "zlib"
    return Inflated(file, offset, codec, stored, shape)


def _names(header: dict[str, Any]) -> tuple[str, ...] | None:
    """Name the axes, the fastest first; None where neither kinds nor labels tell."""
    count = int(header["dimension"])
    labels = [str(one or "") for one in header.get("labels") or [""] * count]
    kinds = [str(one or "").lower() for one in header.get("kinds") or [""] * count]
    if any(map(letter_of, labels)):
        return tuple(labels)
    if not any(kinds):
        return None
    space = iter("xyz")
    names = []
    for kind in kinds:
        if kind == "time":
            names.append("t")
        elif any(part in kind for part in _CHANNELS):
            names.append("c")
        else:
            names.append(next(space, ""))
    return tuple(names)


def _voxel_size(header: dict[str, Any]) -> tuple[tuple[float | None, ...] | None, str | None]:
    """Read the length along each axis, the slowest first, in the unit of the first that has one."""
    directions = header.get("space directions")
    if directions is not None:
        lengths = [
            math.sqrt(float(np.sum(np.square(one)))) if one is not None else math.nan
            for one in directions
        ]
        recorded = {normalised_unit(str(one)) for one in header.get("space units") or [""]}
        units = [recorded.pop() if len(recorded) == 1 else None] * len(lengths)
    elif header.get("spacings") is not None:
        lengths = [float(one) for one in header["spacings"]]
        units = [normalised_unit(str(one)) for one in header.get("units") or [""] * len(lengths)]
    else:
        return None, None
    unit = next((one for one in units if one is not None), None)
    if unit is None:
        return None, None
    return tuple(
        None if own is None or not math.isfinite(length) else converted(length, own, unit)
        for length, own in zip(lengths, units, strict=True)
    )[::-1], unit
