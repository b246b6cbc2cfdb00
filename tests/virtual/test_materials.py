import pytest

from matphase.support.errors import InputError
from matphase.virtual.materials import (
    Material,
    active_material,
    attenuation,
    carbon_binder,
    medium,
    mixture,
    refraction,
)

AIR = medium("air")
NMC = active_material("NMC811", 4.75)


def test_attenuation_at_20_kev_is_that_of_the_tables():
    assert attenuation(NMC, 20) == pytest.approx(90, rel=0.05)
    assert attenuation(Material((("C", 1.8),)), 20) == pytest.approx(0.8, rel=0.05)
    assert attenuation(Material((("C2H2F2", 1.78),)), 20) == pytest.approx(1.5, rel=0.05)
    assert attenuation(Material((("H2O", 1.0),)), 20) == pytest.approx(0.81, rel=0.02)  # NIST


def test_absorption_hardly_tells_binder_from_pore_and_refraction_does():
    binder = carbon_binder(0.5, 0.47, AIR)
    absorbed, refracted = (
        (of(binder, 20) - of(AIR, 20)) / (of(NMC, 20) - of(AIR, 20))
        for of in (attenuation, refraction)
    )
    assert absorbed == pytest.approx(0.008, abs=0.003)
    assert 0.15 < refracted < 0.35


def test_refraction_far_from_edges_goes_with_the_electron_density():
    # delta = r_e lambda^2 n_e / (2 pi): 2.818e-13 cm, 0.62 angstrom, water 3.34e23 electrons/cm3
    water = Material((("H2O", 1.0),))
    expected = 2.818e-13 * 0.61992e-8**2 * 3.343e23 / (2 * 3.14159265)
    assert refraction(water, 20) == pytest.approx(expected, rel=0.01)
    assert refraction(water, 10) == pytest.approx(4 * expected, rel=0.01)


def test_nmc_is_named_by_its_metals():
    assert NMC.components == (("LiNi0.8Mn0.1Co0.1O2", 4.75),)
    same = Material((("LiNi0.333333Mn0.333333Co0.333333O2", 4.7),))
    assert attenuation(active_material("NMC111", 4.7), 20) == attenuation(same, 20)
    assert attenuation(active_material("LiCoO2", 5.0), 20) > 0


def test_a_mixture_attenuates_by_its_volumes():
    half = mixture([(NMC, 0.5), (AIR, 0.5)])
    assert attenuation(half, 15) == pytest.approx((attenuation(NMC, 15) + attenuation(AIR, 15)) / 2)
    solid = carbon_binder(0.0, 0.0, AIR)
    assert attenuation(solid, 20) == pytest.approx(attenuation(Material((("C2H2F2", 1.78),)), 20))


def test_electrolyte_in_the_small_pores_makes_binder_heavier():
    dry, wet = (carbon_binder(0.5, 0.47, medium(name)) for name in ("air", "electrolyte"))
    assert attenuation(wet, 20) > 1.3 * attenuation(dry, 20)
    assert sum(mass for _, mass in medium("electrolyte").components) == pytest.approx(1.19)


@pytest.mark.parametrize("name", ["Unobtainium", "NMC000", "Xx2O3", "", "nmc", "C0"])
def test_unknown_materials_are_refused(name):
    with pytest.raises(InputError, match="unknown material"):
        active_material(name, 4.7)


def test_unknown_media_and_impossible_densities_are_refused():
    with pytest.raises(InputError, match="unknown medium 'beer'"):
        medium("beer")
    with pytest.raises(InputError, match="density of -1"):
        active_material("NMC811", -1.0)


@pytest.mark.parametrize("energy", [0.0, -5.0, 0.05, 900.0, float("nan"), float("inf")])
@pytest.mark.parametrize("of", [attenuation, refraction])
def test_energies_beyond_the_tables_are_refused(of, energy):
    with pytest.raises(InputError, match="keV is beyond the tables"):
        of(NMC, energy)
