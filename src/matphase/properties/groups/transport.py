"""Tortuosity factor, effective diffusivity, and effective conductivity."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import transport
from matphase.properties.catalogue import Key
from matphase.properties.connectivity import find_clusters
from matphase.properties.groups.subject import Found, Subject
from matphase.properties.sampling import blocks, jackknife_error

COLUMNS = 9
"""Columns along the axis of transport, for the error of a finite volume."""
_COLUMN_TOLERANCE = 1e-3


def measure(subject: Subject) -> Found:
    """Tortuosity factor and effective diffusivity of the pores, effective conductivity.

    Where it is not known which phase is the pore, of each phase.
    """
    found = Found()
    given = subject.plan.conductivities
    for number, axis in subject.axes():
        if subject.labelled.shape[number] < 2:
            found.notes.append(
                f"transport along {axis} was left out: the volume is one voxel thick there"
            )
            continue
        for name in _single(subject):
            tau, effective = (
                Key("tortuosity_factor", name, axis),
                Key("effective_diffusivity", name, axis),
            )
            _solve(subject, found, {name: 1.0}, number, effective, tau)
        if given:
            conducting = _together(subject)
            _solve(
                subject,
                found,
                given,
                number,
                Key("effective_conductivity", "|".join(conducting), axis),
            )
    subject.note_if_varying(found, "transport")
    return found


def memory_needed(subject: Subject) -> int:
    """Bytes that transport takes: most of it for the voxels in which something flows."""
    given = subject.plan.conductivities
    ways = [([name], 1) for name in _single(subject)]
    if given:
        together = _together(subject)
        ways.append((together, len({given[name] for name in together})))
    voxels = math.prod(subject.labelled.shape)
    return max(
        transport.memory_needed(voxels, _most_flowing(subject, names), subject.spacing, different)
        for names, different in ways
    )


def _single(subject: Subject) -> tuple[str, ...]:
    """Phases that conduct alone: the pores, or each phase where these are not known."""
    pore = subject.plan.roles.get("pore")
    return subject.names if pore is None else (pore,)


def _together(subject: Subject) -> list[str]:
    """Phases that conduct together."""
    given = subject.plan.conductivities
    return [name for name in subject.names if given.get(name, 0) > 0]


def _most_flowing(subject: Subject, names: Sequence[str]) -> int:
    """Voxels of phases in clusters that join both ends of an axis, for the axis with most."""
    phases = [subject.names.index(name) for name in names]
    if not subject.survey.voxels[phases].any():
        return 0
    conducts = np.zeros(256, np.bool_)
    conducts[phases] = True
    clusters = find_clusters(conducts[indices] for indices, _ in subject.slabs())
    spanning: NDArray[np.bool_] = np.all(clusters.touches, axis=2)
    return max(
        (
            int(clusters.sizes @ spanning[:, number])
            for number, _ in subject.axes()
            if subject.survey.same_along[number]
        ),
        default=0,
    )


def _solve(
    subject: Subject,
    found: Found,
    conductivity: Mapping[str, float],
    axis: int,
    effective: Key,
    tau: Key | None = None,
) -> None:
    """Add the flow along an axis to `found`, with its error from columns along that axis."""
    by_index = {subject.names.index(name): value for name, value in conductivity.items()}
    keys = [effective] if tau is None else [effective, tau]

    def values_of(flow: float, share: float) -> list[float]:
        if tau is None:
            return [flow]
        return [flow, share / flow if flow != 0 else math.inf]

    whole = transport.transport(subject.indices, by_index, axis, subject.spacing)
    values = values_of(whole.effective, whole.volume_fraction)
    found.values |= dict(zip(keys, values, strict=True))
    if not subject.in_full or not whole.percolates:
        return
    # columns lie side by side, so what flows through them adds up to about what flows in all
    rows = []
    sides = tuple(np.delete(subject.indices.shape, axis).tolist())
    for place in blocks(sides, COLUMNS):
        column = subject.indices[(*place[:axis], slice(None), *place[axis:])]
        one = transport.transport(column, by_index, axis, subject.spacing, _COLUMN_TOLERANCE)
        counted = np.count_nonzero(column != IGNORE_INDEX)
        if counted:
            rows.append(np.array([one.effective, one.volume_fraction, 1]) * counted)

    total = np.sum(rows, axis=0)
    in_columns, *left_out = (
        values_of(flow / voxels, share / voxels)
        for flow, share, voxels in [total, *(total - np.stack(rows) if len(rows) > 1 else ())]
    )
    errors = jackknife_error(np.array(left_out).reshape(-1, len(keys)))
    # less flows in columns than in the whole, so it is the relative error that is taken over
    for key, value, mean, error in zip(keys, values, in_columns, errors.tolist(), strict=True):
        found.sampling[key] = {"parts": error * value / mean if mean > 0 else math.nan}
