"""What is asked for, and what there is not."""

import pytest

from matphase.images.phases import PhaseTable
from matphase.properties.groups import MEASURE, MEMORY
from matphase.properties.plan import GROUPS, Plan, Roles
from matphase.support.errors import InputError

TABLE = PhaseTable.from_names(["pore", "carbon_binder", "active_material"])


def test_usual_names_tell_the_roles() -> None:
    roles = Roles.of(TABLE)
    assert roles.phases == {
        "pore": "pore",
        "binder": "carbon_binder",
        "active": "active_material",
    }


def test_what_the_user_says_goes_first() -> None:
    table = PhaseTable.from_names(["pore", "crack", "nmc"])
    roles = Roles.of(table, {"pore": "crack"})
    assert roles.named("pore") == "crack"
    assert roles.named("active") == "nmc"
    assert roles.get("binder") is None
    with pytest.raises(InputError, match=r"binder.*roles="):
        roles.named("binder")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"solvent": "pore"}, "no role 'solvent'"),
        ({"activ": "pore"}, "did you mean 'active'"),
        ({"pore": "air"}, "no phase 'air'"),
        ({"pore": "pore", "active": "pore"}, "twice"),
    ],
)
def test_wrong_roles_are_named(roles: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Roles.of(TABLE, roles)


def test_a_plan_asks_for_everything_in_its_own_order() -> None:
    plan = Plan.checked(TABLE, "zyx")
    assert plan.groups == GROUPS
    assert plan.axes == "zyx"
    chosen = Plan.checked(TABLE, "zyx", groups=["transport", "fractions"], axes=["x", "z"])
    assert chosen.groups == ("fractions", "transport")
    assert chosen.axes == "xz"
    one = Plan.checked(TABLE, "zyx", groups="transport", axes="z")
    assert (one.groups, one.axes) == (("transport",), "z")


def test_every_group_has_its_function() -> None:
    assert set(MEASURE) == set(GROUPS)
    assert set(MEMORY) <= set(GROUPS)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"groups": "fraction"}, "did you mean 'fractions'"),
        ({"groups": ["porosity"]}, "is a property, not a group"),
        ({"groups": ["colour"]}, "no group 'colour' for groups="),
        ({"axes": ["t"]}, "no axis 't'"),
        ({"conductivities": {"carbon": 1.0}}, "no phase 'carbon'"),
        ({"conductivities": {"pore": -1.0}}, "conductivity of pore"),
        ({"conductivities": {"pore": 0.0}}, "no phase conducts"),
    ],
)
def test_what_there_is_not_is_named(asked: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan.checked(TABLE, "zyx", **asked)
