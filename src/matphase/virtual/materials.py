"""X-ray attenuation and refraction of the phases, from xraydb.

Attenuation is the total of photoelectric absorption and scattering in the tables of Elam, Ravel and
Sieber (Radiat. Phys. Chem. 63, 121, 2002), the refractive index decrement comes from the scattering
factors of Chantler (J. Phys. Chem. Ref. Data 29, 597, 2000). Both are sums over the atoms in a
volume, so a mixture is a list of compounds with the mass of each per cubic centimetre.
"""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import xraydb

from matphase.support.errors import InputError

MIN_ENERGY, MAX_ENERGY = 0.1, 800.0
"""Photon energies in keV for which Elam's tables are reliable, according to xraydb."""

Medium = Literal["air", "electrolyte"]

_CARBON_DENSITY = 1.8
"""Carbon black, g/cm3."""
_PVDF_DENSITY = 1.78
"""Polyvinylidene fluoride, g/cm3."""


@dataclass(frozen=True)
class Material:
    """Homogeneous mixture: chemical formulas, each with its mass per volume of mixture (g/cm3).

    Raises:
        InputError: xraydb cannot read a formula, or a density is not positive.
    """

    components: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        for formula, density in self.components:
            if not density > 0:
                raise InputError(f"{formula} has a density of {density:g} g/cm3; give one above 0")
            try:
                atoms = xraydb.chemparse(formula)
            except ValueError:
                atoms = {}
            if not sum(atoms.values()) > 0:
                raise InputError(
                    f"unknown material {formula!r}; give a chemical formula such as LiCoO2, or NMC "
                    "with its Ni, Mn, Co digits such as NMC811"
                )


def mixture(parts: Iterable[tuple[Material, float]]) -> Material:
    """Mixture of materials by volume fraction; parts with fraction 0 are omitted."""
    return Material(
        tuple(
            (formula, density * fraction)
            for material, fraction in parts
            if fraction > 0
            for formula, density in material.components
        )
    )


def active_material(name: str, density: float) -> Material:
    """Active material of the electrode.

    Args:
        name: NMC with three digits Ni:Mn:Co (NMC811, NMC622, NMC111, ...), or a chemical formula.
        density: crystal density in g/cm3.

    Raises:
        InputError: the name is neither, or the density is not positive.
    """
    digits = re.fullmatch(r"NMC([0-9])([0-9])([0-9])", name)
    if digits:
        nickel, manganese, cobalt = (int(digit) for digit in digits.groups())
        total = nickel + manganese + cobalt
        if total == 0:
            raise InputError(f"unknown material {name!r}; NMC needs a metal, such as NMC811")
        shares = (("Ni", nickel), ("Mn", manganese), ("Co", cobalt))
        name = "Li" + "".join(f"{metal}{n / total:.6g}" for metal, n in shares if n) + "O2"
    return Material(((name, density),))


def medium(name: Medium) -> Material:
    """Medium in the pores: dry air at 20 C, or 1 M LiPF6 in EC/EMC 3:7 by mass.

    The density of the electrolyte is 1.19 g/cm3, including 0.152 g/cm3 of salt.
    """
    if name == "air":
        return Material((("N2", 0.000909), ("O2", 0.000279), ("Ar", 0.0000155)))
    if name == "electrolyte":
        return Material((("LiPF6", 0.152), ("C3H4O3", 0.311), ("C4H8O3", 0.727)))
    raise InputError(f"unknown medium {name!r}; choose air or electrolyte")


def carbon_binder(carbon_share: float, nanoporosity: float, filling: Material) -> Material:
    """Carbon-binder domain: carbon black and PVDF with pores below the resolution.

    Args:
        carbon_share: mass fraction of carbon in carbon and PVDF, 0 to 1.
        nanoporosity: volume fraction of the small pores in the domain, from 0 to below 1.
        filling: medium in the small pores.
    """
    volumes = (carbon_share / _CARBON_DENSITY, (1 - carbon_share) / _PVDF_DENSITY)
    solid = (1 - nanoporosity) / sum(volumes)
    return mixture(
        (
            (Material((("C", _CARBON_DENSITY),)), solid * volumes[0]),
            (Material((("C2H2F2", _PVDF_DENSITY),)), solid * volumes[1]),
            (filling, nanoporosity),
        )
    )


def attenuation(material: Material, energy: float) -> float:
    """Linear attenuation coefficient in 1/cm at `energy` in keV.

    Raises:
        InputError: the energy is outside the tables.
    """
    electronvolts = 1000 * checked_energy(energy)
    return float(
        sum(
            _quietly(xraydb.material_mu, formula, electronvolts, density)
            for formula, density in material.components
        )
    )


def refraction(material: Material, energy: float) -> float:
    """Refractive index decrement delta (n = 1 - delta + i beta) at `energy` in keV.

    Raises:
        InputError: the energy is outside the tables.
    """
    electronvolts = 1000 * checked_energy(energy)
    return float(
        sum(
            _quietly(xraydb.xray_delta_beta, formula, density, electronvolts)[0]
            for formula, density in material.components
        )
    )


def checked_energy(energy: float) -> float:
    """The same energy in keV, checked against the range of the tables.

    Raises:
        InputError: the energy is outside the tables.
    """
    if not MIN_ENERGY <= energy <= MAX_ENERGY:
        raise InputError(
            f"an energy of {energy:g} keV is beyond the tables of X-ray data; give one from "
            f"{MIN_ENERGY:g} to {MAX_ENERGY:g} keV"
        )
    return energy


def _quietly(function: Any, *arguments: Any) -> Any:
    """Call xraydb without the warnings of its database library, which users cannot act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)
