"""What slices with known labels say of the errors in a prediction, and how they correct it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import interfaces
from matphase.properties.labelled import Indices
from matphase.properties.sampling import jackknife_error
from matphase.support.errors import InputError

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
        """Volume fractions, corrected by how predicted and known phases go together.

        Two things may carry over from the validation slices: what the pixels predicted as phase j
        really are, P(i | j), as in the error-adjusted areas of Olofsson et al. (2014, Remote Sens.
        Environ. 148, 42-57), or what becomes of the pixels that are phase i, P(j | i), as Rogan
        and Gladen (1978, Am. J. Epidemiol. 107, 71-76) have it. They agree where fractions are
        those of the slices. The first leans to these fractions and the second away from them, so
        the truth is taken to lie between: the value is their mean, and half of their difference
        is part of the error.

        Args:
            fractions: (n,) of the predicted labels.
            voxels: of the volume, which its own part of the error falls with.
        """
        ends = _corrected_both_ways(self.confusion.sum(axis=0), fractions)
        left_out = [
            np.mean(_corrected_both_ways(part, fractions), axis=0)
            for part in _without_each(self.confusion)
        ]
        between = np.abs(ends[0] - ends[1]) / 2
        error = np.hypot(self._error(np.stack(left_out), voxels), between)
        return Corrected(np.mean(ends, axis=0), error)

    def areas(self, areas: NDArray[np.float64], voxels: int) -> Corrected:
        """Interface areas, scaled by the ratio of known to predicted boundary lengths.

        In a plane through an isotropic structure boundary length is in proportion to area.
        Pairs of phases that never meet in the predicted slices stay as they are.

        Args:
            areas: (n, n) of the predicted labels, symmetric, 0 on the diagonal.
            voxels: of the volume, which its own part of the error falls with.

        Returns:
            (n, n), with each phase's own surface, the sum of its areas, on the diagonal.
        """
        values, left_out = self._scaled(areas)
        return Corrected(values, self._error(left_out, voxels))

    def coverage(self, areas: NDArray[np.float64], voxels: int) -> Corrected:
        """Share of the surface of each phase that each other one covers, from such areas.

        Returns:
            (n, n): of phase i, covered by phase j; nan where phase i has no surface.
        """
        values, left_out = self._scaled(areas)
        return Corrected(
            _shares_of_surface(values), self._error(_shares_of_surface(left_out), voxels)
        )

    def _scaled(
        self, areas: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas by all slices, and (groups, n, n) without each group of them in turn."""

        def by(known: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
            scaled: NDArray[np.float64] = areas * _ratio(known, predicted)
            return scaled + np.diag(scaled.sum(axis=1))

        without = zip(_without_each(self.known), _without_each(self.predicted), strict=True)
        values = by(self.known.sum(axis=0), self.predicted.sum(axis=0))
        return values, np.stack([by(known, predicted) for known, predicted in without])

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
            raise InputError("the model's score on validation slices is damaged") from error
        shape = (len(confusion), n_phases, n_phases)
        if not confusion.shape == known.shape == predicted.shape == shape:
            raise InputError("the model's score on validation slices is of other phases")
        return cls(confusion, known, predicted)


def _confusion(known: Indices, predicted: Indices, n: int) -> NDArray[np.int64]:
    counted = known != IGNORE_INDEX
    pairs = known[counted].astype(np.int64) * n + predicted[counted]
    return np.bincount(pairs, minlength=n * n).reshape(n, n)


def _boundaries(plane: Indices, n: int) -> NDArray[np.float64]:
    """Boundary length between two phases, in pixels."""
    # of a slice without pixels that count there is nothing to tell
    return np.nan_to_num(interfaces.interface_areas(plane, n, (1.0, 1.0)) * plane.size)


def _corrected_both_ways(
    confusion: NDArray[Any], fractions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By P(known | predicted), and by P(predicted | known)."""
    # fractions cannot be negative, which a mere inverse does not know
    solved, _ = nnls(_shares(confusion.T), fractions)
    by_known = solved * (fractions.sum() / max(solved.sum(), np.finfo(float).tiny))
    return _shares(confusion) @ fractions, by_known


def _shares(confusion: NDArray[Any]) -> NDArray[np.float64]:
    """Each column as shares of its sum; a phase that never occurs is taken at its word."""
    totals = confusion.sum(axis=0)
    return np.where(totals > 0, confusion / np.maximum(totals, 1), np.eye(len(confusion)))


def _ratio(known: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(known, predicted, out=np.ones_like(known), where=predicted > 0)


def _shares_of_surface(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    own = np.diagonal(areas, axis1=-2, axis2=-1)[..., np.newaxis]
    return np.divide(areas, own, out=np.full_like(areas, np.nan), where=own > 0)


def _without_each(slices: NDArray[Any]) -> list[NDArray[Any]]:
    """Sums over all but one group of neighbouring slices, for each group."""
    groups = np.array_split(slices, min(MOST_GROUPS, len(slices)))
    total = slices.sum(axis=0)
    return [total - group.sum(axis=0) for group in groups] if len(groups) > 1 else [total]
