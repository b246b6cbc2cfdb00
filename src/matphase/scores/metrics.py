"""How good a segmentation is, and how well its uncertainty knows where it is wrong.

Labels are phase indices 0..n-1; pixels whose truth is `IGNORE_INDEX` count nowhere. A measure that
the data do not define (the F1 of a phase that occurs nowhere, say) is NaN, never 0 or 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from matphase.images.phases import IGNORE_INDEX
from matphase.support.errors import InputError

Labels: TypeAlias = NDArray[np.integer[Any]]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

EXTREME_IMAGES = 5  # the paper reports its 5 best and 5 lowest test images


class MeanSd(NamedTuple):
    """A mean and the population standard deviation of the values behind it."""

    mean: float
    sd: float


class DetectionScores(NamedTuple):
    """How well a set of flagged pixels catches the wrong ones, each value in [0, 1] or NaN."""

    recall: float
    """Share of the wrong pixels that are flagged; NaN where nothing is wrong."""
    precision: float
    """Share of the flagged pixels that are wrong; NaN where nothing is flagged."""
    share: float
    """Share of all pixels that are flagged; NaN where there are no pixels."""


@dataclass(frozen=True)
class SegmentationScores:
    """Everything that a row of the paper's tables needs (appendix 6.3), and more.

    Fractions are in [0, 1]; `acc_best5` and `acc_low5` are per cent and percentage points, as the
    tables print them. Tuples have one value per phase, NaN where the phase leaves it undefined.
    """

    f1: tuple[float, ...]
    """F1 per phase over the pixels of all images together."""
    f1_per_image_mean: tuple[float, ...]
    """F1 per phase, averaged over the images in which it is defined."""
    accuracy: float
    """Share of all labelled pixels that are right."""
    acc_best5: MeanSd
    """Accuracy of the 5 best images (of all, where there are fewer): mean in %, SD in points."""
    acc_low5: MeanSd
    """Accuracy of the 5 lowest images (of all, where there are fewer): mean in %, SD in points."""
    miu: float
    """Mean intersection over union, pooled."""
    fiu: float
    """Frequency-weighted intersection over union, pooled."""
    volume_fraction_error: tuple[float, ...]
    """Predicted minus true volume fraction per phase."""
    boundary_f1: tuple[float, ...]
    """Boundary F1 per phase within 2 pixels, see `boundary_f1`."""


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """What a model says it knows against what it knows, per bin of equal width on [0, 1].

    Attributes:
        confidence: mean confidence in the bin, shape (bins,); NaN where the bin is empty.
        accuracy: share of right pixels in the bin, shape (bins,); NaN where the bin is empty.
        count: number of pixels in the bin, int64, shape (bins,).
    """

    confidence: Floats
    accuracy: Floats
    count: NDArray[np.int64]


# --- which phase: from the confusion matrix -------------------------------------------------------


def confusion_matrix(truth: Labels, prediction: Labels, n_phases: int) -> NDArray[np.int64]:
    """Count the pixels of each true phase that are predicted as each phase.

    Args:
        truth: phase indices or `IGNORE_INDEX`, any shape.
        prediction: phase indices, same shape; what stands where truth is ignored is not read.
        n_phases: number of phases.

    Returns:
        int64 of shape (n_phases, n_phases): true phase by row, predicted phase by column.

    Raises:
        InputError: shapes differ, labels are not integers, or an index is outside 0..n_phases-1.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_same_shape("truth", truth, "prediction", prediction)
    labelled = _labelled(truth, n_phases)
    _check_indices("prediction", prediction[labelled], n_phases)
    rows, columns = truth[labelled].astype(np.intp), prediction[labelled].astype(np.intp)
    counts = np.bincount(rows * n_phases + columns, minlength=n_phases * n_phases)
    return counts.astype(np.int64).reshape(n_phases, n_phases)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of the pixels that are right (ACC, appendix 6.3); NaN where there are none."""
    return _ratio(np.trace(confusion), confusion.sum())


def f1_per_phase(confusion: NDArray[np.int64]) -> Floats:
    """F1 of each phase: 2 TP / (2 TP + FP + FN), which is also its Dice coefficient.

    Returns:
        Shape (n_phases,); NaN for a phase that occurs in neither truth nor prediction.
    """
    return _ratios(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def mean_iou(confusion: NDArray[np.int64]) -> float:
    """Mean intersection over union (mIU): the mean over phases of n_cc / (t_c + FP_c).

    t_c is the number of pixels that are phase c, FP_c the number wrongly predicted as it, so that
    the denominator is the union (Long, Shelhamer & Darrell 2015). The denominator that the paper
    prints (appendix 6.3), t_c plus the pixels of c predicted as something else, counts false
    negatives twice and false positives never; it is a misprint, for the paper names Long et al. as
    its source and its tables agree with them.

    Phases that occur in neither truth nor prediction are left out; NaN where all do.
    """
    return float(_mean_of_defined(_iou(confusion)))


def frequency_weighted_iou(confusion: NDArray[np.int64]) -> float:
    """Intersection over union of each phase, weighted by its share t_c / t of the truth (fIU).

    Long, Shelhamer & Darrell 2015; about the denominator printed in the paper see `mean_iou`.
    """
    true_counts = confusion.sum(axis=1)
    # A phase without truth has weight 0, whatever its IoU: false alarms cost the other phases.
    weighted = np.where(true_counts > 0, true_counts * _iou(confusion), 0.0)
    return _ratio(weighted.sum(), true_counts.sum())


def volume_fraction_error(confusion: NDArray[np.int64]) -> Floats:
    """Predicted minus true volume fraction of each phase, over labelled pixels; shape (n_phases,).

    The values sum to zero.
    """
    return _ratios(confusion.sum(axis=0) - confusion.sum(axis=1), confusion.sum())


def score_segmentation(truth: Labels, prediction: Labels, n_phases: int) -> SegmentationScores:
    """Score a stack of predicted slices by the measures of appendix 6.3 and a few beyond them.

    An image whose truth is ignored everywhere has no accuracy and is not ranked.

    Args:
        truth: phase indices or `IGNORE_INDEX`, shape (n, h, w).
        prediction: phase indices, same shape.
        n_phases: number of phases.

    Raises:
        InputError: the arrays are not stacks of one shape, or hold something that is no phase.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_same_shape("truth", truth, "prediction", prediction)
    _check_stack(truth)
    per_image = np.stack(
        [confusion_matrix(t, p, n_phases) for t, p in zip(truth, prediction, strict=True)]
    )
    pooled = per_image.sum(axis=0)
    accuracies = np.array([accuracy(confusion) for confusion in per_image])
    ranked = np.sort(accuracies[~np.isnan(accuracies)])
    return SegmentationScores(
        f1=_floats(f1_per_phase(pooled)),
        f1_per_image_mean=_floats(_mean_of_defined(np.stack([f1_per_phase(c) for c in per_image]))),
        accuracy=accuracy(pooled),
        acc_best5=_in_per_cent(ranked[-EXTREME_IMAGES:]),
        acc_low5=_in_per_cent(ranked[:EXTREME_IMAGES]),
        miu=mean_iou(pooled),
        fiu=frequency_weighted_iou(pooled),
        volume_fraction_error=_floats(volume_fraction_error(pooled)),
        boundary_f1=_floats(boundary_f1(truth, prediction, n_phases)),
    )


