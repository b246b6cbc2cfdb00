"""The calibrator: calibrated probabilities and trusted pixels (beyond the paper)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.method import conformal, scaling
from matphase.method.conformal import RiskGuarantee
from matphase.method.scaling import Scaling
from matphase.settings import CalibrationSettings
from matphase.support.scratch import Stack, room_for


@dataclass(frozen=True)
class Calibrator:
    """Calibrator of the final prediction: scales probabilities and selects trusted pixels.

    Attributes:
        scaling: scaling of the probabilities; None leaves them unchanged.
        guarantee: risk guarantee for trusted pixels; None where there is none.
    """

    scaling: Scaling | None = None
    guarantee: RiskGuarantee | None = None

    def apply(
        self, labels: NDArray[np.uint8], probabilities: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_] | None]:
        """Calibrated labels (n, height, width), probabilities (n, phases, ...) and trusted mask.

        The mask (n, height, width) is None without a risk guarantee.
        """
        if self.scaling is not None:
            labels, probabilities = self.scaling.answer(labels, probabilities)
        if self.guarantee is None:
            return labels, probabilities, None
        return labels, probabilities, self.guarantee.trusts(probabilities)


def fit(
    answers: Iterable[tuple[NDArray[np.uint8], NDArray[np.float32]]],
    truth: Stack,
    learned_from: Stack,
    n_phases: int,
    settings: CalibrationSettings,
    seed: int,
    folder: Path | None = None,
) -> tuple[Calibrator, Stack]:
    """Fit the calibrator on validation slices, which no network was trained on.

    Args:
        answers: predicted labels (height, width) and probabilities (phases, height, width) of
            each slice.
        truth: (n, height, width) true phase indices, for which the guarantee holds.
        learned_from: labels to which the scaling is fitted: `truth`, or aligned labels.
        n_phases: number of phases.
        settings: calibration settings; `scaling` is no longer "auto".
        seed: random seed.
        folder: folder for temporary files.

    Returns:
        the calibrator, and the calibrated labels (n, height, width).
    """
    n, height, width = truth.shape
    labels = room_for((n, height, width), np.uint8, folder)
    if not settings.is_on:
        for number, (answer, _) in enumerate(answers):
            labels[number] = answer
        return Calibrator(), labels
    probabilities = room_for((n, n_phases, height, width), np.float32, folder)
    for number, (answer, said) in enumerate(answers):
        labels[number], probabilities[number] = answer, said
    scaled = None
    if settings.scaling in ("temperature", "vector"):
        scaled = scaling.fit(probabilities, learned_from, settings.scaling, seed)
        for number in range(n):
            answer, said = labels[number][np.newaxis], probabilities[number][np.newaxis]
            (labels[number],), (probabilities[number],) = scaled.answer(answer, said)
    guarantee = None
    if settings.risk:
        known = sum(int(np.count_nonzero(plane != IGNORE_INDEX)) for plane in truth)
        block = conformal.block_pixels(truth.shape, settings)
        scores = _scores(labels, probabilities, truth)
        guarantee = conformal.fit(scores, known, block, settings, folder)
    return Calibrator(scaled, guarantee), labels


def _scores(
    labels: Stack, probabilities: Stack, truth: Stack
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Slice by slice, the highest probability of each known pixel, and whether it is wrong."""
    for answer, said, exact in zip(labels, probabilities, truth, strict=True):
        known = exact != IGNORE_INDEX
        yield said.max(axis=0)[known], (answer != exact)[known]
