"""Checks of label arrays that all metrics share."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.support.errors import InputError

Labels: TypeAlias = NDArray[np.integer[Any]]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


def check_same_shape(name: str, array: NDArray[Any], other: str, against: NDArray[Any]) -> None:
    """Check that two arrays describe the same pixels.

    Raises:
        InputError: their shapes differ.
    """
    if array.shape != against.shape:
        raise InputError(
            f"{name} has shape {array.shape} but {other} has {against.shape}; give arrays that "
            "describe the same pixels"
        )


def check_stack(labels: Labels) -> None:
    """Check that labels are a stack of slices (n, h, w).

    Raises:
        InputError: they are not, or the stack is empty.
    """
    if labels.ndim != 3 or not len(labels):
        raise InputError(
            f"labels of shape {labels.shape} are not a stack of slices; give shape (n, h, w)"
        )


def check_indices(name: str, labels: Labels, n_phases: int) -> None:
    """Check that all labels are phase indices 0..n_phases-1.

    Raises:
        InputError: they are not integers, or one of them is outside this range.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{name} is of type {labels.dtype}; give integer phase indices")
    if labels.size and (labels.min() < 0 or labels.max() >= n_phases):
        outside = labels[(labels < 0) | (labels >= n_phases)][0]
        raise InputError(
            f"{name} holds the index {outside}, but {n_phases} phases have the indices "
            f"0..{n_phases - 1}; map the labels to phases first"
        )


def labelled_pixels(name: str, labels: Labels, n_phases: int) -> Bools:
    """Mask of the pixels that are not `IGNORE_INDEX`, all of which must be phase indices.

    Raises:
        InputError: one of them is not.
    """
    labelled: Bools = labels != IGNORE_INDEX
    check_indices(name, labels[labelled], n_phases)
    return labelled


def scored_pixels(truth: Labels, labels: Labels, n_phases: int) -> Bools:
    """Mask of the pixels that count: those with a phase both in the truth and in the prediction.

    Args:
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.
        labels: (n, h, w) predicted phase indices, `IGNORE_INDEX` where the method was not scored.
        n_phases: number of phases.

    Returns:
        (n, h, w), true where a pixel counts.

    Raises:
        InputError: the arrays are not stacks of one shape, or hold values that are no phase index.
    """
    if truth.shape != labels.shape or truth.ndim != 3:
        raise InputError(
            f"truth has shape {truth.shape} and the labels have {labels.shape}; give two stacks "
            "(n, h, w) of the same slices"
        )
    return labelled_pixels("truth", truth, n_phases) & labelled_pixels("labels", labels, n_phases)
