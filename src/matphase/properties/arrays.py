"""Checks of the arrays that properties are measured on."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.properties.labelled import Indices, Spacing
from matphase.support.errors import InputError

Bools: TypeAlias = NDArray[np.bool_]
Counts: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


def check_indices(indices: Indices, n_phases: int) -> None:
    """Check that `indices` is an image or a volume of phase indices 0..n_phases-1.

    Raises:
        InputError: another dtype or number of axes, or an index that no phase has.
    """
    if indices.dtype != np.uint8 or indices.ndim not in (2, 3):
        raise InputError(
            f"phase indices of type {indices.dtype} and shape {indices.shape} cannot be measured; "
            "give uint8 of shape (y, x) or (z, y, x)"
        )
    strange = (indices >= n_phases) & (indices != IGNORE_INDEX)
    if strange.any():
        raise InputError(
            f"the volume holds phase index {indices[strange].min()}, but there are {n_phases} "
            f"phases; give indices 0 to {n_phases - 1}, or {IGNORE_INDEX} for voxels to ignore"
        )


def check_mask(mask: Bools, counted: Bools | None) -> None:
    """Check that `mask` is a boolean image or volume and `counted`, if given, one like it.

    Raises:
        InputError: another dtype or number of axes, or two shapes.
    """
    if mask.dtype != np.bool_ or mask.ndim not in (2, 3):
        raise InputError(
            f"a mask of type {mask.dtype} and shape {mask.shape} cannot be measured; "
            "give a boolean array of shape (y, x) or (z, y, x)"
        )
    if counted is not None and (counted.dtype != np.bool_ or counted.shape != mask.shape):
        raise InputError(
            f"the counted voxels are {counted.dtype} of shape {counted.shape}, the mask has shape "
            f"{mask.shape}; give a boolean array of the mask's shape"
        )


def check_spacing(spacing: Spacing, ndim: int) -> None:
    """Check that there is one finite positive length per axis.

    Raises:
        InputError: there is none, or not for every axis.
    """
    if len(spacing) != ndim or not all(0 < length < np.inf for length in spacing):
        raise InputError(
            f"the voxel size {tuple(spacing)} does not fit {ndim} axes; "
            "give one positive length for each axis"
        )


def check_axis(axis: int, ndim: int) -> None:
    """Check that an array of `ndim` axes has the axis `axis`.

    Raises:
        InputError: it does not have this axis.
    """
    if not 0 <= axis < ndim:
        raise InputError(f"there is no axis {axis}; choose one from 0 to {ndim - 1}")


def check_repeated(repeated: int, length: int) -> None:
    """Check that `repeated` slices can stand in front of a slab of `length` slices.

    Raises:
        InputError: they cannot.
    """
    if not 0 <= repeated <= length:
        raise InputError(
            f"{repeated} slices of {length} cannot be repeated; "
            "give the number of slices that it shares with the slab before"
        )


def same_in_all_layers(mask: Bools, axis: int) -> bool:
    """Whether all layers of a mask along an axis are the same."""
    return bool((mask == mask.take([0], axis=axis)).all())


def shifted(array: NDArray[Any], step: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Views of all pairs of elements that lie `step` apart: first elements, second elements."""
    first = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(step, array.shape, strict=True))
    second = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(step, array.shape, strict=True))
    return array[first], array[second]
