"""Areas between phases, surfaces of phases, coverage, and triple-phase boundary."""

import math

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import interfaces, triple_lines
from matphase.properties.catalogue import Key, pair_keys, surface_keys
from matphase.properties.groups.subject import MANY, Found, Subject
from matphase.properties.labelled import Indices
from matphase.properties.sampling import bootstrap_error


def measure(subject: Subject) -> Found:
    """Areas between phases, surfaces of phases, coverage, triple-phase boundary.

    For a slice: boundary lengths per area, surfaces estimated from them, triple points.
    """
    # only phases that are there are counted: what is counted grows with the square of their number
    present = subject.present
    n = len(present)
    number = np.full(256, IGNORE_INDEX, np.uint8)
    number[present] = np.arange(n)
    total: NDArray[np.int64] = np.zeros((), np.int64)
    lines: NDArray[np.int64] = np.zeros((), np.int64)
    for indices, repeated in subject.slabs(overlap=1):
        total = total + interfaces.interface_counts(number[indices], n, repeated)
        lines = lines + triple_lines.triple_line_counts(indices, repeated)
    keys = _interface_keys(subject)

    def values_of(sides: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
        found = interfaces.areas_from_counts(sides, subject.spacing)
        areas = np.full((len(subject.names),) * 2, math.nan if np.isnan(found).any() else 0.0)
        areas[np.ix_(present, present)] = found
        length = triple_lines.triple_lines_from_counts(edges, subject.spacing)
        return _interface_values(subject, areas, length)

    found = Found(dict(zip(keys, values_of(total, lines).tolist(), strict=True)))
    if subject.in_full and n > MANY:
        found.notes.append(
            f"areas have no sampling errors, which would take long for {n} phases; merge phases"
        )
    elif subject.in_full:
        # both kinds of counts in one row, so that the same blocks are drawn for both
        def count(part: Indices, repeated: int) -> NDArray[np.int64]:
            sides = interfaces.interface_counts(number[part], n, repeated)
            edges = triple_lines.triple_line_counts(part, repeated)
            return np.concatenate([sides.ravel(), edges.ravel()])

        def statistic(row: NDArray[np.int64]) -> NDArray[np.float64]:
            return values_of(
                row[: total.size].reshape(total.shape), row[total.size :].reshape(lines.shape)
            )

        errors = bootstrap_error(subject.by_blocks(count, overlap=1), statistic)
        found.sampling = {
            key: {"bootstrap": error} for key, error in zip(keys, errors.tolist(), strict=True)
        }
    return found


def _interface_keys(subject: Subject) -> list[Key]:
    flat, names = subject.flat, subject.names
    triple = Key("triple_points" if flat else "triple_phase_boundary")
    areas = [*surface_keys(names, flat=flat), *pair_keys(names, flat=flat)]
    return [*areas, triple, *_coverage_keys(subject)]


def _coverage_keys(subject: Subject) -> list[Key]:
    active, binder = subject.plan.roles.get("active"), subject.plan.roles.get("binder")
    return [] if active is None or binder is None else [Key("coverage", f"{active}|{binder}")]


def _interface_values(
    subject: Subject, areas: NDArray[np.float64], triple: float
) -> NDArray[np.float64]:
    """Values in the order of `_interface_keys`."""
    own = interfaces.specific_surface_areas(areas)
    if subject.flat:
        own = interfaces.surface_from_sections(own)
    pairs = areas[np.triu_indices(len(areas), 1)]
    roles = subject.plan.roles
    covered = [
        interfaces.coverage(
            areas, *(subject.names.index(roles.named(role)) for role in ("active", "binder"))
        )
        for _ in _coverage_keys(subject)
    ]
    return np.concatenate([own, pairs, [triple], covered])
