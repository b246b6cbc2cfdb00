"""Measured properties with their errors, and how they are written down."""

import csv
import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matphase.properties.sampling import half_width
from matphase.support.errors import InputError


class Key(NamedTuple):
    """What a number measures.

    Attributes:
        name: of the property, as in `PROPERTIES`.
        of: a phase, or several joined by "|"; empty where it is of the whole.
        axis: z, y or x; empty where it has no direction.
    """

    name: str
    of: str = ""
    axis: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


class Kind(NamedTuple):
    """A property in general: its dimension as a power of length, its bounds, and its method."""

    power: int
    high: float
    method: str


PROPERTIES: dict[str, Kind] = {
    "porosity": Kind(0, 1, "voxel count"),
    "volume_fraction": Kind(0, 1, "voxel count"),
    "specific_surface_area": Kind(-1, math.inf, "Cauchy-Crofton, 13 directions"),
    "interface_area": Kind(-1, math.inf, "Cauchy-Crofton, 13 directions"),
    "boundary_length": Kind(-1, math.inf, "Cauchy-Crofton in the plane, 4 directions"),
    "surface_area_from_plane": Kind(-1, math.inf, "4/pi boundary length, if isotropic"),
    "triple_phase_boundary": Kind(-2, math.inf, "2 points per area of three planes"),
    "triple_points": Kind(-2, math.inf, "points per area of the plane"),
    "coverage": Kind(0, 1, "ratio of interface areas"),
    "connected_share": Kind(0, 1, "largest cluster, face neighbours"),
    "percolating_share": Kind(0, 1, "clusters that join both faces"),
    "tortuosity_factor": Kind(0, math.inf, "finite volumes, tau = eps D0 / Deff"),
    "effective_diffusivity": Kind(0, 1, "finite volumes, Deff / D0"),
    "effective_conductivity": Kind(0, math.inf, "finite volumes"),
    "mean_diameter": Kind(1, math.inf, "local thickness"),
    "median_diameter": Kind(1, math.inf, "local thickness"),
    "mean_chord": Kind(1, math.inf, "length in the phase per chord"),
    "correlation_length": Kind(1, math.inf, "two-point correlation"),
    "particle_count": Kind(0, math.inf, "watershed"),
    "particle_median_diameter": Kind(1, math.inf, "watershed, by volume"),
    "dispersion_index": Kind(0, 1, "1 - intensity of segregation"),
}
"""All properties by name, in the order of tables."""


