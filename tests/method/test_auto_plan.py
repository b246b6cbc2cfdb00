"""How much self-configuration tries within a time limit."""

import json
from pathlib import Path

import pytest

from matphase.method.auto_plan import Plan, chosen, kept, plans, step_seconds
from matphase.settings import Settings

EVERY = plans(600, 1, 4)


def test_variants_are_given_up_one_by_one() -> None:
    assert [plan.variants for plan in plans(600, 2, 4)][:4] == [2, 1, 0, 0]


def test_plans_run_from_thorough_to_none() -> None:
    costs = [plan.cost for plan in EVERY]
    assert costs == sorted(costs, reverse=True)
    # both candidates for half as long, on two folds, and two networks in the end
    assert costs[0] == 2 * 2 * 300 + 2 * 600
    assert (costs[-1], EVERY[-1].trial_steps) == (0, 0)


@pytest.mark.parametrize("seconds", [None, 0.1, 60.0, 400.0, 1e5])
def test_the_most_thorough_plan_that_fits_is_taken(seconds: float | None) -> None:
    plan = chosen(EVERY, seconds, lambda: 0.1)
    if seconds is None:
        assert plan == EVERY[0]
        return
    assert 0.1 * plan.cost <= seconds
    more = EVERY[: EVERY.index(plan)]
    assert all(0.1 * other.cost > 0.8 * seconds for other in more)


def test_without_a_limit_nothing_is_timed() -> None:
    def never() -> float:
        raise AssertionError("timed")

    assert chosen(EVERY, None, never) == EVERY[0]


def test_an_interrupted_run_keeps_its_plan(tmp_path: Path) -> None:
    first = kept(tmp_path, lambda: EVERY[2])
    assert kept(tmp_path, lambda: EVERY[4]) == first == EVERY[2]
    assert kept(None, lambda: EVERY[4]) == EVERY[4]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": 1}', json.dumps({"a": 1})])
def test_a_damaged_plan_is_made_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content, "utf-8")
    assert kept(tmp_path, lambda: EVERY[1]) == EVERY[1]
    assert Plan(**json.loads((tmp_path / "plan.json").read_text("utf-8"))) == EVERY[1]


def test_a_step_takes_time() -> None:
    small = {"data": {"crop": 32, "scale": "both"}, "ugsm": {"width": 2, "depth": 1}}
    settings = Settings.from_mapping(small)
    assert 0 < step_seconds((40, 44), 3, settings) < 60
