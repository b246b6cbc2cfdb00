import numpy as np
import pytest

from matphase.virtual import VirtualElectrode
from matphase.virtual.recipes import Recipe
from matphase.virtual.variety import MATERIALS, random_recipe

SHAPE = (12, 208, 208)


@pytest.fixture(scope="module")
def recipes() -> list[Recipe]:
    return [random_recipe(seed, SHAPE) for seed in range(150)]


def test_a_seed_gives_one_recipe(recipes: list[Recipe]) -> None:
    assert random_recipe(7, SHAPE) == recipes[7]
    assert len({recipe.to_toml() for recipe in recipes}) == len(recipes)


def test_recipes_differ_in_all_that_scans_differ_in(recipes: list[Recipe]) -> None:
    structures = [recipe.microstructure for recipe in recipes]
    spread = {
        "pore": [one.pore for one in structures],
        "solid": [one.nickel for one in structures],
        "particles": [one.d50 / one.voxel_size / SHAPE[1] for one in structures],
        "cracks": [one.cracked for one in structures],
        "calendering": [one.flattening for one in structures],
        "clusters": [one.cluster / (one.bridge + one.film + one.cluster) for one in structures],
        "blur": [recipe.detector.blur / 4 for recipe in recipes],
    }
    for name, values in spread.items():
        assert np.ptp(values) > 0.3, name
    assert {recipe.sample.active_material for recipe in recipes} == set(MATERIALS)
    assert {recipe.sample.filling for recipe in recipes} == {"air", "electrolyte"}
    assert {recipe.reconstruction.retrieval for recipe in recipes} == {"none", "paganin"}
    assert {recipe.scan.distance > 0 for recipe in recipes} == {True, False}


def test_phase_contrast_is_within_the_near_field() -> None:
    for seed in range(4):
        made = VirtualElectrode.simulate(random_recipe(seed, (2, 64, 64)), seed=seed)
        assert np.isfinite(made.image).all()
        assert made.labels.shape == (2, 64, 64)
