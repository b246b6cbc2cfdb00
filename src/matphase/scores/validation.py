"""Errors of predicted labels on validation slices, for the correction of measured properties."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.scores.metrics.confusion import confusion_per_slice
from matphase.support.errors import InputError


@dataclass(frozen=True, eq=False)
class Validation:
    """Comparison of predicted with known labels, slice by slice.

    Attributes:
        confusion: (slices, n, n) number of pixels by [known phase, predicted phase].
        known: (slices, n, n) boundary length in pixels between two phases, in the known labels.
        predicted: (slices, n, n) the same in the predicted labels.
    """

    confusion: NDArray[np.int64]
    known: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        known: NDArray[np.uint8],
        predicted: NDArray[np.uint8],
        n_phases: int,
        boundary_lengths: Callable[[NDArray[np.uint8], int], NDArray[np.float64]],
    ) -> "Validation":
        """Compare two stacks of phase indices.

        Args:
            known: (slices, y, x) phase indices; pixels that are `IGNORE_INDEX` do not count.
            predicted: (slices, y, x) phase indices.
            n_phases: number of phases.
            boundary_lengths: maps a slice (y, x) and the number of phases to the lengths (n, n) in
                pixels at which two phases meet; `matphase.properties.interfaces` has it.

        Raises:
            InputError: the stacks do not fit, or hold values that are no phase index.
        """
        shown = np.where(known == IGNORE_INDEX, np.uint8(IGNORE_INDEX), predicted)
        return cls(
            confusion_per_slice(known, predicted, n_phases),
            np.stack([boundary_lengths(plane, n_phases) for plane in known]),
            np.stack([boundary_lengths(plane, n_phases) for plane in shown]),
        )

    @classmethod
    def joined(cls, parts: Sequence["Validation"]) -> "Validation":
        """The comparison of all slices of several comparisons, in their order."""
        return cls(
            np.concatenate([part.confusion for part in parts]),
            np.concatenate([part.known for part in parts]),
            np.concatenate([part.predicted for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.confusion)

    def to_json(self) -> dict[str, Any]:
        """Content as lists, ready for JSON."""
        return {
            "confusion": self.confusion.tolist(),
            "known_boundaries": self.known.tolist(),
            "predicted_boundaries": self.predicted.tolist(),
        }

    @classmethod
    def from_json(cls, content: Any, n_phases: int) -> "Validation":
        """Read what `to_json` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            confusion = np.array(content["confusion"], np.int64)
            known = np.array(content["known_boundaries"], np.float64)
            predicted = np.array(content["predicted_boundaries"], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("the model's score on validation slices is damaged") from error
        if any((part < 0).any() for part in (confusion, known, predicted)):
            raise InputError("the model's score on validation slices has negative counts")
        shape = (*confusion.shape[:1], n_phases, n_phases)
        if not confusion.shape == known.shape == predicted.shape == shape:
            raise InputError("the model's score on validation slices is of other phases")
        return cls(confusion, known, predicted)
