"""What travels between the stages: of a few slices in memory, or of all training slices on disk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from matphase.support.scratch import Chosen, Stack, WritableStack, room_for


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class GlobalStack:
    """The same of many slices, on disk: `stack[3]` is that of slice 3 alone.

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
        """Room for `n` slices of a shape (height, width)."""
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
        """Keep what is said of the same window of the slices from `first` on."""
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
        """That of some of the slices, by mask or by number; nothing is copied."""
        numbers = np.arange(len(self))[chosen]
        return GlobalStack(
            *(Chosen(part, numbers) for part in (self.labels, self.logits, self.entropy))
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
    """The same of many slices, on disk: `stack[3]` is that of slice 3 alone."""

    idk: Stack
    score: Stack

    @classmethod
    def of(cls, parts: Iterable[Partition], n: int, folder: Path | None = None) -> "PartitionStack":
        """Keep the splits of `n` slices, which come one at a time."""
        kept: PartitionStack | None = None
        for number, part in enumerate(parts):
            if kept is None:
                shape = (n, *part.idk.shape[-2:])
                kept = cls(room_for(shape, np.bool_, folder), room_for(shape, np.float32, folder))
            for stack, values in ((kept.idk, part.idk), (kept.score, part.score)):
                cast(WritableStack, stack)[number] = values[0]
        assert kept is not None, "there is a slice at least"
        return kept

    def __len__(self) -> int:
        return len(self.idk)

    def __getitem__(self, number: int) -> Partition:
        return Partition(self.idk[number][np.newaxis], self.score[number][np.newaxis])

    def __iter__(self) -> Iterator[Partition]:
        return (self[number] for number in range(len(self)))

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "PartitionStack":
        """That of some of the slices, by mask or by number; nothing is copied."""
        numbers = np.arange(len(self))[chosen]
        return PartitionStack(Chosen(self.idk, numbers), Chosen(self.score, numbers))


@dataclass(frozen=True, eq=False)
class LocalPrediction:
    """What LCGAR says of the IDK pixels, in the order of `numpy.nonzero(partition.idk)`.

    Attributes:
        labels: (pixels,) uint8, the paper's Y_L: phase indices.
        probabilities: (pixels, phases) float32.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
