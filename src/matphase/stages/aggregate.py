"""The aggregator: local answers where UGSM does not know, global ones elsewhere."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from matphase.stages.results import GlobalPrediction, LocalPrediction, Partition
from matphase.stages.scaling import Scaling


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


def sample_labels(
    known: GlobalPrediction,
    partition: Partition,
    local: LocalPrediction,
    scaling: Scaling | None = None,
) -> NDArray[np.uint8]:
    """One label map for each dropout sample of UGSM, the local answers included.

    The local network is asked once, at the mean of the samples. In sample t its log-probabilities
    move by what the logits of UGSM move, F_t - F: without this all samples would agree in the
    IDK set, which is where they differ most. The moves are as smooth in space as UGSM's maps are,
    so volume means of the samples spread as one network's would. A scaling that changes the answer
    changes each sample's alike.

    Returns:
        (samples, n, height, width) phase indices.
    """
    assert known.samples is not None
    center = known.logits.copy()
    # the smallest normal number keeps a probability that was rounded to 0 finite
    answers = np.log(np.maximum(local.probabilities, np.finfo(np.float32).tiny))
    np.moveaxis(center, 1, -1)[partition.idk] = answers
    drawn = []
    for moved in known.samples:
        scores = center + moved
        if scaling is not None and scaling.moves_answers:
            scores = scaling.apply(softmax(scores, axis=1))
        drawn.append(scores.argmax(axis=1).astype(np.uint8))
    return np.stack(drawn)
