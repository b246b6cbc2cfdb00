"""All scores of one prediction against known labels, as a row of a results table."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.scores.metrics.boundary import boundary_f1
from matphase.scores.metrics.calibration import expected_calibration_error
from matphase.scores.metrics.checks import Floats, Labels, check_same_shape, check_stack
from matphase.scores.metrics.confusion import (
    accuracy,
    confusion_per_slice,
    f1_per_phase,
    frequency_weighted_iou,
    mean_iou,
    volume_fraction_error,
)
from matphase.scores.metrics.detection import aurc, auroc, detection_scores
from matphase.support.ratios import mean_of_defined

Row = dict[str, Any]
"""Scores by name, ready for JSON."""

EXTREME_IMAGES = 5  # the paper reports its 5 best and 5 lowest test images


class MeanSd(NamedTuple):
    """Mean and population standard deviation of some values."""

    mean: float
    sd: float


@dataclass(frozen=True)
class SegmentationScores:
    """Metrics of the paper's tables (appendix 6.3), and a few beyond them.

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


def score_segmentation(truth: Labels, prediction: Labels, n_phases: int) -> SegmentationScores:
    """Score a stack of predicted slices by the metrics of appendix 6.3 and a few beyond them.

    An image whose truth is ignored everywhere has no accuracy and is not ranked.

    Args:
        truth: phase indices or `IGNORE_INDEX`, shape (n, h, w).
        prediction: phase indices, same shape.
        n_phases: number of phases.

    Raises:
        InputError: the arrays are not stacks of one shape, or hold values that are no phase index.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    check_same_shape("truth", truth, "prediction", prediction)
    check_stack(truth)
    per_image = confusion_per_slice(truth, prediction, n_phases)
    pooled = per_image.sum(axis=0)
    accuracies = accuracy(per_image)
    ranked = np.sort(accuracies[~np.isnan(accuracies)])
    return SegmentationScores(
        f1=_floats(f1_per_phase(pooled)),
        f1_per_image_mean=_floats(mean_of_defined(f1_per_phase(per_image), axis=0)),
        accuracy=float(accuracy(pooled)),
        acc_best5=_in_per_cent(ranked[-EXTREME_IMAGES:]),
        acc_low5=_in_per_cent(ranked[:EXTREME_IMAGES]),
        miu=float(mean_iou(pooled)),
        fiu=float(frequency_weighted_iou(pooled)),
        volume_fraction_error=_floats(volume_fraction_error(pooled)),
        boundary_f1=_floats(boundary_f1(truth, prediction, n_phases)),
    )


def score_row(
    truth: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    phases: PhaseTable,
    probabilities: NDArray[np.float32] | None = None,
) -> Row:
    """All metrics of one prediction, ready for JSON (an undefined metric is None).

    Args:
        truth: (n, height, width) phase indices; `IGNORE_INDEX` pixels do not count.
        labels: (n, height, width) predicted phase indices.
        phases: their names.
        probabilities: (n, phases, height, width); needed for the calibration error only.

    Returns:
        `F1` (per phase, mean over images), `ACC`, `ACC_best5` and `ACC_low5` (mean and SD) in
        per cent, `mIU`, `fIU`, `ECE`, and beyond the paper `F1_pooled`, `boundary_F1` and
        `volume_fraction_error` per phase.
    """
    scores = score_segmentation(truth, labels, len(phases))

    def by_phase(values: tuple[float, ...]) -> dict[str, float]:
        return dict(zip(phases.names, values, strict=True))

    row: Row = {
        "F1": by_phase(scores.f1_per_image_mean),
        "ACC": 100 * scores.accuracy,
        "ACC_best5": scores.acc_best5._asdict(),
        "ACC_low5": scores.acc_low5._asdict(),
        "mIU": scores.miu,
        "fIU": scores.fiu,
        "ECE": None,
        "F1_pooled": by_phase(scores.f1),
        "boundary_F1": by_phase(scores.boundary_f1),
        "volume_fraction_error": by_phase(scores.volume_fraction_error),
    }
    if probabilities is not None:
        row["ECE"] = expected_calibration_error(probabilities, truth)
    return _without_nan(row)


def score_uncertainty(
    truth: NDArray[np.uint8],
    global_labels: NDArray[np.uint8],
    entropy: NDArray[np.float32],
    idk: NDArray[np.bool_],
    idk_score: NDArray[np.float32] | None = None,
) -> Row:
    """How well the uncertainty finds the pixels where UGSM is wrong, ready for JSON.

    Args:
        truth: (n, height, width) phase indices; `IGNORE_INDEX` pixels do not count.
        global_labels: (n, height, width) phase indices that UGSM predicted.
        entropy: (n, height, width) in nats.
        idk: (n, height, width), true where HCL-IDK flags a pixel as uncertain.
        idk_score: (n, height, width), the score behind `idk`; higher is less certain.

    Returns:
        `entropy_AUROC` and `entropy_AURC` of the entropy against error; `idk_recall`,
        `idk_precision` and `idk_share` of the uncertain pixels; `idk_AUROC` where `idk_score` is
        given. An undefined metric is None.
    """
    counted = truth != IGNORE_INDEX
    wrong = truth != global_labels
    detection = detection_scores(idk, wrong, where=counted)
    row: Row = {
        "entropy_AUROC": auroc(entropy, wrong, where=counted),
        "entropy_AURC": aurc(entropy, wrong, where=counted),
        "idk_recall": detection.recall,
        "idk_precision": detection.precision,
        "idk_share": detection.share,
    }
    if idk_score is not None:
        row["idk_AUROC"] = auroc(idk_score, wrong, where=counted)
    return _without_nan(row)


def score_trusted(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], trusted: NDArray[np.bool_]
) -> Row:
    """Share of the pixels that are trusted, and of wrong pixels among these; all arrays (n, h, w).

    Returns:
        `trusted_share` of all pixels, `trusted_error`, the share of the trusted ones that are
        wrong, and `trusted_wrong_share`, the share of all pixels that are both.
    """
    counted = truth != IGNORE_INDEX
    wrong = truth != labels
    found = detection_scores(trusted, wrong, where=counted)
    both = detection_scores(trusted & wrong, wrong, where=counted)
    return _without_nan(
        {
            "trusted_share": found.share,
            "trusted_error": found.precision,
            "trusted_wrong_share": both.share,
        }
    )


def _in_per_cent(accuracies: Floats) -> MeanSd:
    if not accuracies.size:
        return MeanSd(float("nan"), float("nan"))
    return MeanSd(100 * float(accuracies.mean()), 100 * float(accuracies.std()))


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _without_nan(row: Row) -> Row:
    """The row with None for NaN, which JSON does not have."""
    clean: Row = {}
    for key, value in row.items():
        if isinstance(value, dict):
            clean[key] = _without_nan(value)
        else:
            clean[key] = None if isinstance(value, float) and math.isnan(value) else value
    return clean
