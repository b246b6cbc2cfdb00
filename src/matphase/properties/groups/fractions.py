"""Volume fractions, porosity, and profiles along the axes."""

import math
import operator
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from matphase.properties import correlation, fractions
from matphase.properties.catalogue import Key
from matphase.properties.estimate import Curve
from matphase.properties.groups.subject import Found, Subject
from matphase.properties.sampling import bootstrap_error


def measure(subject: Subject) -> Found:
    """Volume fractions, porosity, profiles along the axes."""
    n, names = len(subject.names), subject.names
    counted = (fractions.phase_counts(indices, n) for indices, _ in subject.slabs())
    counts = reduce(operator.add, counted)
    values = fractions.fractions_from_counts(counts)
    keys = [Key("volume_fraction", name) for name in names]
    found = Found(dict(zip(keys, values.tolist(), strict=True)))
    pore = subject.plan.roles.get("pore")
    if pore is not None:
        found.values = {Key("porosity"): found.values[Key("volume_fraction", pore)], **found.values}
    if not subject.in_full:
        return found
    found.sampling = _fraction_errors(subject, values)
    profiles = fractions.profiles_from_counts(counts)
    for axis, profile, length in zip(subject.labelled.axes, profiles, subject.spacing, strict=True):
        places: NDArray[np.float64] = np.arange(0.5, len(profile)) * length
        found.curves[f"profile_{axis}"] = Curve(
            f"Volume fraction along {axis}",
            f"{axis} / {subject.length_unit}",
            "volume fraction",
            places,
            {name: profile[:, index] for index, name in enumerate(names)},
        )
    return found


def _fraction_errors(subject: Subject, values: NDArray[np.float64]) -> dict[Key, dict[str, float]]:
    """Errors by two-point correlation (Dahari et al. 2024, arXiv 2410.19568), and by blocks."""
    n = len(subject.names)
    rows = subject.by_blocks(
        lambda part, repeated: np.bincount(part[repeated:].ravel(), minlength=256)[:n]
    )
    by_blocks = bootstrap_error(rows, lambda row: row / row.sum())
    voxels = rows.sum() * math.prod(subject.spacing)
    errors = {}
    for index, name in enumerate(subject.names):
        error = {"bootstrap": float(by_blocks[index])}
        if subject.correlate and index in subject.present:
            alike = correlation.integral_range(subject.pairs(index), subject.spacing)
            variance = values[index] * (1 - values[index]) * alike / voxels
            error["correlation"] = math.sqrt(variance) if variance > 0 else math.nan
        errors[Key("volume_fraction", name)] = error
    pore = subject.plan.roles.get("pore")
    if pore is not None:
        errors[Key("porosity")] = errors[Key("volume_fraction", pore)]
    return errors
