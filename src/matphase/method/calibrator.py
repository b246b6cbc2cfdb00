"""The calibrator: what validation slices say of the final answer (beyond the paper)."""

from collections.abc import Iterable
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
    """Scales probabilities, and says which pixels can be trusted; sees only the final answer.

    Attributes:
        scaling: of the probabilities; None leaves them as they are.
        guarantee: about pixels that can be trusted; None: none is given.
    """

    scaling: Scaling | None = None
    guarantee: RiskGuarantee | None = None

    def apply(
        self, labels: NDArray[np.uint8], probabilities: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_] | None]:
        """Labels (n, height, width) and probabilities (n, phases, ...) scaled, and what to trust.

        The mask of trusted pixels is None where nothing is guaranteed.
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
    """Learn from slices that no network learned from.

    Args:
        answers: for each slice labels (height, width) and probabilities (phases, height, width).
        truth: (n, height, width) known phase indices, which the guarantee is about.
        learned_from: the labels that the scaling learns from: these, or aligned ones.
        n_phases: number of phases.
        settings: what is asked for; `scaling` is not "auto" any more.
        seed: random seed.
        folder: for temporary files.

    Returns:
        the calibrator, and the labels (n, height, width) that the calibrated model gives.
    """
    n, height, width = truth.shape
    labels = room_for((n, height, width), np.uint8, folder)
    probabilities = room_for((n, n_phases, height, width), np.float32, folder)
    for number, (answer, said) in enumerate(answers):
        labels[number], probabilities[number] = answer, said
    scaled = None
    if settings.scaling in ("temperature", "vector"):
        scaled = scaling.fit(probabilities, learned_from, settings.scaling, seed)
    sure, wrong = [], []
    for number in range(n):
        answer, said = labels[number][np.newaxis], probabilities[number][np.newaxis]
        if scaled is not None:
            answer, said = scaled.answer(answer, said)
            labels[number] = answer[0]
        if settings.risk:
            known = truth[number] != IGNORE_INDEX
            sure.append(said[0].max(axis=0)[known])
            wrong.append((answer[0] != truth[number])[known])
    guarantee = None
    if settings.risk:
        block = conformal.block_pixels(truth.shape, settings)
        guarantee = conformal.fit(np.concatenate(sure), np.concatenate(wrong), block, settings)
    return Calibrator(scaled, guarantee), labels
