"""Correction of measured properties by the errors of the model on its validation slices."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from matphase.properties import interfaces
from matphase.properties.catalogue import Key, pair_keys, surface_keys
from matphase.properties.estimate import Property
from matphase.properties.labelled import Labelled
from matphase.properties.plan import Roles
from matphase.properties.sampling import jackknife_error
from matphase.scores.validation import Validation
from matphase.support.ratios import ratios

MAX_GROUPS = 8
"""Most groups of slices in the jackknife; errors of neighbouring slices are correlated."""


@dataclass(frozen=True, eq=False)
class Corrected:
    """Corrected values and their standard errors, two arrays of one shape.

    Attributes:
        values: with the mean error on the validation slices removed.
        error: standard error of that mean, and of the error that remains on another volume.
    """

    values: NDArray[np.float64]
    error: NDArray[np.float64]


def correct_fractions(
    validation: Validation, fractions: NDArray[np.float64], voxels: int
) -> Corrected:
    """Correct volume fractions by the confusion matrix of the validation slices.

    Two things may carry over from the validation slices: the probability P(i | j) that a pixel
    predicted as phase j is phase i, as in the error-adjusted areas of Olofsson et al. (2014, Remote
    Sens. Environ. 148, 42-57), or the probability P(j | i) that a pixel of phase i is predicted as
    phase j, as in Rogan and Gladen (1978, Am. J. Epidemiol. 107, 71-76). They agree where the
    fractions are those of the slices. The first is biased towards these fractions and the second
    away from them, so the truth is assumed to lie between: the value is their mean, and half of
    their difference is part of the error.

    Args:
        validation: errors on the validation slices.
        fractions: (n,) of the predicted labels.
        voxels: number of voxels of the volume; the larger, the smaller its own part of the error.

    Returns:
        Arrays of shape (n,).
    """
    ends = _corrected_both_ways(validation.confusion.sum(axis=0), fractions)
    left_out = [
        np.mean(_corrected_both_ways(part, fractions), axis=0)
        for part in _without_each(validation.confusion)
    ]
    between = np.abs(ends[0] - ends[1]) / 2
    error = np.hypot(_error(validation, np.stack(left_out), voxels), between)
    return Corrected(np.mean(ends, axis=0), error)


def correct_areas(validation: Validation, areas: NDArray[np.float64], voxels: int) -> Corrected:
    """Scale interface areas by the ratio of known to predicted boundary lengths.

    In a plane through an isotropic structure boundary length is proportional to area. The area of
    two phases that never meet in the predicted slices is unchanged.

    Args:
        validation: errors on the validation slices.
        areas: (n, n) of the predicted labels, symmetric, 0 on the diagonal.
        voxels: number of voxels of the volume; the larger, the smaller its own part of the error.

    Returns:
        Arrays of shape (n, n), with each phase's own surface on the diagonal: the
        sum of its areas.
    """
    values, left_out = _scaled(validation, areas)
    return Corrected(values, _error(validation, left_out, voxels))


def correct_coverage(validation: Validation, areas: NDArray[np.float64], voxels: int) -> Corrected:
    """Share of the surface of each phase that each other phase covers, from corrected areas.

    Arguments are those of `correct_areas`.

    Returns:
        Arrays of shape (n, n): of phase i, covered by phase j; NaN where phase i has no surface.
    """
    values, left_out = _scaled(validation, areas)
    return Corrected(
        _shares_of_surface(values), _error(validation, _shares_of_surface(left_out), voxels)
    )


def _scaled(
    validation: Validation, areas: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas scaled by all slices, and (groups, n, n) without each group of them in turn."""

    def by(known: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        factor = np.divide(known, predicted, out=np.ones_like(known), where=predicted > 0)
        scaled: NDArray[np.float64] = areas * factor
        return scaled + np.diag(scaled.sum(axis=1))

    without = zip(_without_each(validation.known), _without_each(validation.predicted), strict=True)
    values = by(validation.known.sum(axis=0), validation.predicted.sum(axis=0))
    return values, np.stack([by(known, predicted) for known, predicted in without])


def _error(
    validation: Validation, left_out: NDArray[np.float64], voxels: int
) -> NDArray[np.float64]:
    """Standard error for a volume of this size, from values without each group (jackknife).

    The spread of the groups shows how much the error differs from place to place. The mean of the
    validation slices has that error, and so has the volume, each by its number of voxels.
    """
    seen = int(validation.confusion.sum())
    return jackknife_error(left_out) * math.sqrt(1 + seen / max(voxels, 1))


def _corrected_both_ways(
    confusion: NDArray[Any], fractions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By P(known | predicted), and by P(predicted | known)."""
    # fractions cannot be negative, which the plain inverse does not ensure
    solved, _ = nnls(_shares(confusion.T), fractions)
    by_known = solved * (fractions.sum() / max(solved.sum(), np.finfo(float).tiny))
    return _shares(confusion) @ fractions, by_known


def _shares(confusion: NDArray[Any]) -> NDArray[np.float64]:
    """Each column as shares of its sum; a phase that never occurs is not corrected."""
    totals = confusion.sum(axis=0)
    return np.where(totals > 0, confusion / np.maximum(totals, 1), np.eye(len(confusion)))


def _shares_of_surface(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    return ratios(areas, np.diagonal(areas, axis1=-2, axis2=-1)[..., np.newaxis])


def _without_each(slices: NDArray[Any]) -> list[NDArray[Any]]:
    """Sums over all but one group of neighbouring slices, for each group."""
    groups = np.array_split(slices, min(MAX_GROUPS, len(slices)))
    total = slices.sum(axis=0)
    return [total - group.sum(axis=0) for group in groups] if len(groups) > 1 else [total]


def corrected(
    properties: Sequence[Property],
    labelled: Labelled,
    voxels: int,
    roles: Roles,
    validation: Validation,
) -> list[Property]:
    """Properties with corrected volume fractions, areas and coverage; all others are unchanged.

    The error of the correction is added to that of the dropout samples: the first is how much the
    model errs on known slices, the second how much a volume may differ from these slices.

    Args:
        properties: as measured.
        labelled: the volume.
        voxels: number of its voxels that count.
        roles: of the phases.
        validation: errors on the validation slices.
    """
    by_key = {one.key: one.value for one in properties}
    changes = {
        **_fractions(by_key, labelled, voxels, roles, validation),
        **_areas(by_key, labelled, voxels, roles, validation),
    }
    return [_changed(one, *changes[one.key]) if one.key in changes else one for one in properties]


Changes: TypeAlias = dict[Key, tuple[float, float]]
"""Corrected value and its standard error, by the key of the property."""


def _fractions(
    by_key: Mapping[Key, float],
    labelled: Labelled,
    voxels: int,
    roles: Roles,
    validation: Validation,
) -> Changes:
    keys = [Key("volume_fraction", name) for name in labelled.phases.names]
    if not all(key in by_key for key in keys):
        return {}
    measured = np.array([by_key[key] for key in keys])
    better = correct_fractions(validation, measured, voxels)
    changes = {key: _entry(better, place) for place, key in enumerate(keys)}
    if (pore := roles.get("pore")) is not None:
        changes[Key("porosity")] = changes[Key("volume_fraction", pore)]
    return changes


def _areas(
    by_key: Mapping[Key, float],
    labelled: Labelled,
    voxels: int,
    roles: Roles,
    validation: Validation,
) -> Changes:
    names, flat = labelled.phases.names, len(labelled.shape) == 2
    places = itertools.combinations(range(len(names)), 2)
    pairs = dict(zip(pair_keys(names, flat=flat), places, strict=True))
    if not all(key in by_key for key in pairs):
        return {}
    areas = np.zeros((len(names), len(names)))
    for key, (first, second) in pairs.items():
        areas[first, second] = areas[second, first] = by_key[key]
    better = correct_areas(validation, areas, voxels)
    covered = correct_coverage(validation, areas, voxels)
    changes = {key: _entry(better, *place) for key, place in pairs.items()}
    own = np.stack([np.diagonal(better.values), np.diagonal(better.error)], axis=1)
    if flat:
        own = interfaces.surface_from_sections(own)
    changes |= zip(surface_keys(names, flat=flat), map(tuple, own.tolist()), strict=True)
    for key in by_key:
        if key.name == "coverage":
            active, binder = (names.index(roles.named(role)) for role in ("active", "binder"))
            changes[key] = _entry(covered, active, binder)
    return changes


def _entry(better: Corrected, *place: int) -> tuple[float, float]:
    return float(better.values[place]), float(better.error[place])


def _changed(one: Property, value: float, error: float) -> Property:
    added = {"validation": error} if math.isfinite(error) else {}
    return replace(one, value=value, segmentation_by={**one.segmentation_by, **added})
