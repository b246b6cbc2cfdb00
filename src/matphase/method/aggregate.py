"""The aggregator: local answers where UGSM does not know, global ones elsewhere.

That is the paper's. Beyond it, a weight w in [0, 1] can say at each pixel asked for how much the
local answer counts there: p = w p_L + (1 - w) p_G.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.method.scaling import Scaling


def aggregate(
    known: GlobalPrediction,
    partition: Partition,
    local: LocalPrediction,
    weight: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Fuse both predictions: Y = Y_L where IDK, Y_G elsewhere (paper section 3.4).

    The equation printed in the paper has the two the other way round, against its own text and
    figure 4: it would keep UGSM's answers just where UGSM is said to be wrong. No pixel outside
    the IDK set differs from UGSM's answer.

    Args:
        known: UGSM's prediction.
        partition: where the local network was asked.
        local: its answers there.
        weight: (pixels,) of its answers, from 0, where UGSM's stays as it is, to 1; none: 1.

    Returns:
        labels (n, height, width), phase indices, and probabilities (n, phases, height, width).
    """
    labels, probabilities = known.labels.copy(), known.probabilities.copy()
    changed, fused = _fused(known, partition, local, weight)
    labels[changed] = local.labels if weight is None else fused.argmax(axis=1)
    np.moveaxis(probabilities, 1, -1)[changed] = fused
    return labels, probabilities


def _fused(
    known: GlobalPrediction,
    partition: Partition,
    local: LocalPrediction,
    weight: NDArray[np.float32] | None,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Where the local answer counts at all, and the probabilities (pixels, phases) there."""
    if weight is None:
        return partition.idk, local.probabilities
    counts = weight > 0
    changed = partition.idk.copy()
    changed[partition.idk] = counts
    share = weight[counts, None]
    # in place: of a large volume these are large
    fused: NDArray[np.float32] = np.moveaxis(known.probabilities, 1, -1)[changed]
    fused *= 1 - share
    fused += share * local.probabilities[counts]
    return changed, fused


def sample_labels(
    known: GlobalPrediction,
    partition: Partition,
    local: LocalPrediction,
    scaling: Scaling | None = None,
    weight: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """One label map for each dropout sample of UGSM, the local answers included.

    The local network is asked once, at the mean of the samples, and its answer weighed once, as in
    `aggregate`. In sample t the log-probabilities of the answer move by what the logits of UGSM
    move, F_t - F: without this all samples would agree in the IDK set, which is where they differ
    most. The moves are as smooth in space as UGSM's maps are,
    so volume means of the samples spread as one network's would. A scaling that changes the answer
    changes each sample's alike.

    Returns:
        (samples, n, height, width) phase indices.
    """
    assert known.samples is not None
    center = known.logits.copy()
    changed, fused = _fused(known, partition, local, weight)
    # the smallest normal number keeps a probability that was rounded to 0 finite
    answers = np.log(np.maximum(fused, np.finfo(np.float32).tiny))
    np.moveaxis(center, 1, -1)[changed] = answers
    drawn = []
    for moved in known.samples:
        scores = center + moved
        if scaling is not None and scaling.moves_answers:
            scores = scaling.apply(softmax(scores, axis=1))
        drawn.append(scores.argmax(axis=1).astype(np.uint8))
    return np.stack(drawn)
