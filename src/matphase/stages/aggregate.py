"""The aggregator: local answers where UGSM does not know, global ones elsewhere."""

import numpy as np
from numpy.typing import NDArray

from matphase.stages.results import GlobalPrediction, LocalPrediction, Partition


def aggregate(
    known: GlobalPrediction, partition: Partition, local: LocalPrediction
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Fuse both predictions: Y = Y_L where IDK, Y_G elsewhere (paper section 3.4).

    The equation printed in the paper has the two the other way round, against its own text and
    figure 4: it would keep UGSM's answers just where UGSM is said to be wrong. No pixel outside
    the IDK set differs from UGSM's answer.

    Returns:
        labels (n, height, width), phase indices, and probabilities (n, phases, height, width).
    """
    labels = known.labels.copy()
    labels[partition.idk] = local.labels
    probabilities = known.probabilities.copy()
    np.moveaxis(probabilities, 1, -1)[partition.idk] = local.probabilities
    return labels, probabilities
