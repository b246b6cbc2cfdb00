"""Catalogue of all properties: name, dimension, bounds and method."""

import difflib
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Key(NamedTuple):
    """Key of a measured value: property, phase and axis.

    Attributes:
        name: of the property, as in `PROPERTIES`.
        of: a phase, or several joined by "|"; empty for the whole volume.
        axis: z, y or x; empty where the property has no direction.
    """

    name: str
    of: str = ""
    axis: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


class Kind(NamedTuple):
    """Kind of property: its dimension as a power of length, its upper bound, and its method."""

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


def pair_keys(names: Sequence[str], *, flat: bool) -> list[Key]:
    """Keys of the area (in a slice: boundary length) between each two phases, in index order."""
    name = "boundary_length" if flat else "interface_area"
    return [Key(name, f"{one}|{other}") for one, other in itertools.combinations(names, 2)]


def surface_keys(names: Sequence[str], *, flat: bool) -> list[Key]:
    """Keys of each phase's own surface, in a slice of the estimate from its boundary length."""
    name = "surface_area_from_plane" if flat else "specific_surface_area"
    return [Key(name, of) for of in names]


def unit_of(name: str, length: str | None) -> str:
    """Unit of a property where lengths have the unit `length`; None: voxels, "px"."""
    if name == "effective_conductivity":
        return "as given"
    power, base = PROPERTIES[name].power, length or "px"
    if power == 0:
        return "1"
    raised = base if abs(power) == 1 else f"{base}^{abs(power)}"
    return raised if power > 0 else f"1/{raised}"


_SHORT_NAMES = {
    "tau": "tortuosity_factor",
    "deff": "effective_diffusivity",
    "tpb": "triple_phase_boundary",
    "eps": "porosity",
    "ssa": "specific_surface_area",
    "psd": "particle_median_diameter",
}
"""Common short names, so that a message can name the property that is meant."""


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    """Known name that is most like `wanted`; None where none is."""
    names = list(dict.fromkeys(known))
    lower = wanted.lower()
    if (meant := _SHORT_NAMES.get(lower.replace("_", ""))) in names:
        return meant
    parts = [name for name in names if len(lower) > 2 and (lower in name or name in lower)]
    close = difflib.get_close_matches(lower, names, 1, 0.6)
    return next(iter([*parts, *close]), None)


def did_you_mean(wanted: str, known: Iterable[str]) -> str:
    """Hint for a message on an unknown name, such as ` (did you mean 'porosity'?)`; may be ""."""
    meant = nearest(wanted, known)
    return "" if meant is None else f" (did you mean {meant!r}?)"
