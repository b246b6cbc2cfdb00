"""Metrics of phase boundaries: how far the outlines of the phases agree."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from matphase.images.phases import IGNORE_INDEX
from matphase.scores.metrics.checks import (
    Bools,
    Labels,
    check_indices,
    check_same_shape,
    check_stack,
    labelled_pixels,
)
from matphase.support.ratios import mean_of_defined


def boundary_f1(
    truth: Labels, prediction: Labels, n_phases: int, tolerance: float = 2.0
) -> NDArray[np.float64]:
    """Boundary F1 (BF) of each phase: agreement of its outlines within a few pixels.

    The boundary of a phase is its pixels with one of another phase among their 4 neighbours in the
    slice; the image border and the edge of ignored regions are no boundary. Precision is the share
    of predicted boundary pixels that lie within `tolerance` of a true one, recall the reverse, BF
    their harmonic mean (Csurka, Larlus & Perronnin 2013).

    Args:
        truth: phase indices or `IGNORE_INDEX`, shape (n, h, w).
        prediction: phase indices, same shape.
        n_phases: number of phases.
        tolerance: greatest Euclidean distance that still counts as agreement, in pixels.

    Returns:
        Shape (n_phases,): the mean over slices. A slice in which only one of the two has a boundary
        scores 0; one in which neither has is left out; NaN where all are.

    Raises:
        InputError: the arrays are not stacks of one shape, or hold values that are no phase index.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    check_same_shape("truth", truth, "prediction", prediction)
    check_stack(truth)
    labelled = labelled_pixels("truth", truth, n_phases)
    check_indices("prediction", prediction[labelled], n_phases)
    # Blanked in both, so that outlines in ignored regions do not count against the prediction.
    prediction = np.where(labelled, prediction, IGNORE_INDEX)
    true_boundary, predicted_boundary = _boundary(truth), _boundary(prediction)
    scores = np.full((len(truth), n_phases), np.nan)
    for image in range(len(truth)):
        for phase in range(n_phases):
            scores[image, phase] = _outline_agreement(
                true_boundary[image] & (truth[image] == phase),
                predicted_boundary[image] & (prediction[image] == phase),
                tolerance,
            )
    return mean_of_defined(scores, axis=0)


def _boundary(labels: Labels) -> Bools:
    """Pixels of a stack with a 4-neighbour of another phase in their slice, ignored ones apart."""
    found = np.zeros(labels.shape, dtype=np.bool_)
    for axis in (1, 2):
        length = labels.shape[axis]
        before = np.take(labels, range(length - 1), axis=axis)
        after = np.take(labels, range(1, length), axis=axis)
        meets = (before != after) & (before != IGNORE_INDEX) & (after != IGNORE_INDEX)
        nothing = [(0, 0)] * 3
        found |= np.pad(meets, [*nothing[:axis], (0, 1), *nothing[axis + 1 :]])
        found |= np.pad(meets, [*nothing[:axis], (1, 0), *nothing[axis + 1 :]])
    return found


def _outline_agreement(true: Bools, predicted: Bools, tolerance: float) -> float:
    """BF score of one phase in one slice from its two sets of boundary pixels."""
    if not true.any() and not predicted.any():
        return float("nan")
    if not true.any() or not predicted.any():
        return 0.0
    precision = float(np.mean(distance_transform_edt(~true)[predicted] <= tolerance))
    recall = float(np.mean(distance_transform_edt(~predicted)[true] <= tolerance))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
