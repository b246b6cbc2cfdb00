"""Metrics of calibration: whether probabilities agree with how often they are right."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.scores.metrics.checks import Floats, Labels, labelled_pixels
from matphase.support.errors import InputError
from matphase.support.ratios import ratio, ratios


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence and accuracy of the pixels in bins of equal width on [0, 1].

    Attributes:
        confidence: mean confidence in the bin, shape (bins,); NaN where the bin is empty.
        accuracy: share of right pixels in the bin, shape (bins,); NaN where the bin is empty.
        count: number of pixels in the bin, int64, shape (bins,).
    """

    confidence: Floats
    accuracy: Floats
    count: NDArray[np.int64]


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
        InputError: shapes do not fit, `bins` is below 1, a probability of a pixel with a label is
            outside [0, 1] or not finite, or truth holds values that are no phase index.
    """
    probabilities, truth = np.asarray(probabilities), np.asarray(truth)
    if probabilities.ndim < 2 or truth.shape != probabilities.shape[:1] + probabilities.shape[2:]:
        raise InputError(
            f"probabilities of shape {probabilities.shape} do not fit a truth of shape "
            f"{truth.shape}; give them as (n, phases, h, w) and (n, h, w)"
        )
    if bins < 1:
        raise InputError(f"{bins} bins cannot hold confidences; give at least 1")
    labelled = labelled_pixels("truth", truth, probabilities.shape[1])
    # Rounding in the softmax of low-precision networks may pass 1 by a little. Pixels outside of
    # the sample have no probabilities, and no label.
    valid = np.all((probabilities >= 0) & (probabilities <= 1 + 1e-3), axis=1)
    if not valid[labelled].all():
        raise InputError(
            "probabilities hold values outside [0, 1] or NaN; apply softmax to the logits first"
        )
    confidence = probabilities.max(axis=1)[labelled].astype(np.float64)
    right = probabilities.argmax(axis=1)[labelled] == truth[labelled]
    inner_edges = np.arange(1, bins) / bins
    which = np.searchsorted(inner_edges, confidence, side="left")
    count = np.bincount(which, minlength=bins)
    return ReliabilityCurve(
        confidence=ratios(np.bincount(which, weights=confidence, minlength=bins), count),
        accuracy=ratios(np.bincount(which, weights=right, minlength=bins), count),
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
    return ratio((distance * curve.count[filled]).sum(), curve.count.sum())
