"""Metrics of error detection: how well an uncertainty finds the pixels that are wrong."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matphase.scores.metrics.checks import Bools, Floats, check_same_shape
from matphase.support.errors import InputError
from matphase.support.ratios import ratio


class DetectionScores(NamedTuple):
    """Recall, precision and share of flagged pixels, each in [0, 1] or NaN."""

    recall: float
    """Share of the wrong pixels that are flagged; NaN where nothing is wrong."""
    precision: float
    """Share of the flagged pixels that are wrong; NaN where nothing is flagged."""
    share: float
    """Share of all pixels that are flagged; NaN where there are no pixels."""


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
    return ratio(twice_won, 2 * positives.sum() * negatives.sum())


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
    return ratio(risk.sum(), risk.size)


def detection_scores(idk: Bools, wrong: Bools, *, where: Bools | None = None) -> DetectionScores:
    """Recall and precision of the uncertain pixels as a detector of the wrong ones.

    Args:
        idk: true where a pixel is flagged, such as by HCL-IDK as uncertain; any shape.
        wrong: same shape; where the prediction differs from the truth.
        where: same shape; only the pixels that are true here count (all by default).

    Raises:
        InputError: shapes differ.
    """
    idk, wrong = _chosen("idk", np.asarray(idk, dtype=np.bool_), wrong, where)
    caught = np.count_nonzero(idk & wrong)
    return DetectionScores(
        recall=ratio(caught, np.count_nonzero(wrong)),
        precision=ratio(caught, np.count_nonzero(idk)),
        share=ratio(np.count_nonzero(idk), idk.size),
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
    check_same_shape(name, values, "the true/false map", flag)
    if where is None:
        return values.ravel(), flag.ravel()
    where = np.asarray(where, dtype=np.bool_)
    check_same_shape(name, values, "`where`", where)
    return values[where], flag[where]
