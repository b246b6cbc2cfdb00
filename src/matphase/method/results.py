"""Results passed between stages, for a few slices in memory or all training slices on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from matphase.learning.training_pool import Pool
from matphase.support.scratch import Stack, Subset, WritableStack, room_for

One = TypeVar("One")
ALL = slice(None)


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


class _Slices(Generic[One]):
    """Results of many slices, on disk; `stack[3]` is that of slice 3.

    A subclass is a dataclass of stacks, with the names that they have in the result of a slice.
    """

    one: ClassVar[type[Any]]
    """Class of the result of a slice."""

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls)]  # type: ignore[arg-type]

    @property
    def _parts(self) -> dict[str, Stack]:
        return {name: getattr(self, name) for name in self._names()}

    @classmethod
    def of(cls, found: One) -> Self:
        """The same results of all slices, in memory."""
        return cls(**{name: getattr(found, name) for name in cls._names()})

    def __len__(self) -> int:
        return len(next(iter(self._parts.values())))

    def __getitem__(self, number: int) -> One:
        parts = {name: part[number][np.newaxis] for name, part in self._parts.items()}
        return cast(One, self.one(**parts))

    def __iter__(self) -> Iterator[One]:
        return (self[number] for number in range(len(self)))

    def put(self, first: int, found: One, rows: slice = ALL, columns: slice = ALL) -> None:
        """Write the results of a window of consecutive slices, beginning with slice `first`."""
        for name, part in self._parts.items():
            values = getattr(found, name)
            cast(WritableStack, part)[first : first + len(values), ..., rows, columns] = values

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Select slices by mask or by number, without copying."""
        numbers = np.arange(len(self))[chosen]
        return type(self)(**{name: Subset(part, numbers) for name, part in self._parts.items()})


@dataclass(frozen=True, eq=False)
class GlobalStack(_Slices[GlobalPrediction]):
    """Predictions of UGSM for many slices, as `GlobalPrediction` has them.

    Attributes:
        labels: (n, height, width).
        logits: (n, phases, height, width).
        entropy: (n, height, width).
    """

    labels: Stack
    logits: Stack
    entropy: Stack
    one = GlobalPrediction

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

    @property
    def n_phases(self) -> int:
        """Number of phases."""
        return self.logits.shape[1]


@dataclass(frozen=True, eq=False)
class PartitionStack(_Slices[Partition]):
    """Partitions of many slices, as `Partition` has them.

    Attributes:
        idk: (n, height, width).
        score: (n, height, width).
    """

    idk: Stack
    score: Stack
    one = Partition

    @classmethod
    def empty(cls, shape: tuple[int, ...], folder: Path | None = None) -> "PartitionStack":
        """Allocate a stack of shape (n, height, width)."""
        return cls(room_for(shape, np.bool_, folder), room_for(shape, np.float32, folder))


@dataclass(frozen=True, eq=False)
class LocalPool:
    """What a local network is trained on: a pool, and what earlier stages found for its images.

    Attributes:
        pool: training images and labels.
        known: UGSM's predictions of the images.
        partition: HCL-IDK's split of the images.
        weights: (phases,) weights of the loss.
    """

    pool: Pool
    known: GlobalStack
    partition: PartitionStack
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pool)

    def take(self, chosen: NDArray[np.bool_]) -> "LocalPool":
        """Select images by mask, without copying; the weights stay."""
        return LocalPool(
            self.pool.take(chosen),
            self.known.take(chosen),
            self.partition.take(chosen),
            self.weights,
        )

    def hard(self, number: int) -> NDArray[np.bool_]:
        """Mask (height, width) of the known pixels of an image that are in D2."""
        hard: NDArray[np.bool_] = self.partition.idk[number] & self.pool.known(number)
        return hard


@dataclass(frozen=True, eq=False)
class LocalPrediction:
    """Prediction of LCGAR for the IDK pixels, in the order of `numpy.nonzero(partition.idk)`.

    Attributes:
        labels: (pixels,) uint8, the paper's Y_L: phase indices.
        probabilities: (pixels, phases) float32.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