# --- where the phases meet ------------------------------------------------------------------------


def boundary_f1(
    truth: Labels, prediction: Labels, n_phases: int, tolerance: float = 2.0
) -> NDArray[np.float64]:
    """Boundary F1 (BF) of each phase: how far its outlines agree to within a few pixels.

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
        InputError: the arrays are not stacks of one shape, or hold something that is no phase.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _check_same_shape("truth", truth, "prediction", prediction)
    _check_stack(truth)
    labelled = _labelled(truth, n_phases)
    _check_indices("prediction", prediction[labelled], n_phases)
    # Ignored pixels are blanked in both, lest the prediction be blamed for outlines drawn there.
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
    return _mean_of_defined(scores)


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


# --- do the probabilities mean what they say ------------------------------------------------------


def reliability_curve(
    probabilities: NDArray[np.floating[Any]], truth: Labels, bins: int = 15
) -> ReliabilityCurve:
    """Compare confidence, the highest probability, with accuracy in bins (Guo et al. 2017).

    Bin m of M takes the confidences in ((m-1)/M, m/M].

    Args:
        probabilities: shape (n, c, h, w), or (n, c) followed by any axes; sums to 1 over c.
        truth: phase indices or `IGNORE_INDEX`, the same shape without the axis c.
        bins: number of bins of equal width on [0, 1].

    Raises:
        InputError: shapes do not fit, `bins` is below 1, a probability is outside [0, 1] or not
            finite, or truth holds something that is no phase.
    """
    probabilities, truth = np.asarray(probabilities), np.asarray(truth)
    if probabilities.ndim < 2 or truth.shape != probabilities.shape[:1] + probabilities.shape[2:]:
        raise InputError(
            f"probabilities of shape {probabilities.shape} do not fit a truth of shape "
            f"{truth.shape}; give them as (n, phases, h, w) and (n, h, w)"
        )
    if bins < 1:
        raise InputError(f"{bins} bins cannot hold confidences; give at least 1")
    # Rounding in the softmax of low-precision networks may pass 1 by a little.
    if not np.all((probabilities >= 0) & (probabilities <= 1 + 1e-3)):
        raise InputError(
            "probabilities hold values outside [0, 1] or NaN; apply softmax to the logits first"
        )
    labelled = _labelled(truth, probabilities.shape[1])
    confidence = probabilities.max(axis=1)[labelled].astype(np.float64)
    right = probabilities.argmax(axis=1)[labelled] == truth[labelled]
    inner_edges = np.arange(1, bins) / bins
    which = np.searchsorted(inner_edges, confidence, side="left")
    count = np.bincount(which, minlength=bins)
    return ReliabilityCurve(
        confidence=_ratios(np.bincount(which, weights=confidence, minlength=bins), count),
        accuracy=_ratios(np.bincount(which, weights=right, minlength=bins), count),
        count=count.astype(np.int64),
    )


def expected_calibration_error(
    probabilities: NDArray[np.floating[Any]], truth: Labels, bins: int = 15
) -> float:
    """Mean distance of accuracy from confidence over bins, weighted by pixels (Guo et al. 2017).

    Arguments and errors are those of `reliability_curve`. NaN where no pixel is labelled.
    """
    curve = reliability_curve(probabilities, truth, bins)
    filled = curve.count > 0
    distance = np.abs(curve.accuracy - curve.confidence)[filled]
    return _ratio((distance * curve.count[filled]).sum(), curve.count.sum())


# --- does the uncertainty find the errors ---------------------------------------------------------


def auroc(
    score: NDArray[np.floating[Any]], positive: Bools, *, where: Bools | None = None
) -> float:
    """Area under the ROC curve: how often a positive pixel scores higher than a negative one.

    Pairs with equal scores count one half, as in the Mann-Whitney statistic (Hanley & McNeil 1982).
    Pairs are counted in integers, so the value is exact for millions of pixels.

    Args:
        score: any shape, any scale; higher should mean positive.
        positive: same shape.
        where: same shape; only the pixels that are true here count (all by default).

    Returns:
        In [0, 1]; NaN where there are no positives or no negatives.

    Raises:
        InputError: shapes differ or a score is NaN.
    """
    total, positives = _tied_groups("score", score, positive, where)
    negatives = total - positives
    negatives_below = np.cumsum(negatives) - negatives
    twice_won = (positives * (2 * negatives_below + negatives)).sum()
    return _ratio(twice_won, 2 * positives.sum() * negatives.sum())


def risk_coverage(
    uncertainty: NDArray[np.floating[Any]], wrong: Bools, *, where: Bools | None = None
) -> tuple[Floats, Floats]:
    """Share of wrong pixels among the most certain ones (Geifman & El-Yaniv 2017).

    Pixels of equal uncertainty share their mean risk: the curve is what one would get on average
    over all orders of the tied pixels, and does not depend on the order in which they are given.

    Args:
        uncertainty: any shape; pixels are kept in rising order of it.
        wrong: same shape; where the prediction differs from the truth.
        where: same shape; only the pixels that are true here count (all by default).

    Returns:
        Coverage k/n and the risk at that coverage, both of shape (n,) for k = 1..n pixels kept.

    Raises:
        InputError: shapes differ or an uncertainty is NaN.
    """
    total, wrongs = _tied_groups("uncertainty", uncertainty, wrong, where)
    ends = np.cumsum(total)
    kept = np.arange(1, total.sum() + 1)
    # Within a tied group the expected number of errors rises evenly, that is linearly.
    errors = np.interp(kept, np.append(0, ends), np.append(0, np.cumsum(wrongs)))
    return kept / max(len(kept), 1), errors / kept


def aurc(
    uncertainty: NDArray[np.floating[Any]], wrong: Bools, *, where: Bools | None = None
) -> float:
    """Area under the risk-coverage curve: the mean risk over all coverages; lower is better.

    The area is that of Geifman, Uziel & El-Yaniv 2019; arguments, ties and errors are those of
    `risk_coverage`. NaN where there are no pixels.
    """
    _, risk = risk_coverage(uncertainty, wrong, where=where)
    return _ratio(risk.sum(), risk.size)


def detection_scores(idk: Bools, wrong: Bools, *, where: Bools | None = None) -> DetectionScores:
    """How much of what is wrong the IDK set holds, and how much of it is wrong.

    Args:
        idk: true where HCL-IDK says "I don't know", any shape.
        wrong: same shape; where the prediction differs from the truth.
        where: same shape; only the pixels that are true here count (all by default).

    Raises:
        InputError: shapes differ.
    """
    idk, wrong = _chosen("idk", np.asarray(idk, dtype=np.bool_), wrong, where)
    caught = np.count_nonzero(idk & wrong)
    return DetectionScores(
        recall=_ratio(caught, np.count_nonzero(wrong)),
        precision=_ratio(caught, np.count_nonzero(idk)),
        share=_ratio(np.count_nonzero(idk), idk.size),
    )


def _tied_groups(
    name: str, score: NDArray[np.floating[Any]], flag: Bools, where: Bools | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels, and the flagged ones, at each distinct score, in rising order of it."""
    score, flag = _chosen(name, np.asarray(score), flag, where)
    if np.isnan(score).any():
        raise InputError(f"{name} holds NaN, which has no rank; leave those pixels out")
    if not score.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    order = np.argsort(score)
    score, flag = score[order], flag[order]
    starts = np.append(0, np.flatnonzero(score[1:] != score[:-1]) + 1)
    total = np.diff(np.append(starts, score.size)).astype(np.int64)
    return total, np.add.reduceat(flag, starts, dtype=np.int64)


