"""What slices with known labels say of the errors in a prediction, and how they correct it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.errors import InputError
from matphase.phases import IGNORE_INDEX
from matphase.properties import interfaces
from matphase.properties.labelled import Indices
from matphase.properties.sampling import jackknife_error

MOST_GROUPS = 8
"""Neighbouring slices share their errors, so they count in at most so many groups."""


@dataclass(frozen=True)
class Corrected:
    """A corrected value and its standard errors, each of shape (k,).

    Attributes:
        values: with the mean error on the validation slices taken off.
        error: standard error of that mean, and of what remains on another volume.
    """

    values: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass(frozen=True)
class Validation:
    """How predicted labels compare with known ones, slice by slice.

    Attributes:
        confusion: (slices, n, n) pixels with [known phase, predicted phase].
        known: (slices, n, n) boundary length in pixels between two phases, in the known labels.
        predicted: (slices, n, n) the same in the predicted ones.
    """

    confusion: NDArray[np.int64]
    known: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @classmethod
    def of(cls, known: Indices, predicted: Indices, n_phases: int) -> "Validation":
        """Compare (slices, y, x) phase indices; pixels whose phase is not known do not count."""
        shown = np.where(known == IGNORE_INDEX, np.uint8(IGNORE_INDEX), predicted)
        confusion = [
            _confusion(one, other, n_phases) for one, other in zip(known, shown, strict=True)
        ]
        return cls(
            np.stack(confusion),
            np.stack([_boundaries(plane, n_phases) for plane in known]),
            np.stack([_boundaries(plane, n_phases) for plane in shown]),
        )

    def __len__(self) -> int:
        return len(self.confusion)

    def fractions(self, fractions: NDArray[np.float64], voxels: int) -> Corrected:
        """Volume fractions, corrected by what the predicted phases really are.

        Of the pixels predicted as phase j a share P(i | j) is phase i, so f_i = sum_j P(i | j)
        f_j: the error-adjusted area of Olofsson et al. (2014, Remote Sens. Environ. 148, 42-57).

        Args:
            fractions: (n,) of the predicted labels.
            voxels: of the volume, which its own part of the error falls with.
        """
        values = _shares(self.confusion.sum(axis=0)) @ fractions
        left_out = [_shares(part) @ fractions for part in _without_each(self.confusion)]
        return Corrected(values, self._error(np.stack(left_out), voxels))

    def areas(self, areas: NDArray[np.float64], voxels: int) -> Corrected:
        """Interface areas (n, n), scaled by the ratio of known to predicted boundary lengths.

        In a plane through an isotropic structure boundary length is in proportion to area.
        Pairs of phases that never meet in the predicted slices stay as they are.
        """
        values = areas * _ratio(self.known.sum(axis=0), self.predicted.sum(axis=0))
        known, predicted = _without_each(self.known), _without_each(self.predicted)
        left_out = [areas * _ratio(one, other) for one, other in zip(known, predicted, strict=True)]
        return Corrected(values, self._error(np.stack(left_out), voxels))

    def _error(self, left_out: NDArray[np.float64], voxels: int) -> NDArray[np.float64]:
        """From values without each group in turn (jackknife), and for a volume of its own size.

        Groups scatter by how much the error differs from place to place. The mean of the
        validation slices has that error, and so has the volume, each by its number of voxels.
        """
        seen = int(self.confusion.sum())
        return jackknife_error(left_out) * math.sqrt(1 + seen / max(voxels, 1))

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
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
            raise InputError("the validation of the model is damaged; predict again") from error
        shape = (len(confusion), n_phases, n_phases)
        if not confusion.shape == known.shape == predicted.shape == shape:
            raise InputError("the validation of the model is of other phases; predict again")
        return cls(confusion, known, predicted)


def _confusion(known: Indices, predicted: Indices, n: int) -> NDArray[np.int64]:
    counted = known != IGNORE_INDEX
    pairs = known[counted].astype(np.int64) * n + predicted[counted]
    return np.bincount(pairs, minlength=n * n).reshape(n, n)


def _boundaries(plane: Indices, n: int) -> NDArray[np.float64]:
    """Boundary length between two phases, in pixels."""
    return interfaces.interface_areas(plane, n, (1.0, 1.0)) * plane.size


def _shares(confusion: NDArray[Any]) -> NDArray[np.float64]:
    """P(known i | predicted j); a phase that was never predicted is taken at its word."""
    totals = confusion.sum(axis=0)
    return np.where(totals > 0, confusion / np.maximum(totals, 1), np.eye(len(confusion)))


def _ratio(known: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(known, predicted, out=np.ones_like(known), where=predicted > 0)


def _without_each(slices: NDArray[Any]) -> list[NDArray[Any]]:
    """Sums over all but one group of neighbouring slices, for each group."""
    groups = np.array_split(slices, min(MOST_GROUPS, len(slices)))
    total = slices.sum(axis=0)
    return [total - group.sum(axis=0) for group in groups] if len(groups) > 1 else [total]
