"""Confusion matrices, and the metrics that follow from them.

A confusion matrix (c, c) has the true phase by row and the predicted phase by column. Every metric
takes one matrix or many at once (..., c, c), and gives one value for each of them.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.scores.metrics.checks import (
    Bools,
    Floats,
    Labels,
    check_indices,
    check_same_shape,
    labelled_pixels,
    scored_pixels,
)
from matphase.support.errors import InputError
from matphase.support.ratios import mean_of_defined, ratios


def confusion_matrix(truth: Labels, prediction: Labels, n_phases: int) -> NDArray[np.int64]:
    """Confusion matrix of all labelled pixels.

    Args:
        truth: phase indices or `IGNORE_INDEX`, any shape.
        prediction: phase indices, same shape; not read where the truth is ignored.
        n_phases: number of phases.

    Returns:
        int64 of shape (n_phases, n_phases): true phase by row, predicted phase by column.

    Raises:
        InputError: shapes differ, labels are not integers, or an index is outside 0..n_phases-1.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    matrix: NDArray[np.int64] = confusion_per_slice(truth[None], prediction[None], n_phases)[0]
    return matrix


def confusion_per_slice(truth: Labels, prediction: Labels, n_phases: int) -> NDArray[np.int64]:
    """Confusion matrix of each slice, (n, n_phases, n_phases); see `confusion_matrix`.

    The first axis of `truth` and `prediction` is that of the slices.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    check_same_shape("truth", truth, "prediction", prediction)
    labelled = labelled_pixels("truth", truth, n_phases)
    check_indices("prediction", prediction[labelled], n_phases)
    place = np.arange(len(truth)).reshape(-1, *[1] * (truth.ndim - 1))
    return _count(truth, prediction, labelled, n_phases, place, len(truth))


def block_confusions(
    truth: Labels, labels: Labels, n_phases: int, block: tuple[int, int, int]
) -> NDArray[np.int64]:
    """Confusion matrix of each block of a stack.

    Args:
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.
        labels: (n, h, w) predicted phase indices, `IGNORE_INDEX` where the method was not scored.
        n_phases: number of phases.
        block: edges in pixels along z, y and x; the last block along an axis may be smaller.

    Returns:
        (blocks, n_phases, n_phases). Blocks run along x first, then y, then z. A pixel that is
        ignored in either array does not count.

    Raises:
        InputError: an edge below 1, arrays that are not stacks of one shape, or values that are no
            phase index.
    """
    if len(block) != 3 or min(block) < 1:
        raise InputError(f"blocks of {block} pixels do not tile a stack; give three edges from 1")
    scored = scored_pixels(truth, labels, n_phases)
    grid = [-(-length // edge) for length, edge in zip(truth.shape, block, strict=True)]
    z, y, x = (np.arange(length) // edge for length, edge in zip(truth.shape, block, strict=True))
    place = (z[:, None, None] * grid[1] + y[:, None]) * grid[2] + x
    return _count(truth, labels, scored, n_phases, place, math.prod(grid))


def _count(
    truth: Labels,
    labels: Labels,
    counted: Bools,
    n_phases: int,
    place: NDArray[np.intp],
    n_places: int,
) -> NDArray[np.int64]:
    """Confusion matrix (n_places, n_phases, n_phases) of the counted pixels at each place.

    `place` has the number of each pixel's place, and broadcasts to the shape of `truth`.
    """
    places = np.broadcast_to(place, truth.shape)[counted].astype(np.intp)
    rows, columns = truth[counted].astype(np.intp), labels[counted].astype(np.intp)
    cell = (places * n_phases + rows) * n_phases + columns
    counts = np.bincount(cell, minlength=n_places * n_phases**2)
    return counts.astype(np.int64).reshape(n_places, n_phases, n_phases)


def accuracy(confusion: NDArray[Any]) -> Floats:
    """Share of the pixels that are right (ACC, appendix 6.3), (...); NaN where there are none."""
    return ratios(_right(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)))


def f1_per_phase(confusion: NDArray[Any]) -> Floats:
    """F1 of each phase: 2 TP / (2 TP + FP + FN), which is also its Dice coefficient.

    Returns:
        (..., c); NaN for a phase that occurs in neither truth nor prediction.
    """
    return ratios(2 * _right(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


def mean_iou(confusion: NDArray[Any]) -> Floats:
    """Mean intersection over union (mIU): the mean over phases of n_cc / (t_c + FP_c).

    t_c is the number of pixels that are phase c, FP_c the number wrongly predicted as it, so that
    the denominator is the union (Long, Shelhamer & Darrell 2015). The denominator that the paper
    prints (appendix 6.3), t_c plus the pixels of c predicted as something else, counts false
    negatives twice and false positives never; it is a misprint, for the paper names Long et al. as
    its source and its tables agree with them.

    Returns:
        (...). Phases that occur in neither truth nor prediction are left out; NaN where all do.
    """
    return mean_of_defined(_iou(confusion), axis=-1)


def frequency_weighted_iou(confusion: NDArray[Any]) -> Floats:
    """Intersection over union of each phase, weighted by its share t_c / t of the truth (fIU).

    Long, Shelhamer & Darrell 2015; about the denominator printed in the paper see `mean_iou`.
    Shape (...).
    """
    true_counts = confusion.sum(axis=-1)
    # A phase without truth has weight 0, whatever its IoU: false alarms cost the other phases.
    weighted = np.where(true_counts > 0, true_counts * _iou(confusion), 0.0)
    return ratios(weighted.sum(axis=-1), true_counts.sum(axis=-1))


def volume_fraction_error(confusion: NDArray[Any]) -> Floats:
    """Predicted minus true volume fraction of each phase, over labelled pixels; shape (..., c).

    The values sum to zero.
    """
    true, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    return ratios(predicted - true, true.sum(axis=-1, keepdims=True))


def metric_by_name(confusions: NDArray[Any], name: str) -> Floats:
    """One metric of many confusion matrices at once, chosen by its name in the results tables.

    Args:
        confusions: (..., c, c) counts, true phase by row, predicted phase by column.
        name: "mIU", "fIU", "ACC" (a fraction) or "F1:<phase index>".

    Returns:
        (...); NaN where the counts leave the metric undefined.

    Raises:
        InputError: the matrices are not square, or the metric or phase does not exist.
    """
    if confusions.ndim < 2 or confusions.shape[-1] != confusions.shape[-2]:
        raise InputError(
            f"an array of shape {confusions.shape} holds no confusion matrices; give (..., c, c)"
        )
    if name in _BY_NAME:
        return _BY_NAME[name](confusions)
    phase = re.fullmatch(r"F1:(\d+)", name, re.ASCII)
    if not phase or int(phase[1]) >= confusions.shape[-1]:
        raise InputError(
            f"there is no metric {name!r} of {confusions.shape[-1]} phases; give 'mIU', 'fIU', "
            f"'ACC', or 'F1:0' to 'F1:{confusions.shape[-1] - 1}'"
        )
    of_phase: Floats = f1_per_phase(confusions)[..., int(phase[1])]
    return of_phase


_BY_NAME = {"ACC": accuracy, "mIU": mean_iou, "fIU": frequency_weighted_iou}


def _right(confusion: NDArray[Any]) -> NDArray[Any]:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _iou(confusion: NDArray[Any]) -> Floats:
    right = _right(confusion)
    return ratios(right, confusion.sum(axis=-1) + confusion.sum(axis=-2) - right)
