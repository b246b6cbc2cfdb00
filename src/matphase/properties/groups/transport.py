"""Tortuosity factor, effective diffusivity, and effective conductivity."""

import math
from collections.abc import Mapping

import numpy as np

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import transport
from matphase.properties.catalogue import Key
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
    names, given = subject.names, subject.plan.conductivities
    pore = subject.plan.roles.get("pore")
    for number, axis in subject.axes():
        for name in names if pore is None else (pore,):
            tau, effective = (
                Key("tortuosity_factor", name, axis),
                Key("effective_diffusivity", name, axis),
            )
            _solve(subject, found, {name: 1.0}, number, effective, tau)
        if given:
            conducting = [name for name in names if given.get(name, 0) > 0]
            _solve(
                subject,
                found,
                given,
                number,
                Key("effective_conductivity", "|".join(conducting), axis),
            )
    return found


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
    if subject.indices.shape[axis] < 2:
        return
    keys = [effective] if tau is None else [effective, tau]

    def values_of(flow: float, share: float) -> list[float]:
        if tau is None:
            return [flow]
        return [flow, share / flow if flow > 0 else math.inf]

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
