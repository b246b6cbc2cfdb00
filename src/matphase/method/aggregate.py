"""The aggregator: local predictions in the IDK set, UGSM's predictions elsewhere.

This is the paper's rule. Optionally, a weight w in [0, 1] per pixel blends both predictions:
p = w p_L + (1 - w) p_G.
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

    The equation printed in the paper swaps the two, against its own text and figure 4: it would
    keep UGSM's predictions exactly where UGSM is likely wrong. Pixels outside the IDK set always
    keep UGSM's prediction.

    Args:
        known: UGSM's prediction.
        partition: pixels that the local network predicted.
        local: its prediction of these pixels.
        weight: (pixels,) weight of the local prediction: 0 keeps UGSM's, 1 replaces it. None
            means 1 everywhere.

    Returns:
        labels (n, height, width), phase indices, and probabilities (n, phases, height, width).
    """
    labels, probabilities = known.labels.copy(), known.probabilities.copy()
    changed, fused = _fuse(known, partition, local, weight)
    labels[changed] = local.labels if weight is None else fused.argmax(axis=1)
    np.moveaxis(probabilities, 1, -1)[changed] = fused
    return labels, probabilities


def _fuse(
    known: GlobalPrediction,
    partition: Partition,
    local: LocalPrediction,
    weight: NDArray[np.float32] | None,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Mask of the pixels that change, and their fused probabilities (pixels, phases)."""
    if weight is None:
        return partition.idk, local.probabilities
    counts = weight > 0
    changed = partition.idk.copy()
    changed[partition.idk] = counts
    share = weight[counts, None]
    # in place, to save memory: these arrays are large for large volumes
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
    """Label maps of all dropout samples, including the local predictions.

    The local network predicts once, from the mean over the samples, and is weighted once, as in
    `aggregate`. In sample t, the log-probabilities shift by as much as UGSM's logits do, F_t - F.
    Without this shift all samples would agree in the IDK set, where UGSM's samples differ most.
    The shifts are as smooth in space as UGSM's maps, so the volume means of the samples vary like
    those of a single network. A scaling that can change labels is applied to each sample.

    Returns:
        labels (samples, n, height, width), phase indices.
    """
    assert known.samples is not None
    center = known.logits.copy()
    changed, fused = _fuse(known, partition, local, weight)
    # probabilities may be rounded to 0, whose logarithm would be infinite
    answers = np.log(np.maximum(fused, np.finfo(np.float32).tiny))
    np.moveaxis(center, 1, -1)[changed] = answers
    drawn = []
    for moved in known.samples:
        scores = center + moved
        if scaling is not None and scaling.changes_labels:
            scores = scaling.apply(softmax(scores, axis=1))
        drawn.append(scores.argmax(axis=1).astype(np.uint8))
    return np.stack(drawn)
