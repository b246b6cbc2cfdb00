"""Training examples, and the order in which batches of them are seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from matphase.support.seeds import mix

Indices: TypeAlias = NDArray[np.int64]
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Draw:
    """Examples of one batch, and the random seed of their augmentation."""

    indices: Indices
    seed: int


class Examples(Protocol):
    """Training examples, gathered batch by batch."""

    def __len__(self) -> int:
        """Number of examples."""

    def batch(self, draw: Draw) -> tuple[Tensor, ...]:
        """Inputs of the network for these examples, followed by the target."""


class Order(Protocol):
    """Order in which training sees the examples."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""

    def epoch(self, number: int) -> Iterator[Indices]:
        """Batches of one epoch, as index arrays."""


class Shuffled:
    """Order in which each epoch sees every example once, newly shuffled."""

    def __init__(self, n_examples: int, batch_size: int, seed: int) -> None:
        self._n = n_examples
        self._size = min(batch_size, n_examples)
        self._seed = seed

    @property
    def steps_per_epoch(self) -> int:
        # an incomplete last batch is left out: batch norm fails on single examples, and later
        # epochs see the examples left out
        return self._n // self._size

    def epoch(self, number: int) -> Iterator[Indices]:
        order = np.random.default_rng(mix(self._seed, "order", number)).permutation(self._n)
        for step in range(self.steps_per_epoch):
            yield order[step * self._size : (step + 1) * self._size]
