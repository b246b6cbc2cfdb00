"""Parameters of battery models: consistent with each other, and valid by the standard's package."""

import copy
import math
from typing import Any

import pytest

from matphase.properties.catalogue import Key
from matphase.properties.estimate import Measurements, Property
from matphase.properties.export import ElectrodeParameters, pybamm_parameters, with_properties
from matphase.support.errors import InputError

NAMES = ["pore", "carbon_binder", "nmc"]
ABOUT = {"unit": "um", "phases": NAMES, "axes": "z", "roles": {"pore": "pore", "active": "nmc"}}


def measured(**changes: float) -> Measurements:
    values = {
        Key("volume_fraction", "pore"): 0.4,
        Key("volume_fraction", "nmc"): 0.5,
        Key("interface_area", "pore|nmc"): 0.3,
        Key("effective_diffusivity", "pore", "z"): 0.2,
        Key("effective_conductivity", "carbon_binder|nmc", "z"): 1.5,
    }
    values |= {key: changes[key.name] for key in values if key.name in changes}
    properties = tuple(Property(key, value, "", value) for key, value in values.items())
    return Measurements(properties, about=ABOUT)


def cell() -> dict[str, Any]:
    """A whole cell with round numbers; nothing about it is meant to work well."""
    electrode = {
        "Thickness [m]": 1e-4,
        "Porosity": 0.3,
        "Transport efficiency": 0.16,
        "Conductivity [S.m-1]": 10.0,
        "Minimum stoichiometry": 0.1,
        "Maximum stoichiometry": 0.9,
        "Maximum concentration [mol.m-3]": 50000.0,
        "Particle radius [m]": 5e-6,
        "Surface area per unit volume [m-1]": 3e5,
        "Diffusivity [m2.s-1]": 1e-14,
        "OCP [V]": "4.2 - 0.8 * x",
        "Reaction rate constant [mol.m-2.s-1]": 1e-6,
    }
    return {
        "Header": {"BPX": "1.1.0", "Model": "DFN", "Title": "test"},
        "Parameterisation": {
            "Cell": {
                "Electrode area [m2]": 0.01,
                "Number of electrode pairs connected in parallel to make a cell": 1,
                "Lower voltage cut-off [V]": 2.5,
                "Upper voltage cut-off [V]": 4.3,
                "Nominal cell capacity [A.h]": 1.0,
                "Reference temperature [K]": 298.15,
            },
            "Electrolyte": {
                "Cation transference number": 0.3,
                "Conductivity [S.m-1]": 1.0,
                "Diffusivity [m2.s-1]": 3e-10,
            },
            "Negative electrode": electrode | {"OCP [V]": "0.3 - 0.2 * x"},
            "Positive electrode": copy.deepcopy(electrode),
            "Separator": {
                "Thickness [m]": 2e-5,
                "Porosity": 0.5,
                "Transport efficiency": 0.35,
            },
        },
    }


def test_spheres_have_the_volume_and_the_surface_of_the_active_material() -> None:
    one = ElectrodeParameters.of(measured())
    assert one.surface == pytest.approx(0.3e6)
    assert 3 * one.active_fraction / one.radius == pytest.approx(one.surface)


def test_bruggeman_gives_the_effective_diffusivity_back() -> None:
    one = ElectrodeParameters.of(measured())
    assert one.porosity**one.bruggeman == pytest.approx(0.2)
    entries = pybamm_parameters(one, "positive")
    assert entries["Positive electrode Bruggeman coefficient (electrolyte)"] == one.bruggeman
    # effective already: PyBaMM multiplies by the fraction to this power
    assert entries["Positive electrode Bruggeman coefficient (electrode)"] == 0
    assert entries["Positive electrode conductivity [S.m-1]"] == 1.5
    assert math.isclose(entries["Positive particle radius [m]"], 3 * 0.5 / 0.3e6)


def test_the_template_keeps_all_but_one_electrode() -> None:
    pytest.importorskip("bpx")
    template = cell()
    one = ElectrodeParameters.of(measured())
    made = with_properties(template, one, "negative")
    assert template == cell()  # the template itself is left alone
    electrode = made["Parameterisation"]["Negative electrode"]
    assert electrode["Porosity"] == 0.4
    assert electrode["Transport efficiency"] == 0.2
    assert electrode["Particle radius [m]"] == one.radius
    assert electrode["Conductivity [S.m-1]"] == 1.5
    assert (
        made["Parameterisation"]["Positive electrode"]
        == cell()["Parameterisation"]["Positive electrode"]
    )
    assert electrode["OCP [V]"] == "0.3 - 0.2 * x"


def test_bad_templates_and_electrodes_are_named() -> None:
    pytest.importorskip("bpx")
    one = ElectrodeParameters.of(measured())
    with pytest.raises(InputError, match="does not follow the BPX standard"):
        with_properties({"Header": {}}, one, "positive")
    with pytest.raises(InputError, match="does not percolate along z"):
        ElectrodeParameters.of(measured(effective_diffusivity=0.0))
    with pytest.raises(InputError, match="no property 'effective_diffusivity pore x'"):
        ElectrodeParameters.of(Measurements(measured().properties, about=ABOUT | {"axes": "x"}))
    no_unit = Measurements(measured().properties, about=ABOUT | {"unit": None})
    with pytest.raises(InputError, match="voxel_size="):
        ElectrodeParameters.of(no_unit)
