"""What the stages hand to each other, made from arrays."""

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import PhaseTable
from matphase.learning.training_pool import Pool
from matphase.method.results import GlobalPrediction, GlobalStack, Partition, PartitionStack

PHASES = PhaseTable.from_names(("pore", "carbon", "nickel"))


def pool_of(
    images: NDArray[np.float32], labels: NDArray[np.uint8], phases: PhaseTable = PHASES
) -> Pool:
    """A pool of images (n, height, width) or (n, slices, height, width) and their labels."""
    images = images[:, np.newaxis] if images.ndim == 3 else images
    return Pool(images.astype(np.float32), labels, np.arange(len(labels)), phases)


def stack_of(known: GlobalPrediction) -> GlobalStack:
    """A prediction of several slices as the stages read it, slice by slice."""
    return GlobalStack(known.labels, known.logits, known.entropy)


def split_of(partition: Partition) -> PartitionStack:
    """A partition of several slices as the stages read it, slice by slice."""
    return PartitionStack(partition.idk, partition.score)