@dataclass(frozen=True)
class Property:
    """One number that is published, and how far it can be trusted.

    Attributes:
        key: what it measures.
        value: the best estimate; nan where it is not defined, inf for the tortuosity factor of
            a phase that does not percolate.
        unit: such as "1/um"; "1" for pure numbers, powers of "px" where no voxel size is known,
            "as given" for the unit of the conductivities.
        measured: the value on the labels as they are, before a correction by validation slices.
        segmentation_by: standard error that comes from the labels: `samples`, the spread of the
            dropout samples, and `validation`, what remains after the correction.
        sampling_by: standard error that comes from the finite volume, by each method that gives
            one: `correlation` (Lantuejoul 1991), `bootstrap` of blocks, `parts` of the volume.
        needed: volume (of a slice: area) in cubes (squares) of the unit of length at which the
            sampling error alone would leave +-5 % at 90 % confidence; None where not known.
    """

    key: Key
    value: float
    unit: str
    measured: float
    segmentation_by: Mapping[str, float] = field(default_factory=dict)
    sampling_by: Mapping[str, float] = field(default_factory=dict)
    needed: float | None = None

    @property
    def segmentation(self) -> float | None:
        """Both parts together; None where neither is known."""
        return math.hypot(*self.segmentation_by.values()) if self.segmentation_by else None

    @property
    def sampling(self) -> float | None:
        """The largest of `sampling_by`: in a small volume all are too small. None: not known."""
        return max(self.sampling_by.values(), default=None)

    @property
    def method(self) -> str:
        """How it is measured, in a few words."""
        return PROPERTIES[self.key.name].method

    @property
    def standard_error(self) -> float | None:
        """Of both causes together; None where neither is known."""
        known = [error for error in (self.segmentation, self.sampling) if error is not None]
        return math.hypot(*known) if known else None

    def interval(self) -> tuple[float, float] | None:
        """Where the true value lies with 90 % confidence, both causes together."""
        return self._around(self.standard_error)

    def segmentation_interval(self) -> tuple[float, float] | None:
        """Where the exact value of this very volume lies with 90 % confidence."""
        return self._around(self.segmentation)

    def _around(self, error: float | None) -> tuple[float, float] | None:
        if error is None or not math.isfinite(self.value):
            return None
        half = half_width(error)
        highest = PROPERTIES[self.key.name].high
        return max(0.0, self.value - half), min(highest, self.value + half)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON: numbers that are not finite are texts, as JSON has none."""
        interval = self.interval()
        return {
            "name": self.key.name,
            "of": self.key.of,
            "axis": self.key.axis,
            "value": _plain(self.value),
            "unit": self.unit,
            "measured": _plain(self.measured),
            "segmentation_error": _plain(self.segmentation),
            "segmentation_error_by": _all_plain(self.segmentation_by),
            "sampling_error": _plain(self.sampling),
            "sampling_error_by": _all_plain(self.sampling_by),
            "interval_90": None if interval is None else [_plain(end) for end in interval],
            "volume_for_5_percent": _plain(self.needed),
            "method": self.method,
        }


@dataclass(frozen=True)
class Curve:
    """A measured function, for pictures and files.

    Attributes:
        title: what is drawn.
        x_name: of the horizontal axis, with its unit.
        y_name: of the vertical axis, with its unit.
        x: (points,) the same for all lines.
        lines: {phase: (points,)}.
    """

    title: str
    x_name: str
    y_name: str
    x: NDArray[np.float64]
    lines: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Measurements:
    """What `measure` found on a labelled volume.

    Attributes:
        properties: in the order of `PROPERTIES`.
        curves: profiles, correlations, size and chord distributions by file name.
        about: of the volume: name, shape, voxel size, unit, phases, samples, validation slices.
        notes: what was left out, and why.
    """

    properties: tuple[Property, ...]
    curves: dict[str, Curve] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __getitem__(self, key: str | tuple[str, ...]) -> Property:
        """The property of that name: m["porosity"], m["tortuosity_factor", "pore", "z"].

        Raises:
            InputError: it was not measured.
        """
        wanted = Key(*((key,) if isinstance(key, str) else key))
        for one in self.properties:
            if one.key == wanted:
                return one
        raise InputError(
            f"there is no property '{wanted}'; there are "
            f"{', '.join(str(one.key) for one in self.properties)}"
        )

    def __iter__(self) -> Iterator[Property]:
        return iter(self.properties)

    def __str__(self) -> str:
        rows = [(str(one.key), in_words(one)) for one in self.properties]
        wide = max((len(name) for name, _ in rows), default=0)
        return "\n".join(f"{name:<{wide}}  {text}" for name, text in rows)

    def to_json(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "about": self.about,
            "properties": [one.to_json() for one in self.properties],
            "curves": {
                name: {
                    "x_name": curve.x_name,
                    "y_name": curve.y_name,
                    "x": [_plain(value) for value in curve.x],
                    "lines": {
                        of: [_plain(value) for value in line] for of, line in curve.lines.items()
                    },
                }
                for name, curve in self.curves.items()
            },
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """The properties, one a line, with a line of headings."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        rows = [one.to_json() for one in self.properties]
        for row in rows:
            del row["sampling_error_by"], row["segmentation_error_by"]
            row["interval_90_low"], row["interval_90_high"] = row.pop("interval_90") or (None, None)
        names = list(rows[0]) if rows else []
        writer.writerow(names)
        writer.writerows([row[name] for name in names] for row in rows)
        return out.getvalue()


def pair_keys(names: Sequence[str], *, flat: bool) -> list[Key]:
    """Of the area, in a slice the boundary length, between every two phases, in index order."""
    name = "boundary_length" if flat else "interface_area"
    return [Key(name, f"{one}|{other}") for one, other in itertools.combinations(names, 2)]


def surface_keys(names: Sequence[str], *, flat: bool) -> list[Key]:
    """Of each phase's own surface, in a slice what the slice says of it."""
    name = "surface_area_from_plane" if flat else "specific_surface_area"
    return [Key(name, of) for of in names]


def unit_of(name: str, length: str | None) -> str:
    """The unit of a property where lengths have the unit `length`; None: voxels, "px"."""
    if name == "effective_conductivity":
        return "as given"
    power, base = PROPERTIES[name].power, length or "px"
    if power == 0:
        return "1"
    raised = base if abs(power) == 1 else f"{base}^{abs(power)}"
    return raised if power > 0 else f"1/{raised}"


def in_words(one: Property) -> str:
    """Value, error and unit on a line: `0.412 +- 0.018`, +- being half of the 90 % interval."""
    unit = "" if one.unit == "1" else f" {one.unit}"
    error = one.standard_error
    if error is None or not math.isfinite(one.value):
        return f"{one.value:.4g}{unit}"
    return f"{one.value:.4g} +- {half_width(error):.2g}{unit}"


def _plain(value: float | None) -> float | str | None:
    if value is None:
        return None
    if not math.isfinite(value):
        return str(float(value))
    return float(value)


def _all_plain(errors: Mapping[str, float]) -> dict[str, float | str | None]:
    return {name: _plain(error) for name, error in errors.items()}
