"""Files of plain values: NumPy's .npy, and raw data without a header."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matphase.images.formats._axes import Stored
from matphase.images.formats._reading import MappedFile, mapped, reading
from matphase.support.errors import FormatError, InputError
from matphase.support.text import times

SUFFIXES = (".raw", ".bin", ".dat", ".vol", ".img")
"""Usual suffixes of raw data; with a shape, a file may have any."""


def open_npy(path: Path) -> Stored:
    """Open a .npy file, of which only the parts that are read are loaded.

    Raises:
        FormatError: a file that is damaged, truncated, or no .npy.
        InputError: it holds no numbers.
    """
    with reading(path), path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
        except ValueError as error:
            raise FormatError(f"{path} is not a .npy file; check the file") from error
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        if dtype.kind not in "biuf":
            raise InputError(f"{path} holds {dtype} values; give an array of numbers")
        array = mapped(path, file.tell(), dtype, shape, "F" if fortran else "C")
    return Stored(array, str(path))


def open_raw(path: Path, shape: Sequence[int], dtype: Any) -> Stored:
    """Open raw data: nothing but values, of which the last axis runs fastest.

    Args:
        path: the file.
        shape: length of each axis, the slowest first.
        dtype: type of the values, as `parse_dtype` takes it.

    Raises:
        FormatError: the file is missing, or its size is not that of these values.
        InputError: a shape or type that is none.
    """
    stored = parse_dtype(dtype)
    sides = _checked_shape(shape)
    with reading(path):
        size = path.stat().st_size
    needed = math.prod(sides) * stored.itemsize
    if size != needed:
        raise FormatError(
            f"{path} has {size} bytes but {times(sides)} voxels of {stored.name} take {needed}; "
            "correct shape= or dtype="
            + (", or remove the header of the file" if size > needed else "")
        )
    return Stored(MappedFile(path, 0, stored, sides), str(path))


def parse_dtype(dtype: Any) -> np.dtype[Any]:
    """Read a type of voxels: uint16, >u2, or uint16be and uint16le with their byte order.

    Raises:
        InputError: it is no type of numbers.
    """
    text: Any = dtype
    order: Any = "="
    if isinstance(dtype, str):
        match = re.fullmatch(r"(\w*\d+)(be|le)", dtype.strip().lower())
        text = match[1] if match else dtype.strip()
        order = {"be": ">", "le": "<"}[match[2]] if match else "="
    try:
        found = np.dtype(text)
    except TypeError:
        found = None
    if found is None or found.kind not in "biuf":
        raise InputError(
            f"dtype {dtype!r} is no type of voxels; give one such as uint8, uint16, float32, or "
            "uint16be where the first byte is the most significant (big-endian)"
        )
    stored: np.dtype[Any] = found if order == "=" else found.newbyteorder(order)
    return stored


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    sides = tuple(shape)
    if len(sides) < 2 or any(
        not isinstance(side, int | np.integer) or isinstance(side, bool) or side < 1
        for side in sides
    ):
        raise InputError(
            f"shape {tuple(shape)} is not one of voxels; give the length of each axis, such as "
            "(133, 224, 256) for z, y, x"
        )
    return tuple(int(side) for side in sides)
