"""What the stages hand to each other, made from arrays."""

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import PhaseTable
from matphase.learning.training_pool import Pool
from matphase.method.results import (
    GlobalPrediction,
    GlobalStack,
    LocalPool,
    Partition,
    PartitionStack,
)

PHASES = PhaseTable.from_names(("pore", "carbon", "nickel"))


def pool_of(
    images: NDArray[np.float32], labels: NDArray[np.uint8], phases: PhaseTable = PHASES
) -> Pool:
    """A pool of images (n, height, width) or (n, slices, height, width) and their labels."""
    images = images[:, np.newaxis] if images.ndim == 3 else images
    return Pool(images.astype(np.float32), labels, np.arange(len(labels)), phases)


def local_pool(
    images: NDArray[np.float32],
    labels: NDArray[np.uint8],
    known: GlobalPrediction,
    partition: Partition,
) -> LocalPool:
    """What a local network learns from, all phases with the same weight."""
    weights = np.ones(known.logits.shape[1], np.float32)
    pool = pool_of(images, labels)
    return LocalPool(pool, GlobalStack.of(known), PartitionStack.of(partition), weights)
