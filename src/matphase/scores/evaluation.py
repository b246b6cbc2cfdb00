"""Rows of a results table: one prediction scored against known labels."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.scores import metrics

Row = dict[str, Any]


def score_row(
    truth: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    phases: PhaseTable,
    probabilities: NDArray[np.float32] | None = None,
) -> Row:
    """All measures of one prediction, ready for JSON (an undefined measure is None).

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
    scores = metrics.score_segmentation(truth, labels, len(phases))

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
        row["ECE"] = metrics.expected_calibration_error(probabilities, truth)
    return _without_nan(row)


def score_uncertainty(
    truth: NDArray[np.uint8],
    global_labels: NDArray[np.uint8],
    entropy: NDArray[np.float32],
    idk: NDArray[np.bool_],
    idk_score: NDArray[np.float32] | None = None,
) -> Row:
    """How well u and the IDK set find the pixels where UGSM is wrong; all arrays (n, h, w)."""
    counted = truth != IGNORE_INDEX
    wrong = truth != global_labels
    detection = metrics.detection_scores(idk, wrong, where=counted)
    row: Row = {
        "entropy_AUROC": metrics.auroc(entropy, wrong, where=counted),
        "entropy_AURC": metrics.aurc(entropy, wrong, where=counted),
        "idk_recall": detection.recall,
        "idk_precision": detection.precision,
        "idk_share": detection.share,
    }
    if idk_score is not None:
        row["idk_AUROC"] = metrics.auroc(idk_score, wrong, where=counted)
    return _without_nan(row)


def score_trusted(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], trusted: NDArray[np.bool_]
) -> Row:
    """How many pixels are trusted, and how many of these are wrong; all arrays (n, h, w).

    Returns:
        `trusted_share` of all pixels, `trusted_error`, the share of the trusted ones that are
        wrong, and `trusted_wrong_share`, the share of all pixels that are both.
    """
    counted = truth != IGNORE_INDEX
    wrong = truth != labels
    found = metrics.detection_scores(trusted, wrong, where=counted)
    both = metrics.detection_scores(trusted & wrong, wrong, where=counted)
    return _without_nan(
        {
            "trusted_share": found.share,
            "trusted_error": found.precision,
            "trusted_wrong_share": both.share,
        }
    )


def rows_table(rows: dict[str, Row], phases: PhaseTable, title: str) -> Table:
    """The rows as a table for the terminal."""
    # names come from the user, and what stands in brackets would be read as a style
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    for name in phases.names:
        table.add_column(f"F1 {escape(name)}", justify="right")
    for name in ("ACC %", "best 5", "lowest 5", "mIU", "fIU", "ECE"):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(
            escape(name),
            *(number(row["F1"][phase]) for phase in phases.names),
            number(row["ACC"], 2),
            _spread(row["ACC_best5"]),
            _spread(row["ACC_low5"]),
            number(row["mIU"]),
            number(row["fIU"]),
            number(row["ECE"]),
        )
    return table


def uncertainty_text(found: Row) -> str:
    """Say in one sentence what `score_uncertainty` found."""
    auroc = f"AUROC of entropy against error {number(found['entropy_AUROC'])}"
    if found["idk_share"] == 0:
        return f"{auroc}; no pixel is IDK"
    recall, share, precision = (
        in_per_cent(found[f"idk_{part}"]) for part in ("recall", "share", "precision")
    )
    return (
        f"{auroc}; IDK holds {recall} % of UGSM's wrong pixels in {share} % of all "
        f"(precision {precision} %)"
    )


def trusted_text(found: Row) -> str:
    """Say in one sentence what `score_trusted` found."""
    if found["trusted_share"] == 0:
        return "no pixel is trusted"
    share, error, both = (
        in_per_cent(found[f"trusted_{part}"]) for part in ("share", "error", "wrong_share")
    )
    return f"{share} % of the pixels are trusted and {error} % of these are wrong ({both} % of all)"


def number(value: float | None, digits: int = 3) -> str:
    """The value in fixed decimals, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.{digits}f}"


def in_per_cent(share: float | None) -> str:
    """A share as a percentage, or a dash where it is not defined."""
    return number(None if share is None else 100 * share, 1)


def _spread(value: dict[str, float | None]) -> str:
    return f"{number(value['mean'], 2)} ± {number(value['sd'], 2)}"


def _without_nan(row: Row) -> Row:
    """The row with None for NaN, which JSON does not have."""
    clean: Row = {}
    for key, value in row.items():
        if isinstance(value, dict):
            clean[key] = _without_nan(value)
        else:
            clean[key] = None if isinstance(value, float) and math.isnan(value) else value
    return clean
