"""The scores of an answer on the test slices, ready for JSON."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.method.results import GlobalPrediction, Partition
from matphase.reproduce.data import SplitData
from matphase.reproduce.protocol import Protocol
from matphase.scores import anatomy, trust
from matphase.scores.evaluation import Row, score_row
from matphase.scores.metrics.confusion import block_confusions
from matphase.support.seeds import mix

Labels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


def answer_scores(
    labels: Labels, probabilities: Probabilities | None, data: SplitData, protocol: Protocol
) -> dict[str, Any]:
    """All scores of an answer.

    Args:
        labels: (n, height, width) phase indices; `IGNORE_INDEX` where the method was not asked.
        probabilities: (n, phases, height, width), or none where it was asked in part.
        data: the test slices.
        protocol: conditions.

    Returns:
        `scores` and `block_confusions` by truth, `on_all_pixels`, and `anatomy` (where the errors
        are; empty where the method was asked in part).
    """
    return {
        "scores": {
            name: _scores(truth, labels, probabilities, data.phases) for name, truth in data.truths
        },
        "block_confusions": confusions_by_block(labels, data, protocol),
        "on_all_pixels": bool((labels != IGNORE_INDEX).all()),
        "anatomy": _anatomy(labels, data),
    }


def confusions_by_block(labels: Labels, data: SplitData, protocol: Protocol) -> dict[str, Any]:
    """The confusions in each block that the bootstrap draws, by truth."""
    block = (data.groups, *protocol.block[1:])
    return {
        name: block_confusions(truth, labels, len(data.phases), block).tolist()
        for name, truth in data.truths
    }


def trust_scores(known: GlobalPrediction, split: Partition, data: SplitData) -> dict[str, Any]:
    """Whether the uncertainty finds the errors, against each truth: see `scores.trust`."""
    found: dict[str, Any] = {"detectors": {}, "reliability": {}, "risk_coverage": {}}
    information = known.mutual_information
    assert information is not None
    for name, truth in data.truths:
        counted, wrong = truth != IGNORE_INDEX, truth != known.labels
        found["detectors"][name] = trust.detector_comparison(
            split.idk, split.score, known.entropy, information, wrong, counted
        )
        found["reliability"][name] = trust.reliability(known.probabilities, truth)
        found["risk_coverage"][name] = {
            score_name: trust.risk_coverage_curve(score, wrong, where=counted)
            for score_name, score in (
                ("entropy", known.entropy),
                ("mutual_information", information),
                ("idk_score", split.score),
            )
        }
    return found


def random_pixels(data: SplitData, seed: int, per_image: int) -> NDArray[np.bool_]:
    """Random pixels (n, height, width) of the test images, the same for the same seed.

    Args:
        data: the test slices.
        seed: random seed.
        per_image: pixels of each image; 0: all.
    """
    n, height, width = data.measured.shape
    count = min(per_image or height * width, height * width)
    rng = np.random.default_rng(mix(seed, "patches"))
    asked = np.zeros((n, height * width), np.bool_)
    for one in asked:
        one[rng.choice(height * width, count, replace=False)] = True
    return asked.reshape(n, height, width)


def only_there(labels: Labels, asked: NDArray[np.bool_]) -> Labels:
    """The labels where they were asked for, `IGNORE_INDEX` elsewhere."""
    return np.where(asked, labels, np.uint8(IGNORE_INDEX))


def miou_there(labels: Labels, asked: NDArray[np.bool_], data: SplitData) -> dict[str, float]:
    """The mIU on some of the pixels, against each truth."""
    return {
        name: score_row(only_there(truth, asked), labels, data.phases)["mIU"]
        for name, truth in data.truths
    }


def _scores(
    truth: Labels, labels: Labels, probabilities: Probabilities | None, phases: PhaseTable
) -> Row:
    asked = labels != IGNORE_INDEX
    row = score_row(
        np.where(asked, truth, np.uint8(IGNORE_INDEX)),
        labels,
        phases,
        probabilities,
    )
    if not asked.all():
        # outlines cannot be drawn from scattered pixels, and the best and the lowest images of
        # a few pixels each are those with luck
        row["boundary_F1"] = None
        row["ACC_best5"] = row["ACC_low5"] = {"mean": None, "sd": None}
    return row


def _anatomy(labels: Labels, data: SplitData) -> dict[str, Any]:
    """Where the errors are, and how many of them are the labels' own."""
    if (labels == IGNORE_INDEX).any():
        return {}
    n = len(data.phases)
    found: dict[str, Any] = {
        name: {
            "by_distance": anatomy.error_by_distance(truth, labels, n),
            "confusions": anatomy.confusion_shares(truth, labels, data.phases),
        }
        for name, truth in data.truths
    }
    if data.exact is not None:
        found["label_noise"] = anatomy.label_noise(data.measured, data.exact)
        found["misregistration"] = anatomy.misregistration_share(data.measured, data.exact, labels)
    return found
