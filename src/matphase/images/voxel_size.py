"""Voxel sizes and their units of length."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError

VoxelSize: TypeAlias = tuple[float | None, ...]
"""Length of a voxel along each axis, in axes order; only z may be None, for not known."""

_UNITS = {
    "m": ("m", "meter", "metre", "meters", "metres"),
    "cm": ("cm", "centimeter", "centimetre", "centimeters", "centimetres"),
    "mm": ("mm", "millimeter", "millimetre", "millimeters", "millimetres"),
    # \u00b5 is the micro sign and \u03bc the Greek letter: both are in use and look alike.
    "um": (
        "um",
        "\u00b5m",
        "\u03bcm",
        "micron",
        "microns",
        "micrometer",
        "micrometre",
        "micrometers",
        "micrometres",
    ),
    "nm": ("nm", "nanometer", "nanometre", "nanometers", "nanometres"),
}
_UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings}
_NO_UNIT = {"", "px", "pixel", "pixels", "voxel", "voxels"}

_POWERS = {"m": 0, "cm": -2, "mm": -3, "um": -6, "nm": -9}  # of ten, in metres


def normalised_unit(unit: str | None) -> str | None:
    """Give a unit of length its one ASCII name; None for pixels and for unknown names."""
    return None if unit is None else _UNIT_OF.get(unit.strip().lower())


def converted(length: float, unit: str, to: str) -> float:
    """Give a length in another unit; both by their ASCII names."""
    power = _POWERS[unit] - _POWERS[to]
    # Dividing by a power of ten is exact where multiplying by its inverse is not.
    return length * 10.0**power if power >= 0 else length / 10.0**-power


def checked_voxel_size(
    voxel_size: float | Sequence[float | None] | None, unit: str | None, axes: str, name: str
) -> tuple[VoxelSize | None, str | None]:
    """Give one positive length per axis and the ASCII name of their unit, or (None, None).

    A size without a unit, or a unit without a size, is refused: neither can be guessed. A unit
    of pixels says that no size is known.

    Raises:
        InputError: the size and the unit do not make a voxel size for `axes`; it names `name`.
    """
    if unit is not None and unit.strip().lower() in _NO_UNIT:
        return None, None
    if voxel_size is None:
        if unit is not None:
            raise InputError(f"unit {unit!r} of {name} comes without a voxel size; give both")
        return None, None
    given = tuple(voxel_size) if isinstance(voxel_size, Iterable) else (voxel_size,) * len(axes)
    if len(given) != len(axes):
        raise InputError(
            f"the voxel size of {name} has {len(given)} lengths for the {len(axes)} axes {axes}; "
            "give one length, or one per axis"
        )
    for axis, length in zip(axes, given, strict=True):
        if length is None and axis == "z":
            continue
        if length is None or not math.isfinite(length) or length <= 0:
            raise InputError(
                f"the voxel size of {name} along {axis} is {length}; give a length above zero"
            )
    if unit is None:
        raise InputError(f"the voxel size of {name} comes without a unit; give the unit too")
    known = normalised_unit(unit)
    if known is None:
        raise InputError(f"unit {unit!r} of {name} is not known; use one of {', '.join(_UNITS)}")
    return tuple(None if length is None else float(length) for length in given), known


def voxel_size_text(voxel_size: VoxelSize | None, unit: str | None) -> str:
    """Write a voxel size for a reader: "voxel size 0.2 x 0.1 x 0.1 um"."""
    if voxel_size is None:
        return "voxel size unknown"
    lengths = ("unknown" if length is None else f"{length:g}" for length in voxel_size)
    return f"voxel size {' x '.join(lengths)} {unit}"


def coordinate_spacing(array: Any) -> tuple[VoxelSize | None, str | None]:
    """Voxel size and unit of an xarray array whose coordinates are regular and have `units`.

    Returns:
        One length per axis, None for axes without coordinates; (None, None) for other arrays, and
        where the coordinates do not give a voxel size.
    """
    if not (hasattr(array, "coords") and hasattr(array, "dims")):
        return None, None
    lengths, unit = spacing_along(coordinates_of(array))
    try:
        return checked_voxel_size(lengths, unit, "zyx"[-len(array.dims) :], "the array")
    except InputError:
        return None, None


def coordinates_of(array: Any) -> list[tuple[NDArray[Any], str] | None]:
    """Coordinates of each axis of an xarray array and their unit, for `spacing_along`."""
    return [
        (np.asarray(array.coords[dim]), str(array.coords[dim].attrs.get("units", "")))
        if dim in array.coords and array.sizes[dim] > 1
        else None
        for dim in array.dims
    ]


def spacing_along(
    axes: Sequence[tuple[NDArray[Any], str] | None],
) -> tuple[VoxelSize | None, str | None]:
    """Voxel size and unit of axes whose voxels have coordinates.

    Args:
        axes: coordinates of each axis, and their unit; None for an axis without any.

    Returns:
        One length per axis, None for those without coordinates; (None, None) where coordinates
        are not regular, or have no or different units of length.
    """
    lengths: list[float | None] = []
    units = set()
    for axis in axes:
        if axis is None:
            lengths.append(None)
            continue
        positions, unit = axis
        if positions.ndim != 1 or positions.size < 2 or positions.dtype.kind not in "iuf":
            return None, None
        steps = np.diff(positions.astype(np.float64))
        step = float(steps.mean())
        if not np.allclose(steps, step, rtol=1e-3, atol=0):
            return None, None
        # Differences of coordinates carry rounding errors that the voxel size did not have.
        lengths.append(float(f"{abs(step):.9g}"))
        units.add(normalised_unit(unit))
    if len(units) != 1 or None in units:
        return None, None
    return tuple(lengths), units.pop()