def _chosen(
    name: str, values: NDArray[Any], flag: Bools, where: Bools | None
) -> tuple[NDArray[Any], Bools]:
    """Values and flags of the pixels that count, flat."""
    flag = np.asarray(flag, dtype=np.bool_)
    _check_same_shape(name, values, "the true/false map", flag)
    if where is None:
        return values.ravel(), flag.ravel()
    where = np.asarray(where, dtype=np.bool_)
    _check_same_shape(name, values, "`where`", where)
    return values[where], flag[where]


# --- shared ---------------------------------------------------------------------------------------


def _check_same_shape(name: str, array: NDArray[Any], other: str, against: NDArray[Any]) -> None:
    if array.shape != against.shape:
        raise InputError(
            f"{name} has shape {array.shape} but {other} has {against.shape}; give arrays that "
            "describe the same pixels"
        )


def _check_stack(labels: Labels) -> None:
    if labels.ndim != 3 or not len(labels):
        raise InputError(
            f"labels of shape {labels.shape} are not a stack of slices; give shape (n, h, w)"
        )


def _labelled(truth: Labels, n_phases: int) -> Bools:
    """Where truth is a phase, after a check that it is one everywhere else than where ignored."""
    labelled: Bools = truth != IGNORE_INDEX
    _check_indices("truth", truth[labelled], n_phases)
    return labelled


