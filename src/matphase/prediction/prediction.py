"""What `MatPhase.predict` gives back."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import PhaseTable
from matphase.images.volume import Volume
from matphase.scores.validation import Validation


@dataclass(frozen=True)
class Prediction:
    """Phases of a volume and how sure they are; `shape` is that of the volume predicted.

    Attributes:
        labels: shape, the values that the user's label map gives to the phases.
        probabilities: (phases, *shape) float32, of UGSM, or of LCGAR where IDK, or of both where
            the model weighs them (`aggregator.fusion`); scaled where the model was trained so
            (`calibration.scaling`).
        entropy: shape, float32 in nats, uncertainty u of UGSM.
        idk: shape, bool, True where HCL-IDK does not trust UGSM and LCGAR was asked.
        idk_score: shape, float32 in [0, 1], what `idk` is the thresholded form of.
        global_labels: shape, what UGSM alone answers, valued as `labels`.
        global_probabilities: (phases, *shape) float32, of UGSM alone.
        mutual_information: shape, float32 in nats, on request: epistemic part of the entropy of
            the mean softmax.
        samples: (samples, *shape), on request: the labels that each dropout sample would give,
            valued as `labels`; what error bars of properties come from.
        validation: how the model fared on slices with known labels, where it was given any.
        trusted: shape, bool, True where the answer can be trusted at the model's
            `calibration.risk`; None where that is off.
        deferred: shape, bool, True where LCGAR's answer was taken, or counted at least half; None
            where it is wherever LCGAR was asked (`idk.target`).
        phases: names, values and colours of the phases.
        volume: the grey volume it was made from, with its axes and voxel size.
    """

    labels: NDArray[Any]
    probabilities: NDArray[np.float32]
    entropy: NDArray[np.float32]
    idk: NDArray[np.bool_]
    idk_score: NDArray[np.float32]
    global_labels: NDArray[Any]
    global_probabilities: NDArray[np.float32]
    phases: PhaseTable
    volume: Volume
    mutual_information: NDArray[np.float32] | None = None
    samples: NDArray[Any] | None = None
    validation: Validation | None = None
    trusted: NDArray[np.bool_] | None = None
    deferred: NDArray[np.bool_] | None = None

    def volume_fractions(self) -> dict[str, float]:
        """Share of the voxels in each phase, by name."""
        counts = np.bincount(self.phases.encode(self.labels).ravel(), minlength=len(self.phases))
        return dict(zip(self.phases.names, (counts / self.labels.size).tolist(), strict=True))


def prediction_bytes(shape: tuple[int, ...], n_phases: int, samples: int = 0) -> int:
    """Memory that the `Prediction` of a volume of this shape takes, in bytes.

    Per voxel its maps take 13 bytes, 8 for each phase, and 1 for each sample that is kept.
    """
    return math.prod(shape) * (13 + 8 * n_phases + samples)
