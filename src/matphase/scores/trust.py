"""Analyses of the uncertainty: whether it finds the pixels where the labels are wrong.

Results are ready for JSON: what is not defined is None.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.scores.metrics.calibration import expected_calibration_error, reliability_curve
from matphase.scores.metrics.checks import scored_pixels
from matphase.scores.metrics.confusion import accuracy, confusion_matrix, mean_iou
from matphase.scores.metrics.detection import aurc, auroc, detection_scores, risk_coverage
from matphase.support.errors import InputError

Bools = NDArray[np.bool_]
Scores = NDArray[np.floating[Any]]


def detector_comparison(
    idk: Bools,
    idk_score: Scores,
    entropy: Scores,
    mutual_information: Scores,
    wrong: Bools,
    where: Bools | None = None,
) -> dict[str, Any]:
    """Compare HCL-IDK with the uncertainty that it starts from, as detectors of wrong pixels.

    The paper assumes that what is highly uncertain is wrong (its assumption A1). If that were all,
    flagging the most uncertain pixels, as many as the IDK set has, would find as much.

    Args:
        idk: true where HCL-IDK flags a pixel as uncertain, any shape.
        idk_score: its score, higher for less known; same shape, as are all others.
        entropy: predictive entropy u, in any unit.
        mutual_information: between prediction and weights, in any unit.
        wrong: where the prediction differs from the truth.
        where: only the pixels that are true here count (all by default).

    Returns:
        `pixels` that count, `error_rate` among them, `flagged` (the size of the IDK set), and for
        `idk`, `entropy` and `mutual_information`: `AUROC` and `AURC` of the score against error,
        and `recall`, `precision` and `share` of the flagged pixels. Entropy and mutual information
        flag exactly `flagged` pixels, highest first; of pixels that tie at the threshold, those
        that come first in the array (C order).

    Raises:
        InputError: shapes differ, or a score is NaN where it counts.
    """
    where = np.ones(np.shape(wrong), np.bool_) if where is None else np.asarray(where, np.bool_)
    arrays = (idk, idk_score, entropy, mutual_information, wrong)
    if shapes := {np.shape(array) for array in arrays} - {where.shape}:
        raise InputError(
            f"maps of shape {shapes.pop()} and {where.shape} do not describe the same pixels; "
            "give all in one shape"
        )
    flags, errors = np.asarray(idk, np.bool_)[where], np.asarray(wrong, np.bool_)[where]
    flagged = int(np.count_nonzero(flags))
    result: dict[str, Any] = {
        "pixels": int(errors.size),
        "error_rate": float(errors.mean()) if errors.size else None,
        "flagged": flagged,
        "idk": _detector(np.asarray(idk_score)[where], flags, errors),
    }
    for name, score in (("entropy", entropy), ("mutual_information", mutual_information)):
        result[name] = _detector(np.asarray(score)[where], None, errors, flagged)
    return result


def _detector(
    score: Scores, flags: Bools | None, wrong: Bools, flagged: int = 0
) -> dict[str, float | None]:
    """Measures of a score, and of its `flags` or else its `flagged` highest pixels; all flat."""
    # First, for it refuses NaN, which would make nonsense of the threshold.
    area = auroc(score, wrong)
    found = detection_scores(_highest(score, flagged) if flags is None else flags, wrong)
    return {
        "AUROC": _defined(area),
        "AURC": _defined(aurc(score, wrong)),
        **{name: _defined(value) for name, value in found._asdict().items()},
    }


def _highest(score: Scores, count: int) -> Bools:
    """The `count` highest of a flat array, of equal ones the first."""
    if not count:
        return np.zeros(score.shape, np.bool_)
    threshold = np.partition(score, score.size - count)[score.size - count]
    chosen: Bools = score > threshold
    tied = np.flatnonzero(score == threshold)
    chosen[tied[: count - np.count_nonzero(chosen)]] = True
    return chosen


def oracle_ceiling(
    truth: NDArray[np.uint8],
    global_labels: NDArray[np.uint8],
    local_labels: NDArray[np.uint8],
    idk: Bools,
    n_phases: int,
) -> dict[str, Any]:
    """Gain of the local stage, and its upper bound if the better label were always chosen.

    Args:
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.
        global_labels: (n, h, w) labels of UGSM.
        local_labels: (n, h, w) labels of LCGAR; not read outside `idk`.
        idk: (n, h, w), where the aggregate takes the local label.
        n_phases: number of phases.

    Returns:
        `mIU` and `accuracy` (fractions) of the labels that are `global`, of the `aggregate`, and
        of an `oracle` that inside `idk` takes whichever of the two is right (the local one where
        neither is); `idk_pixels`; and `within_idk` the shares of them in which `both_right`,
        `only_global_right`, `only_local_right`, `both_wrong`. A pixel that is `IGNORE_INDEX` in
        truth or in a label that is read counts nowhere.

    Raises:
        InputError: stacks that do not fit, or no phase in them.
    """
    if not truth.shape == global_labels.shape == local_labels.shape == idk.shape:
        raise InputError(
            f"truth, labels and IDK have shapes {truth.shape}, {global_labels.shape}, "
            f"{local_labels.shape} and {idk.shape}; give stacks of the same slices"
        )
    idk = np.asarray(idk, np.bool_)
    aggregate = np.where(idk, local_labels, global_labels)
    scored = scored_pixels(truth, global_labels, n_phases)
    scored &= scored_pixels(truth, aggregate, n_phases)
    global_right, local_right = global_labels == truth, local_labels == truth
    oracle = np.where(idk & global_right, global_labels, aggregate)
    counted = np.where(scored, truth, IGNORE_INDEX)
    inside = idk & scored

    def share(chosen: Bools) -> float | None:
        return float(np.mean(chosen[inside])) if inside.any() else None

    return {
        "global": _overall(counted, global_labels, n_phases),
        "aggregate": _overall(counted, aggregate, n_phases),
        "oracle": _overall(counted, oracle, n_phases),
        "idk_pixels": int(np.count_nonzero(inside)),
        "within_idk": {
            "both_right": share(global_right & local_right),
            "only_global_right": share(global_right & ~local_right),
            "only_local_right": share(local_right & ~global_right),
            "both_wrong": share(~global_right & ~local_right),
        },
    }


def _overall(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], n_phases: int
) -> dict[str, float | None]:
    confusion = confusion_matrix(truth, labels, n_phases)
    return {
        "mIU": _defined(float(mean_iou(confusion))),
        "accuracy": _defined(float(accuracy(confusion))),
    }


def risk_coverage_curve(
    uncertainty: Scores, wrong: Bools, points: int = 100, *, where: Bools | None = None
) -> dict[str, list[float]]:
    """Risk-coverage curve with fewer points, for plotting.

    Args:
        uncertainty: any shape; pixels are kept in rising order of it.
        wrong: same shape; where the prediction differs from the truth.
        points: how many points to keep at most, evenly over the coverage, both ends included.
        where: same shape; only the pixels that are true here count (all by default).

    Returns:
        `coverage` and `risk`, both of at most `points` values; empty where no pixel counts.

    Raises:
        InputError: fewer than 2 points, shapes that differ, or an uncertainty that is NaN.
    """
    if points < 2:
        raise InputError(f"{points} points are no curve; give at least 2")
    coverage, risk = risk_coverage(uncertainty, wrong, where=where)
    last = max(coverage.size - 1, 0)
    kept = np.unique(np.linspace(0, last, points).round().astype(np.intp))[: coverage.size]
    kept = kept[kept >= 0] if coverage.size else kept[:0]
    return {"coverage": coverage[kept].tolist(), "risk": risk[kept].tolist()}


def reliability(probabilities: Scores, truth: NDArray[np.uint8], bins: int = 15) -> dict[str, Any]:
    """Reliability curve: accuracy against confidence, for plotting.

    Args:
        probabilities: (n, c, h, w); sums to 1 over c.
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.
        bins: number of bins of equal width on [0, 1].

    Returns:
        `confidence`, `accuracy` (None in empty bins) and `count` per bin, and `ECE`.

    Raises:
        InputError: as `reliability_curve`.
    """
    curve = reliability_curve(probabilities, truth, bins)
    return {
        "confidence": [_defined(value) for value in curve.confidence],
        "accuracy": [_defined(value) for value in curve.accuracy],
        "count": curve.count.tolist(),
        "ECE": _defined(expected_calibration_error(probabilities, truth, bins)),
    }


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
