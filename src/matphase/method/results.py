"""What travels between the stages."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax


@dataclass(frozen=True)
class GlobalPrediction:
    """What UGSM says of a stack of slices.

    Attributes:
        labels: (n, height, width) uint8, the paper's Y_G: phase indices.
        logits: (n, phases, height, width) float32, the paper's F: mean over the samples.
        entropy: (n, height, width) float32 in nats, the paper's u.
        mutual_information: (n, height, width) float32 in nats, on request: the part of the
            entropy of the mean softmax that comes from disagreement of the samples (epistemic);
            the rest is the expected entropy (aleatoric).
        samples: (samples, n, phases, height, width) float16, on request: how far the logits of
            each sample lie from F.
    """

    labels: NDArray[np.uint8]
    logits: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32] | None = None
    samples: NDArray[np.float16] | None = None

    def window(self, rows: slice, columns: slice) -> "GlobalPrediction":
        """What it says of a window of the slices."""
        where = np.s_[..., rows, columns]
        return GlobalPrediction(
            self.labels[where],
            self.logits[where],
            self.entropy[where],
            None if self.mutual_information is None else self.mutual_information[where],
            None if self.samples is None else self.samples[where],
        )

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """(n, phases, height, width) float32, softmax(F); do not change it, it is kept."""
        result: NDArray[np.float32] = softmax(self.logits, axis=1)
        return result

    def take(self, chosen: NDArray[np.bool_]) -> "GlobalPrediction":
        """What it says of some of the slices, by mask (n,)."""
        information, samples = self.mutual_information, self.samples
        return GlobalPrediction(
            self.labels[chosen],
            self.logits[chosen],
            self.entropy[chosen],
            None if information is None else information[chosen],
            None if samples is None else samples[:, chosen],
        )


@dataclass(frozen=True)
class Partition:
    """The coarse curriculum's split of pixels into known (D1) and "I don't know" (D2).

    Attributes:
        idk: (n, height, width) bool, True in D2.
        score: (n, height, width) float32, estimated probability that UGSM is wrong, for a
            training set balanced between right and wrong pixels.
    """

    idk: NDArray[np.bool_]
    score: NDArray[np.float32]

    def window(self, rows: slice, columns: slice) -> "Partition":
        """The split of a window of the slices."""
        return Partition(self.idk[..., rows, columns], self.score[..., rows, columns])

    def take(self, chosen: NDArray[np.bool_]) -> "Partition":
        """The split of some of the slices, by mask (n,)."""
        return Partition(self.idk[chosen], self.score[chosen])


@dataclass(frozen=True)
class LocalPrediction:
    """What LCGAR says of the IDK pixels, in the order of `numpy.nonzero(partition.idk)`.

    Attributes:
        labels: (pixels,) uint8, the paper's Y_L: phase indices.
        probabilities: (pixels, phases) float32.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
