import pytest

from matphase.support.errors import InputError
from matphase.virtual import Recipe
from matphase.virtual.recipes import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_named_recipes_make_a_round_trip(name, tmp_path):
    recipe = Recipe.named(name)
    file = tmp_path / "recipe.toml"
    file.write_text(recipe.to_toml(), "utf-8")
    assert Recipe.from_file(file) == recipe
    assert recipe.microstructure.shape == (133, 224, 256)
    assert (recipe.microstructure.pore, recipe.microstructure.carbon) == (0.14, 0.26)


def test_named_recipes_fall_in_contrast_and_differ_in_the_dial_alone():
    easy, paper, hard = (Recipe.named(name) for name in ("easy", "paper", "hard"))
    assert easy.cnr > paper.cnr > hard.cnr
    assert easy.with_cnr(1.0) == paper.with_cnr(1.0) == hard.with_cnr(1.0)


def test_without_settings_nothing_is_in_the_way():
    recipe = Recipe()
    assert recipe.cnr is None
    assert recipe.detector.photons is None
    assert recipe.detector.blur == recipe.detector.gain_error == recipe.scan.distance == 0
    assert recipe.ground_truth.misregistration == recipe.ground_truth.eds_blur == 0


def test_updates_reach_into_sections_and_leave_the_rest():
    recipe = Recipe.named("paper")
    changed = recipe.updated({"scan": {"distance": 0.3}})
    assert changed.scan.distance == 0.3
    assert changed.updated({"scan": {"distance": recipe.scan.distance}}) == recipe


def test_the_dial_takes_the_place_of_photons():
    recipe = Recipe(detector={"photons": 100.0, "blur": 0.5}).with_cnr(0.2)
    assert recipe.cnr == 0.2
    assert recipe.detector.photons is None
    assert recipe.detector.blur == 0.5


def test_weights_of_a_spectrum_are_shares():
    recipe = Recipe(scan={"energies": (10.0, 20.0, 30.0), "weights": (1, 3, 0)})
    assert recipe.scan.spectrum == [(10.0, 0.25), (20.0, 0.75)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"detector": {"photons": -5}}, r"^detector\.photons: must be greater than 0; got -5$"),
        ({"detector": {"photons": 0}}, "greater than 0"),
        ({"detector": {"photons": 9.0}, "cnr": 0.1}, "cnr and detector.photons both"),
        ({"cnr": 0}, "cnr: .*greater than 0"),
        ({"cnr": float("nan")}, "cnr: .*"),
        ({"scan": {"energies": (0.01,)}}, "0.01 keV is beyond the tables"),
        ({"scan": {"energies": (20.0, 1000.0), "weights": (1, 1)}}, "1000 keV is beyond"),
        ({"scan": {"energies": (20.0, 30.0)}}, "2 energies need as many weights"),
        ({"scan": {"energies": ()}}, "scan"),
        ({"scan": {"weights": (0.0,)}}, "not all 0"),
        ({"scan": {"distance": -1}}, "distance"),
        ({"scan": {"angles": 2}}, "angles"),
        ({"sample": {"active_material": "Kryptonite"}}, "unknown material 'Kryptonite'"),
        ({"sample": {"filling": "beer"}}, "filling"),
        ({"sample": {"width": 0.5}}, "smaller than its slices"),
        ({"sample": {"nanoporosity": 1}}, "nanoporosity"),
        ({"sample": {"active_density": 0}}, "active_density"),
        ({"reconstruction": {"filter": "magic"}}, "filter"),
        ({"ground_truth": {"misregistration": 3}}, "misregistration"),
        ({"ground_truth": {"section_spacing": 0}}, "section_spacing"),
        ({"microstructure": {"pore": 0.5}}, "make them sum to 1"),
        ({"microstructure": {"nickel": 0.8, "carbon": 0.06}}, "cannot be packed"),
        ({"microstructure": {"shape": (4, 16, 32)}}, "too small"),
        ({"microstructure": {"shape": (10**6, 10**4, 10**4)}}, "more than 2e\\+09 voxels"),
        ({"microstructure": {"shape": (4, -32, 32)}}, "too small"),
        ({"microstructure": {"grain": 3}}, "no setting 'microstructure\\.grain'"),
        ({"contrast": 3}, "no setting 'contrast'; remove it"),
    ],
)
def test_wrong_recipes_are_refused_in_one_sentence(wrong, message):
    with pytest.raises(InputError, match=message) as caught:
        Recipe(**wrong)
    assert "\n" not in str(caught.value)
    assert "{" not in str(caught.value)


def test_files_that_are_no_recipe_are_refused(tmp_path):
    with pytest.raises(InputError, match="no recipe 'medium'; choose easy, paper, hard"):
        Recipe.named("medium")
    with pytest.raises(InputError, match="cannot read settings"):
        Recipe.from_file(tmp_path / "none.toml")
    file = tmp_path / "bad.toml"
    file.write_text("cnr = = 3", "utf-8")
    with pytest.raises(InputError, match=r"bad\.toml is not a TOML file"):
        Recipe.from_file(file)
    file.write_text("cnr = -3", "utf-8")
    with pytest.raises(InputError, match=r"bad\.toml: cnr"):
        Recipe.from_file(file)
