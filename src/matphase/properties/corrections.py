"""Corrects measured properties by what validation slices say of the segmentation."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from matphase.properties import interfaces
from matphase.properties.estimate import Key, Property, pair_keys, surface_keys
from matphase.properties.labelled import Labelled
from matphase.properties.plan import Roles
from matphase.scores.validation import Corrected, Validation


def corrected(
    properties: Sequence[Property], labelled: Labelled, roles: Roles, validation: Validation
) -> list[Property]:
    """Correct volume fractions, areas and coverage; all other properties stay as they are.

    The error of the correction joins that of the dropout samples: the one says by how much the
    model errs on known slices, the other how much a volume may differ from these.
    """
    by_key = {one.key: one.value for one in properties}
    changes = {
        **_fractions(by_key, labelled, roles, validation),
        **_areas(by_key, labelled, roles, validation),
    }
    return [_changed(one, *changes[one.key]) if one.key in changes else one for one in properties]


Changes: TypeAlias = dict[Key, tuple[float, float]]
"""The corrected value and its error."""


def _fractions(
    by_key: Mapping[Key, float], labelled: Labelled, roles: Roles, validation: Validation
) -> Changes:
    keys = [Key("volume_fraction", name) for name in labelled.phases.names]
    if not all(key in by_key for key in keys):
        return {}
    measured = np.array([by_key[key] for key in keys])
    better = validation.fractions(measured, math.prod(labelled.shape))
    changes = {key: _entry(better, place) for place, key in enumerate(keys)}
    if (pore := roles.get("pore")) is not None:
        changes[Key("porosity")] = changes[Key("volume_fraction", pore)]
    return changes


def _areas(
    by_key: Mapping[Key, float], labelled: Labelled, roles: Roles, validation: Validation
) -> Changes:
    names, flat = labelled.phases.names, len(labelled.shape) == 2
    places = itertools.combinations(range(len(names)), 2)
    pairs = dict(zip(pair_keys(names, flat=flat), places, strict=True))
    if not all(key in by_key for key in pairs):
        return {}
    areas = np.zeros((len(names), len(names)))
    for key, (first, second) in pairs.items():
        areas[first, second] = areas[second, first] = by_key[key]
    voxels = math.prod(labelled.shape)
    better, covered = validation.areas(areas, voxels), validation.coverage(areas, voxels)
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
