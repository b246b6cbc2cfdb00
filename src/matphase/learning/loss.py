"""The loss of networks that predict phases."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.batches import Loss


def weighted_cross_entropy(weights: NDArray[Any]) -> Loss:
    """Weighted mean of the cross-entropy over the known pixels.

    The loss of a batch without known pixels is 0, where a plain mean would be NaN.

    Args:
        weights: (phases,) weight of each phase.

    Returns:
        a function of logits (n, phases, ...) and targets (n, ...) int64.
    """
    penalty = torch.from_numpy(weights)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        weight = penalty.to(logits.device)
        total = F.cross_entropy(
            logits.float(), target, weight, ignore_index=IGNORE_INDEX, reduction="sum"
        )
        counts = torch.bincount(target.flatten(), minlength=IGNORE_INDEX + 1)[: len(weight)]
        return total / (counts * weight).sum().clamp_min(torch.finfo(torch.float32).tiny)

    return loss
