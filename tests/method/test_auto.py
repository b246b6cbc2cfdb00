"""Self-configuration: settings chosen on slices that are left out."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matphase as mp
from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.method import auto, start
from matphase.method.auto import Trial
from matphase.settings import Settings
from matphase.support.errors import InputError
from samples import Sample, striped

NAMES = ["pore", "carbon", "nickel"]
SMALL: dict[str, Any] = {
    "data": {"crop": 32},
    "ugsm": {"width": 2, "depth": 1, "min_steps": 8},
    "classical": {"trees": 5, "depth": 4, "pixels": 600},
    "precision": "float32",
}
SETTINGS = Settings.preset("auto").updated(SMALL)
CHOSEN = SETTINGS.updated({"search": {"is_on": False}})


@dataclass
class Titles:
    """Keeps the titles of what is done."""

    said: list[str] = field(default_factory=list)

    def start(self, title: str, total: int, done: int = 0) -> None:
        self.said.append(title)

    def advance(self, steps: int = 1, note: str = "") -> None: ...

    def finish(self) -> None: ...


@pytest.fixture(scope="module")
def made() -> Sample:
    return striped(3, 48, 56)


@pytest.fixture(scope="module")
def fitted(made: Sample) -> mp.MatPhase:
    return mp.MatPhase(settings=SETTINGS).fit(made.images, made.labels, NAMES)


def weights(model: mp.MatPhase) -> list[np.ndarray]:
    assert model._trained is not None
    networks = model._trained.networks.values()
    return [part.numpy() for one in networks for part in one.state_dict().values()]


def test_the_outcome_is_settings_that_train_the_same_model(
    fitted: mp.MatPhase, made: Sample
) -> None:
    assert not fitted.settings.search.is_on
    again = mp.MatPhase(settings=fitted.settings).fit(made.images, made.labels, NAMES)
    for one, other in zip(weights(fitted), weights(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_card_tells_what_was_tried_and_why(fitted: mp.MatPhase) -> None:
    assert fitted._trained is not None
    card = fitted._trained.record["search"]
    tried = {one["candidate"]: one for one in card["candidates"]}
    assert {"forest_both", "forest_slice", "network", "both_0.67"} <= tried.keys()
    assert tried["forest_both"]["left_out"] == ["slice_2", "slice_0"]
    assert tried["network"]["left_out"] == ["slice_2", "slice_0"]
    assert all(0 <= one["miu"] <= 1 for one in tried.values())
    assert list(card["decisions"]) == ["classical features", "network", "model"]
    assert fitted.scaling is not None
    assert fitted.scaling.kind == "temperature"


def test_the_card_is_saved(fitted: mp.MatPhase, made: Sample, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = mp.load(tmp_path / "model")
    assert loaded._trained is not None
    assert fitted._trained is not None
    assert loaded._trained.record["search"] == fitted._trained.record["search"]
    np.testing.assert_array_equal(
        loaded.predict(made.images).labels, fitted.predict(made.images).labels
    )


def test_an_interrupted_search_goes_on(
    fitted: mp.MatPhase, made: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def stopped(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(auto, "_with_alignment", stopped)
        with pytest.raises(KeyboardInterrupt):
            mp.MatPhase(settings=SETTINGS).fit(made.images, made.labels, NAMES, folder=tmp_path)
    titles = Titles()
    model = mp.MatPhase(settings=SETTINGS).fit(
        made.images, made.labels, NAMES, folder=tmp_path, reporter=titles
    )
    assert not [one for one in titles.said if one.startswith("train trial")]
    for one, other in zip(weights(fitted), weights(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_base_model_is_a_candidate_where_it_fits(
    made: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SETTINGS.updated({"model": "unet", "search": {"is_on": False}})
    mp.MatPhase(settings=small).fit(made.images, made.labels, NAMES).save(tmp_path / "base")
    monkeypatch.setattr(start, "folder_of", lambda _: tmp_path / "base")
    found = mp.MatPhase(settings=SETTINGS).fit(made.images, made.labels, NAMES)
    assert found._trained is not None
    search = found._trained.record["search"]
    assert {"network", "network_base"} <= {one["candidate"] for one in search["candidates"]}
    assert search["decisions"]["network"].startswith(
        f"starts from {found.settings.ugsm.start or 'random weights'}, sees 1 slice(s)"
    )
    assert "base 0." in search["decisions"]["network"]
    # a start that the user names is no candidate among others
    own = SETTINGS.updated({"ugsm": {"start": str(tmp_path / "base")}})
    assert list(auto._variants(own, neighbours=True)) == ["5_slices"]


def test_one_slice_is_enough(made: Sample) -> None:
    model = mp.MatPhase(settings=SETTINGS).fit(made.images[:1], made.labels[:1], NAMES)
    assert model._trained is not None
    candidates = model._trained.record["search"]["candidates"]
    assert {tuple(one["left_out"]) for one in candidates} == {("end", "start")}


def test_a_slice_that_cannot_be_split(made: Sample) -> None:
    labels = made.labels[:1].copy()
    labels[labels == 1] = 0
    labels[:, 20:28, 26:30] = 1
    with pytest.raises(InputError, match="half of the labelled slice the labels lack a phase"):
        mp.MatPhase(settings=SETTINGS).fit(made.images[:1], labels, NAMES)


def test_a_time_limit_that_is_too_short(made: Sample) -> None:
    settings = SETTINGS.updated({"search": {"minutes": 1e-6}})
    with pytest.raises(InputError, match=r"time limit of 0 s is too short: .*give at least \d+ s"):
        mp.MatPhase(settings=settings).fit(made.images, made.labels, NAMES)


def test_a_short_time_leaves_networks_out(made: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto.auto_plan, "step_seconds", lambda *_: 1e6)
    settings = SETTINGS.updated({"search": {"minutes": 60}})
    model = mp.MatPhase(settings=settings).fit(made.images, made.labels, NAMES)
    assert model.settings.model == "classical"
    assert model._trained is not None
    decisions = model._trained.record["search"]["decisions"]
    assert decisions["model"] == "classical features: the time is too short for a network"


# --- what decides ---------------------------------------------------------------------------------


def judged(scores: dict[str, float], sure: float = 0.8) -> tuple[auto._Judge, dict[str, Trial]]:
    """Trials whose shares of right pixels are `scores`, with errors at random places.

    The first one is `sure` of its answers, on a scale from 0 to 1, and the others .8.
    """
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=(1, 192, 192)).astype(np.uint8)
    judge = auto._Judge(_unread, Run())
    judge.truth["fold"] = truth
    trials = {}
    for name, score in scores.items():
        said = np.where(rng.random(truth.shape) < score, truth, (truth + 1) % 3)
        answers = np.moveaxis(np.eye(3, dtype=np.float32)[said], -1, 1) * sure + (1 - sure) / 3
        trials[name] = judge.kept(name, CHOSEN, {"fold": answers})
        sure = 0.8
    return judge, trials


def _unread(_: Settings) -> Pool:
    raise AssertionError("nothing is read")


def test_a_candidate_has_to_be_better_by_a_margin() -> None:
    judge, trials = judged({"first": 0.8, "as good": 0.801, "a little": 0.82, "better": 0.87})
    for name in ("first", "as good", "a little"):
        assert not judge.better(trials[name], trials["first"])
    assert judge.better(trials["better"], trials["first"])
    assert not judge.better(trials["first"], trials["better"])


def test_a_candidate_has_to_be_better_on_every_slice_that_is_left_out() -> None:
    judge, trials = judged({"first": 0.6, "much better": 0.9, "a little worse": 0.59})
    judge.truth["other"] = judge.truth["fold"]

    def on_both(fold: str, other: str) -> Trial:
        answers = {
            name: trials[one].answers["fold"] for name, one in (("fold", fold), ("other", other))
        }
        return judge.kept(f"{fold}, {other}", CHOSEN, answers)

    first = on_both("first", "first")
    assert judge.better(on_both("much better", "much better"), first)
    assert not judge.better(on_both("much better", "a little worse"), first)


def combined(network: float, classical: float, sure: float = 0.8) -> Settings:
    """What becomes of a network and classical features with such shares of right pixels."""
    judge, trials = judged({"network": network, "classical": classical}, sure)
    plan = auto.auto_plan.plans(8, 0, 2)[0]
    beside = replace(trials["classical"], settings=CHOSEN.updated({"model": "classical"}))
    return auto._combined(judge, beside, trials["network"], CHOSEN, plan).settings


@pytest.mark.parametrize(
    ("network", "classical", "sure", "weight"),
    [(0.9, 0.5, 0.3, 0.87), (0.8, 0.8, 0.8, 0.67), (0.5, 0.9, 0.8, 0.37)],
)
def test_what_errs_in_different_places_is_combined(
    network: float, classical: float, sure: float, weight: float
) -> None:
    found = combined(network, classical, sure)
    assert (found.model, found.combination.weight) == ("combined", weight)


def test_one_alone_where_the_other_does_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "SHIFTS", (0.0,))
    assert combined(0.5, 0.9).model == "classical"
    found = combined(0.9, 0.5, sure=0.3)
    assert (found.model, found.combination.weight) == ("combined", 1.0)
