"""Corrects measured properties by what validation slices say of the segmentation."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from matphase.properties.estimate import Key, Property
from matphase.properties.labelled import Labelled
from matphase.properties.plan import Roles
from matphase.properties.validation import Corrected, Validation


def corrected(
    properties: Sequence[Property], labelled: Labelled, roles: Roles, validation: Validation
) -> list[Property]:
    """Correct volume fractions and areas; all other properties stay as they are.

    The error of the correction joins that of the dropout samples: the one says by how much the
    model errs on known slices, the other how much a volume may differ from these.
    """
    by_key = {one.key: one for one in properties}
    voxels, names = math.prod(labelled.shape), labelled.phases.names
    changes: dict[Key, tuple[float, float]] = {}
    shares = [by_key.get(Key("volume_fraction", name)) for name in names]
    if all(one is not None for one in shares):
        fractions = np.array([one.value for one in shares if one is not None])
        better = validation.fractions(fractions, voxels)
        for place, name in enumerate(names):
            changes[Key("volume_fraction", name)] = _entry(better, place)
        if (pore := roles.get("pore")) is not None:
            changes[Key("porosity")] = changes[Key("volume_fraction", pore)]
    return [_changed(one, *changes[one.key]) if one.key in changes else one for one in properties]


def _entry(better: Corrected, *place: int) -> tuple[float, float]:
    return float(better.values[place]), float(better.error[place])


def _changed(one: Property, value: float, error: float) -> Property:
    added = {"validation": error} if math.isfinite(error) else {}
    return replace(one, value=value, segmentation_by={**one.segmentation_by, **added})
