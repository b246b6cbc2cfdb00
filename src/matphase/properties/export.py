"""Measured properties as the parameters of a porous-electrode (DFN) model.

The DFN model treats the active material as equal spheres. Their radius R = 3 eps_active / a follows
from volume fraction and wetted surface a, so that capacity and reaction area are both those of
the electrode; it is not the radius of its particles.
"""

import copy
import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from matphase.properties.estimate import Measurements
from matphase.properties.plan import Roles
from matphase.support.errors import InputError

MADE_OF = {
    "fractions": "volume_fraction",
    "interfaces": "interface_area",
    "transport": "effective_diffusivity",
}
NEEDED = tuple(MADE_OF)
"""Groups of properties that the parameters need."""

Electrode: TypeAlias = Literal["negative", "positive"]

_METRES = {"nm": 1e-9, "um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0}


@dataclass(frozen=True)
class ElectrodeParameters:
    """Parameters of an electrode in a DFN model that a labelled volume gives, in SI units.

    Attributes:
        porosity: volume fraction of the pores.
        active_fraction: volume fraction of the active material.
        surface: wetted (active to pore) area per volume in 1/m.
        transport_efficiency: Deff / D0 of the pores along the axis of the current.
        conductivity: effective electronic conductivity in S/m, where conductivities were given.
    """

    porosity: float
    active_fraction: float
    surface: float
    transport_efficiency: float
    conductivity: float | None = None

    @classmethod
    def of(cls, found: Measurements) -> "ElectrodeParameters":
        """Parameters from measured properties; the first axis is the direction of the current.

        Args:
            found: measurements with the groups `NEEDED`.

        Raises:
            InputError: a property is missing, or no battery model could run on it.
        """
        roles, axes = Roles(found.about["roles"]), found.about["axes"]
        there = {one.key.name for one in found}
        if missing := [group for group, name in MADE_OF.items() if name not in there]:
            why = "; ".join(found.notes) or "a slice does not have them"
            raise InputError(
                f"a battery model needs {', '.join(missing)}, which were not measured ({why}); "
                "measure them on a volume, with enough memory"
            )
        axis = axes[0]
        pore, active = roles.named("pore"), roles.named("active")
        metre = _METRES.get(str(found.about.get("unit")))
        if metre is None:
            raise InputError(
                "a battery model needs the surface in 1/m, but the voxel size is not known; give "
                "voxel_size= and unit="
            )
        contact = "|".join(sorted((pore, active), key=found.about["phases"].index))
        surface = found.find("interface_area", contact).value / metre
        efficiency = found.find("effective_diffusivity", pore, axis).value
        porosity = found.find("volume_fraction", pore).value
        if not (surface > 0 and efficiency > 0 and 0 < porosity < 1):
            raise InputError(
                f"{pore} does not percolate along {axis}, or does not touch {active}; no battery "
                "model can run on such an electrode"
            )
        conducted = [one for one in found if one.key.name == "effective_conductivity"]
        along = [one.value for one in conducted if one.key.axis == axis]
        return cls(
            porosity,
            found.find("volume_fraction", active).value,
            surface,
            efficiency,
            along[0] if along else None,
        )

    @property
    def radius(self) -> float:
        """Radius in m of equal spheres with this active material's volume and wetted surface."""
        return 3 * self.active_fraction / self.surface

    @property
    def bruggeman(self) -> float:
        """Exponent b of Deff / D0 = porosity^b."""
        return math.log(self.transport_efficiency) / math.log(self.porosity)


def pybamm_parameters(one: ElectrodeParameters, electrode: Electrode) -> dict[str, float]:
    """The entries of a PyBaMM `ParameterValues` that these properties set."""
    side = electrode.capitalize()
    entries = {
        f"{side} electrode porosity": one.porosity,
        f"{side} electrode active material volume fraction": one.active_fraction,
        f"{side} electrode Bruggeman coefficient (electrolyte)": one.bruggeman,
        f"{side} particle radius [m]": one.radius,
    }
    if one.conductivity is not None:
        # the conductivity is an effective one already, so PyBaMM must not correct it again
        entries[f"{side} electrode conductivity [S.m-1]"] = one.conductivity
        entries[f"{side} electrode Bruggeman coefficient (electrode)"] = 0.0
    return entries


def with_properties(template: Any, one: ElectrodeParameters, electrode: Electrode) -> Any:
    """A BPX cell in which one electrode has these properties, checked by the package `bpx`.

    A BPX file describes a whole cell, and a tomogram a part of one: all the rest is the template's.

    Args:
        template: content of a complete BPX file (version 1).
        one: parameters to put in.
        electrode: which of the two.

    Raises:
        InputError: the template is no BPX cell, its electrode is a blend, or `bpx` is missing.
    """
    check_cell(template, "the template")
    cell = copy.deepcopy(template)
    entries = cell["Parameterisation"].get(f"{electrode.capitalize()} electrode")
    if entries is None or "Particle" in entries:
        raise InputError(
            f"the {electrode} electrode of the BPX template is missing, or a blend of several "
            "materials; give a cell whose electrode has one active material"
        )
    entries["Porosity"] = one.porosity
    entries["Transport efficiency"] = one.transport_efficiency
    entries["Surface area per unit volume [m-1]"] = one.surface
    entries["Particle radius [m]"] = one.radius
    if one.conductivity is not None:
        entries["Conductivity [S.m-1]"] = one.conductivity
    check_cell(cell, "the cell with the measured properties")
    return cell


def check_cell(content: Any, what: str) -> None:
    """Check that `content` is a BPX cell of version 1, with the package `bpx`.

    Raises:
        InputError: it is not, or the package is missing; `what` names it in the message.
    """
    if find_spec("bpx") is None:
        raise InputError("checking a BPX file needs the package bpx; pip install 'matphase[bpx]'")
    import bpx

    try:
        bpx.parse_bpx_obj(copy.deepcopy(content), convert_legacy=False)
    except Exception as error:  # pydantic's and the package's own, of several kinds
        first = str(error).splitlines()
        raise InputError(
            f"{what} does not follow the BPX standard ({' '.join(first[:3])}); correct it"
        ) from error
