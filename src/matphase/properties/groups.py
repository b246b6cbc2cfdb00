"""Each group of properties: from a labelled volume to numbers by key."""

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import (
    chords,
    connectivity,
    correlation,
    dispersion,
    fractions,
    interfaces,
    particles,
    sizes,
    transport,
    triple_lines,
)
from matphase.properties.estimate import Curve, Key, pair_keys, surface_keys
from matphase.properties.labelled import Indices, Labelled, Spacing
from matphase.properties.plan import Plan
from matphase.properties.sampling import blocks, bootstrap_error, jackknife_error


@dataclass
class Found:
    """What one group says of one volume.

    Attributes:
        values: by key.
        sampling: standard errors from the finite volume, by key and by method.
        curves: by file name.
    """

    values: dict[Key, float] = field(default_factory=dict)
    sampling: dict[Key, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)


class Subject:
    """A labelled volume on its way through the groups; read once where it is one slab.

    Args:
        labelled: the volume.
        plan: what is asked for.
        in_full: also tell sampling errors and curves; samples of a prediction need neither.
        correlate: whether there is memory for two-point correlations.
    """

    def __init__(
        self, labelled: Labelled, plan: Plan, *, in_full: bool, correlate: bool = True
    ) -> None:
        self.correlate = correlate
        self.labelled = labelled
        self.plan = plan
        self.in_full = in_full
        self._pairs: dict[int, NDArray[np.int64]] = {}

    @cached_property
    def indices(self) -> Indices:
        """All voxels."""
        return self.labelled.whole()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the phases."""
        return self.labelled.phases.names

    @property
    def spacing(self) -> Spacing:
        """Of the voxels; in voxels where no size is known."""
        return self.labelled.spacing or (1.0,) * len(self.labelled.shape)

    @property
    def length_unit(self) -> str:
        """Of lengths in curves."""
        return self.labelled.unit or "voxels"

    @property
    def flat(self) -> bool:
        """Whether it is a slice."""
        return len(self.labelled.shape) == 2

    @cached_property
    def counted(self) -> NDArray[np.bool_] | None:
        """Voxels that count; None where all do."""
        return _counted(self.indices)

    def axes(self) -> Iterator[tuple[int, str]]:
        """Number and name of each axis that is asked for."""
        for name in self.plan.axes:
            yield self.labelled.axis(name), name

    def slabs(self, overlap: int = 0) -> Iterator[tuple[Indices, int]]:
        """Pieces of a volume along z, and how many of their slices came before."""
        if self.flat or self.labelled.fits:
            yield self.indices, 0
            return
        for slab in self.labelled.slabs(overlap):
            yield slab.indices, slab.repeated

    def pairs(self, phase: int) -> NDArray[np.int64]:
        """Pairs of voxels of a phase by their lag, up to half of each side; computed once."""
        if phase not in self._pairs:
            lags = tuple(min(LONGEST_LAG, side // 2) for side in self.labelled.shape)
            total: NDArray[np.int64] = np.zeros((), np.int64)
            for indices, repeated in self.slabs(overlap=lags[0]):
                mask, counted = indices == phase, _counted(indices)
                total = total + correlation.correlation_counts(mask, lags, counted, repeated)
            self._pairs[phase] = total
        return self._pairs[phase]

    def by_blocks(
        self, count: Callable[[Indices, int], NDArray[Any]], overlap: int = 0
    ) -> NDArray[Any]:
        """What a function counts in each block for the bootstrap, blocks first.

        Args:
            count: of part of a block, and its leading slices that were counted before.
            overlap: slices that parts of a block repeat of the ones before.
        """
        places = blocks(self.labelled.shape)
        if self.flat or self.labelled.fits:
            return np.stack([count(self.indices[place], 0) for place in places])
        sums = []
        for _, layer in itertools.groupby(places, key=lambda place: place[0].start):
            chosen = list(layer)
            counts: list[Any] = [0] * len(chosen)
            depth = chosen[0][0]
            for slab in self.labelled.slabs(overlap, depth.start, depth.stop):
                for number, (_, rows, columns) in enumerate(chosen):
                    part = slab.indices[:, rows, columns]
                    counts[number] = counts[number] + count(part, slab.repeated)
            sums += counts
        return np.stack(sums)


def _counted(indices: Indices) -> NDArray[np.bool_] | None:
    """Voxels that count; None where all do."""
    ignored = indices == IGNORE_INDEX
    return ~ignored if ignored.any() else None


COLUMNS = 9
"""Columns along the axis of transport, for the error of a finite volume."""
_COLUMN_TOLERANCE = 1e-3

LONGEST_LAG = 64
"""In voxels. Where the correlation does not end within it, the error by correlation is infinite."""

Group = Callable[[Subject], Found]


def measure_fractions(subject: Subject) -> Found:
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
    """By the two-point correlation, as Dahari et al. (2024, arXiv 2410.19568), and by blocks."""
    n = len(subject.names)
    rows = subject.by_blocks(
        lambda part, repeated: np.bincount(part[repeated:].ravel(), minlength=256)[:n]
    )
    by_blocks = bootstrap_error(rows, lambda row: row / row.sum())
    voxels = rows.sum() * math.prod(subject.spacing)
    errors = {}
    for index, name in enumerate(subject.names):
        error = {"bootstrap": float(by_blocks[index])}
        if subject.correlate:
            alike = correlation.integral_range(subject.pairs(index), subject.spacing)
            variance = values[index] * (1 - values[index]) * alike / voxels
            error["correlation"] = math.sqrt(variance) if variance > 0 else math.nan
        errors[Key("volume_fraction", name)] = error
    pore = subject.plan.roles.get("pore")
    if pore is not None:
        errors[Key("porosity")] = errors[Key("volume_fraction", pore)]
    return errors


def measure_interfaces(subject: Subject) -> Found:
    """Areas between phases, surfaces of phases, coverage, triple-phase boundary.

    Of a slice: boundary lengths per area, what they say of surfaces, triple points.
    """
    n = len(subject.names)
    total: NDArray[np.int64] = np.zeros((), np.int64)
    lines: NDArray[np.int64] = np.zeros((), np.int64)
    for indices, repeated in subject.slabs(overlap=1):
        total = total + interfaces.interface_counts(indices, n, repeated)
        lines = lines + triple_lines.triple_line_counts(indices, repeated)
    keys = _interface_keys(subject)

    def values_of(sides: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
        areas = interfaces.areas_from_counts(sides, subject.spacing)
        length = triple_lines.triple_lines_from_counts(edges, subject.spacing)
        return _interface_values(subject, areas, length)

    found = Found(dict(zip(keys, values_of(total, lines).tolist(), strict=True)))
    if subject.in_full:
        # both kinds of counts in one row, so that the same blocks are drawn for both
        def count(part: Indices, repeated: int) -> NDArray[np.int64]:
            sides = interfaces.interface_counts(part, n, repeated)
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
    """In the order of `_interface_keys`."""
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


def measure_chords(subject: Subject) -> Found:
    """Chord lengths of each phase along the axes."""
    found = Found()
    for number, axis in subject.axes():
        lines = {}
        length = subject.spacing[number]
        for index, name in enumerate(subject.names):
            seen = chords.chord_lengths(subject.indices == index, number, length, subject.counted)
            key = Key("mean_chord", name, axis)
            found.values[key] = seen.mean_intercept
            lines[name] = seen.number / max(1, seen.number.sum())
            if subject.in_full:
                error = bootstrap_error(
                    _chord_rows(subject, index, number) * (length, 1), _quotient
                )
                found.sampling[key] = {"bootstrap": float(error[0])}
        if subject.in_full:
            found.curves[f"chords_{axis}"] = Curve(
                f"Chord lengths along {axis}",
                f"length / {subject.length_unit}",
                "share of chords",
                seen.lengths,
                lines,
            )
    return found


def _chord_rows(subject: Subject, phase: int, axis: int) -> NDArray[np.float64]:
    """Of each block: voxels of the phase, and number of its chords along the axis."""

    def count(part: Indices, _: int) -> NDArray[np.float64]:
        seen = chords.chord_counts(part == phase, axis, part != IGNORE_INDEX)
        return np.array([np.count_nonzero(part == phase), seen.ends / 2])

    return subject.by_blocks(count)


def measure_connectivity(subject: Subject) -> Found:
    """Largest clusters, and what percolates along the axes."""
    found = Found()
    for index, name in enumerate(subject.names):
        clusters = connectivity.find_clusters(indices == index for indices, _ in subject.slabs())
        seen = connectivity.connectivity(clusters)
        found.values[Key("connected_share", name)] = seen.largest_share
        for number, axis in subject.axes():
            found.values[Key("percolating_share", name, axis)] = seen.percolating_share[number]
    return found


def measure_sizes(subject: Subject) -> Found:
    """Continuous size distribution of each phase."""
    found = Found()
    for index, name in enumerate(subject.names):
        thickness = sizes.local_thickness(
            subject.indices == index, subject.spacing, subject.counted
        )
        seen = sizes.distribution_of_thickness(thickness)
        mean = Key("mean_diameter", name)
        found.values |= {mean: seen.mean, Key("median_diameter", name): seen.d50}
        if subject.in_full:
            rows = [
                (thickness[place].sum(), np.count_nonzero(thickness[place]))
                for place in blocks(subject.labelled.shape)
            ]
            error = bootstrap_error(np.array(rows, np.float64), _quotient)
            found.sampling[mean] = {"bootstrap": float(error[0])}
            found.curves[f"sizes_{name}"] = Curve(
                f"Size distribution of {name}",
                f"diameter / {subject.length_unit}",
                "share of the phase at least so large",
                seen.diameters,
                {name: seen.share_at_least},
            )
    return found


def _quotient(sums: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([sums[0] / sums[1] if sums[1] else math.nan])


def measure_correlation(subject: Subject) -> Found:
    """Two-point correlation of each phase, averaged over directions."""
    found, lines, distance = Found(), {}, np.zeros(0)
    for index, name in enumerate(subject.names):
        counts = subject.pairs(index)
        radial = correlation.radial_correlation(counts, subject.spacing)
        found.values[Key("correlation_length", name)] = correlation.autocorrelation_length(radial)
        lines[name], distance = radial.s2, radial.distance
    if subject.in_full:
        found.curves["correlation"] = Curve(
            "Probability that both ends are in the phase",
            f"distance / {subject.length_unit}",
            "S2",
            distance,
            lines,
        )
    return found


def measure_particles(subject: Subject) -> Found:
    """Particles of the active material, and how the binder is spread between them."""
    found, roles = Found(), subject.plan.roles
    active, binder, pore = roles.get("active"), roles.get("binder"), roles.get("pore")
    if active is None:
        return found
    labels = particles.particle_labels(
        subject.indices == subject.names.index(active), subject.spacing, subject.counted
    )
    seen = particles.measure_particles(labels, subject.spacing, subject.counted)
    summary = particles.summarise_particles(seen)
    found.values[Key("particle_count", active)] = summary.count
    found.values[Key("particle_median_diameter", active)] = summary.d50
    if binder is None or pore is None:
        return found
    within = subject.indices == subject.names.index(binder)
    room = within | (subject.indices == subject.names.index(pore))
    longest = min(
        side * length for side, length in zip(subject.labelled.shape, subject.spacing, strict=True)
    )
    # the scale that binder is to be spread at is that of the particles it joins
    box = summary.d50 if max(subject.spacing) <= summary.d50 <= longest else math.nan
    found.values[Key("dispersion_index", binder)] = (
        math.nan
        if math.isnan(box)
        else dispersion.dispersion_index(within, room, subject.spacing, box)
    )
    return found


def measure_transport(subject: Subject) -> Found:
    """Tortuosity factor and effective diffusivity of the pores, conductivity of what conducts.

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
    """Put what flows along an axis into `found`, and its error from columns along that axis."""
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


GROUP_OF: dict[str, Group] = {
    "fractions": measure_fractions,
    "interfaces": measure_interfaces,
    "connectivity": measure_connectivity,
    "transport": measure_transport,
    "sizes": measure_sizes,
    "correlation": measure_correlation,
    "chords": measure_chords,
    "particles": measure_particles,
}
"""The groups of a plan."""

WHOLE = {"transport": 360, "sizes": 16, "chords": 6, "particles": 80}
"""Bytes a voxel of the groups that need the whole volume in memory."""


def correlation_bytes(shape: tuple[int, ...]) -> int:
    """Memory that two-point correlations take, of a volume of any depth.

    Transforms work on pieces of three times the lag along the first axis, padded along the
    others, with about 55 bytes a voxel.
    """
    depth, *sides = shape
    padded = [side + min(LONGEST_LAG, side // 2) for side in sides]
    return 55 * min(depth, 3 * LONGEST_LAG) * math.prod(padded)
