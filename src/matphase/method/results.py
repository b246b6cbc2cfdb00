"""Results passed between stages, for a few slices in memory or all training slices on disk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from matphase.support.scratch import Stack, Subset, WritableStack, room_for


@dataclass(frozen=True, eq=False)
class GlobalPrediction:
    """Prediction of UGSM for a stack of slices.

    Attributes:
        labels: (n, height, width) uint8, the paper's Y_G: phase indices.
        logits: (n, phases, height, width) float32, the paper's F: mean over the samples.
        entropy: (n, height, width) float32 in nats, the paper's u.
        mutual_information: (n, height, width) float32 in nats, optional: the part of the entropy
            of the mean softmax that comes from disagreement of the samples (epistemic); the rest
            is the expected entropy (aleatoric).
        samples: (samples, n, phases, height, width) float16, optional: difference between the
            logits of each sample and F.
    """

    labels: NDArray[np.uint8]
    logits: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32] | None = None
    samples: NDArray[np.float16] | None = None

    def window(self, rows: slice, columns: slice) -> "GlobalPrediction":
        """Prediction of a window of the slices."""
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
        """Softmax(F), (n, phases, height, width) float32; cached, so do not modify it."""
        result: NDArray[np.float32] = softmax(self.logits, axis=1)
        return result


@dataclass(frozen=True, eq=False)
class GlobalStack:
    """Predictions of UGSM for many slices, on disk; `stack[3]` is that of slice 3.

    Attributes:
        labels: (n, height, width), as `GlobalPrediction` has it.
        logits: (n, phases, height, width).
        entropy: (n, height, width).
    """

    labels: Stack
    logits: Stack
    entropy: Stack

    @classmethod
    def empty(
        cls, n: int, n_phases: int, shape: tuple[int, int], folder: Path | None = None
    ) -> "GlobalStack":
        """Allocate a stack of `n` slices of shape (height, width)."""
        return cls(
            room_for((n, *shape), np.uint8, folder),
            room_for((n, n_phases, *shape), np.float32, folder),
            room_for((n, *shape), np.float32, folder),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> GlobalPrediction:
        parts = (self.labels[number], self.logits[number], self.entropy[number])
        return GlobalPrediction(*(part[np.newaxis] for part in parts))

    def __iter__(self) -> Iterator[GlobalPrediction]:
        return (self[number] for number in range(len(self)))

    @property
    def n_phases(self) -> int:
        """Number of phases."""
        return self.logits.shape[1]

    def put(self, first: int, part: GlobalPrediction, rows: slice, columns: slice) -> None:
        """Write the prediction of a window of consecutive slices, beginning with slice `first`."""
        place = slice(first, first + len(part.labels))
        for kept, values in (
            (self.labels, part.labels),
            (self.logits, part.logits),
            (self.entropy, part.entropy),
        ):
            cast(WritableStack, kept)[
                (place, *(slice(None),) * (values.ndim - 3), rows, columns)
            ] = values

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "GlobalStack":
        """Select slices by mask or by number, without copying."""
        numbers = np.arange(len(self))[chosen]
        return GlobalStack(
            *(Subset(part, numbers) for part in (self.labels, self.logits, self.entropy))
        )


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class PartitionStack:
    """Partitions of many slices, on disk; `stack[3]` is that of slice 3."""

    idk: Stack
    score: Stack

    @classmethod
    def of(cls, parts: Iterable[Partition], n: int, folder: Path | None = None) -> "PartitionStack":
        """Write the splits of `n` slices, which come one by one."""
        kept: PartitionStack | None = None
        for number, part in enumerate(parts):
            if kept is None:
                shape = (n, *part.idk.shape[-2:])
                kept = cls(room_for(shape, np.bool_, folder), room_for(shape, np.float32, folder))
            for stack, values in ((kept.idk, part.idk), (kept.score, part.score)):
                cast(WritableStack, stack)[number] = values[0]
        assert kept is not None, "there is at least one slice"
        return kept

    def __len__(self) -> int:
        return len(self.idk)

    def __getitem__(self, number: int) -> Partition:
        return Partition(self.idk[number][np.newaxis], self.score[number][np.newaxis])

    def __iter__(self) -> Iterator[Partition]:
        return (self[number] for number in range(len(self)))

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "PartitionStack":
        """Select slices by mask or by number, without copying."""
        numbers = np.arange(len(self))[chosen]
        return PartitionStack(Subset(self.idk, numbers), Subset(self.score, numbers))


@dataclass(frozen=True, eq=False)
class LocalPrediction:
    """Prediction of LCGAR for the IDK pixels, in the order of `numpy.nonzero(partition.idk)`.

    Attributes:
        labels: (pixels,) uint8, the paper's Y_L: phase indices.
        probabilities: (pixels, phases) float32.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