def _check_indices(name: str, labels: Labels, n_phases: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{name} is of type {labels.dtype}; give integer phase indices")
    if labels.size and (labels.min() < 0 or labels.max() >= n_phases):
        outside = labels[(labels < 0) | (labels >= n_phases)][0]
        raise InputError(
            f"{name} holds the label {outside}, but {n_phases} phases have the indices "
            f"0..{n_phases - 1}; map the labels to phases first"
        )


def _iou(confusion: NDArray[np.int64]) -> Floats:
    both = np.diag(confusion)
    return _ratios(both, confusion.sum(axis=0) + confusion.sum(axis=1) - both)


def _ratios(part: NDArray[Any], whole: NDArray[Any] | np.int64) -> Floats:
    """Divide part by whole, NaN where whole is 0."""
    ratios = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratios, where=np.asarray(whole != 0))
    return ratios


def _ratio(part: float | np.number[Any], whole: float | np.number[Any]) -> float:
    """Divide part by whole, NaN where whole is 0."""
    return float(part) / float(whole) if whole else float("nan")


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the first axis of what is not NaN; NaN where nothing is left."""
    return _ratios(np.nansum(values, axis=0), np.sum(~np.isnan(values), axis=0))


def _in_per_cent(accuracies: Floats) -> MeanSd:
    if not accuracies.size:
        return MeanSd(float("nan"), float("nan"))
    return MeanSd(100 * float(accuracies.mean()), 100 * float(accuracies.std()))


def _floats(values: Sequence[float] | Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
