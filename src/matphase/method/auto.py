"""Self-configuration: settings chosen on labelled slices that are left out (beyond the paper).

Grey values, labels and contrast differ from scan to scan, and no fixed choice is best on all of
them (`benchmarks/real_slices.py`). So a few candidates are trained on a part of the labelled slices
and scored on the rest. The slices at the ends of the stack are left out first, since new slices lie
beyond them.

Few slices say little of the next ones: on a real electrode whose brightness drifts, forests on
the slices' own scale were .03 better on left-out slices, and .04 worse on slices beyond them. So
what is robust comes first (both grey scales; networks and classical features averaged, which err in
different places), and another candidate replaces it only if it is better on every slice that is
left out, by more than that. The result is an ordinary `Settings` object, with which `fit_model`
trains on all slices.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.method import auto_plan, scaling
from matphase.method import start as starts
from matphase.method.auto_plan import Plan
from matphase.method.fit import Stage, align_labels
from matphase.method.folds import Fold, folds_of
from matphase.method.scaling import Scaling
from matphase.method.segmenter import Segmenter
from matphase.scores.bootstrap import paired_difference
from matphase.scores.metrics.confusion import block_confusions, mean_iou
from matphase.settings import Settings
from matphase.support.errors import InputError

BLOCK = (1, 64, 64)
"""Pixels (slices, y, x) whose errors are assumed to depend on each other."""
MISREGISTERED = 0.6
"""Mean displacement of the labels in pixels above which they are aligned. A network that was
trained for a short time sees labels that were made on the image itself 0.3 to 0.45 px away."""
SLICES = 5
"""Neighbouring slices that a network sees, where the images have them."""
MAX_FOLDS = 2
"""Folds on which classical features are scored at most."""
SLICES_PER_LENGTH = 6
"""Labelled slices from which a network learns for as long as the preset says; more slices make the
training longer in proportion, up to `MAX_LENGTH` times."""
MAX_LENGTH = 3
MARGIN = 0.04
"""Difference of mIU by which a candidate has to be better than the robust one: what slices between
others may promise and slices beyond them not keep."""
SHIFTS = (0.0, -0.3, 0.2)
"""By how much the networks weigh more or less than if each member of a combination had one vote."""
_CLASSICAL = (("both", "forest"), ("both", "linear"), ("volume", "forest"), ("slice", "forest"))
"""Grey scale and classifier of the classical candidates, the robust one first."""

Answers = NDArray[np.float32]
"""Probabilities (slices, phases, height, width) of left-out slices."""
Reader = Callable[[Settings], Pool]
"""Function that reads the labelled slices as these settings need them."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A candidate that was trained on a part of the slices and scored on the rest.

    Attributes:
        name: what the card calls it.
        settings: of the candidate.
        answers: by name of the fold, its probabilities of the left-out slices.
        confusions: by name of the fold, (blocks, phases, phases).
        seconds: that its trainings and predictions took.
    """

    name: str
    settings: Settings
    answers: Mapping[str, Answers]
    confusions: Mapping[str, NDArray[np.int64]]
    seconds: float = 0.0

    @property
    def score(self) -> float:
        """MIU over all left-out pixels."""
        return float(mean_iou(self.blocks(self.confusions).sum(axis=0)))

    def blocks(self, folds: Iterable[str]) -> NDArray[np.int64]:
        """Confusions (blocks, phases, phases) on some of its folds."""
        return np.concatenate([self.confusions[name] for name in folds])

    def on(self, folds: Iterable[str]) -> "Trial":
        """The trial on some of its folds."""
        names = list(folds)
        return replace(
            self,
            answers={name: self.answers[name] for name in names},
            confusions={name: self.confusions[name] for name in names},
        )

    def to_json(self) -> dict[str, Any]:
        """Entry of the card."""
        return {
            "candidate": self.name,
            "miu": round(self.score, 4),
            "left_out": list(self.answers),
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True)
class Configured:
    """What self-configuration found.

    Attributes:
        settings: with which the model is trained on all slices.
        scaling: of the probabilities, fitted to left-out slices.
        card: candidates with their scores, the decisions, and the plan, for the model's record.
    """

    settings: Settings
    scaling: Scaling
    card: dict[str, Any]


def configure(read: Reader, settings: Settings, run: Run, *, neighbours: bool) -> Configured:
    """Choose the settings of a training, and fit the scaling of its probabilities.

    Args:
        read: reads the labelled slices.
        settings: of the preset, with what the user changed; `search.minutes` bounds the time.
        run: seed, precision, folder, reporter.
        neighbours: whether the images have the slices next to the labelled ones.

    Raises:
        InputError: no slice, nor half of one, can be left out, or the time limit is too short for
            a single candidate.
        Interrupted: the user stopped it.
    """
    clock = _Clock(60 * settings.search.minutes or None)
    settings = settings.updated({"search": {"is_on": False}})
    pool = read(settings)
    folds = folds_of(pool)
    judge = _Judge(read, run)
    classical = _classical(judge, settings, folds[:MAX_FOLDS], clock)
    settings = settings.updated(
        {
            "data": {"scale": classical.settings.data.scale},
            "classical": {"classifier": classical.settings.classical.classifier},
        }
    )
    variants = _variants(settings, neighbours=neighbours)
    plan = _plan(pool, settings, len(folds), len(variants), run, clock)
    network = None
    if plan.trial_steps:
        network = _network(judge, settings, variants, folds, plan)
        settings = _with_alignment(judge, network, folds[0], run)
    best = _combined(judge, classical, network, settings, plan)
    truth = np.concatenate([judge.truth[name] for name in best.answers])
    shown = [plane for said in best.answers.values() for plane in said]
    card = {
        "candidates": [trial.to_json() for trial in judge.trials],
        "decisions": judge.decisions,
        "plan": plan.to_json(),
    }
    return Configured(best.settings, scaling.fit(shown, truth, "temperature", run.seed), card)


@dataclass(eq=False)
class _Clock:
    """Time since the search began, and what is left of its limit in seconds."""

    limit: float | None
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float | None:
        return None if self.limit is None else self.limit - (time.monotonic() - self.began)


@dataclass(eq=False)
class _Judge:
    """Trains candidates and scores them; keeps what the card tells."""

    read: Reader
    run: Run
    trials: list[Trial] = field(default_factory=list)
    decisions: dict[str, str] = field(default_factory=dict)
    truth: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    """By name of the fold, the labels (slices, height, width) of what is left out there."""
    segmenters: dict[str, Segmenter] = field(default_factory=dict)
    """By name of the candidate, what was trained last."""

    def trial(self, name: str, settings: Settings, folds: Sequence[Fold]) -> Trial:
        """Train a candidate on each fold, and score it on what is left out there."""
        began = time.monotonic()
        pool = self.read(settings)
        stage = Stage(settings, self.run)
        answers = {}
        for fold in reversed(folds):
            segmenter = stage.fit_segmenter(fold.seen(pool), name=f"trial_{name}_{fold.name}")
            unseen = fold.unseen(pool)
            said = stage.predictions(segmenter, unseen)
            answers[fold.name] = np.concatenate([one.probabilities for one in said])
            self.truth[fold.name] = np.stack(list(unseen.labels))
            self.segmenters[name] = segmenter
        return self.kept(name, settings, dict(reversed(answers.items())), time.monotonic() - began)

    def kept(
        self, name: str, settings: Settings, answers: Mapping[str, Answers], seconds: float = 0.0
    ) -> Trial:
        """Score answers, and note them for the card."""
        confusions = {
            fold: block_confusions(
                self.truth[fold], said.argmax(axis=1).astype(np.uint8), said.shape[1], BLOCK
            )
            for fold, said in answers.items()
        }
        found = Trial(name, settings, answers, confusions, seconds)
        self.trials.append(found)
        return found

    def better(self, new: Trial, old: Trial) -> bool:
        """Whether a candidate is better than another on each fold of both.

        The difference on all of them also has to exceed the margin, and chance.
        """
        common = [name for name in new.answers if name in old.answers]
        pairs = [(new.on([name]).score, old.on([name]).score) for name in common]
        if not all(one > other for one, other in pairs):
            return False
        found = paired_difference(
            [new.blocks(common)], [old.blocks(common)], "mIU", seed=self.run.seed
        )
        return found.low > 0 and found.difference > MARGIN


def _classical(judge: _Judge, settings: Settings, folds: Sequence[Fold], clock: _Clock) -> Trial:
    """The best of the classical candidates, and with it the grey scale."""
    tried: dict[tuple[str, str], Trial] = {}
    for scale, classifier in _CLASSICAL:
        candidate = settings.updated(
            {
                "model": "classical",
                "data": {"scale": scale},
                "classical": {"classifier": classifier},
            }
        )
        tried[scale, classifier] = judge.trial(f"{classifier}_{scale}", candidate, folds)
        _check_time(clock, tried[scale, classifier].seconds)
    best = tried["both", "forest"]
    for trial in tried.values():
        if judge.better(trial, best):
            best = trial
    scale, classifier = best.settings.data.scale, best.settings.classical.classifier
    judge.decisions["classical features"] = f"{classifier}, grey scale {scale} (" + _compared(
        {f"{one} {at}": trial for (at, one), trial in tried.items()}
    )
    return best


def _check_time(clock: _Clock, seconds: float) -> None:
    """Refuse a time limit that one candidate and its training on all slices would exceed.

    Raises:
        InputError: the time is too short.
    """
    if clock.limit is not None and clock.left is not None and clock.left < seconds:
        raise InputError(
            f"a time limit of {clock.limit:.0f} s is too short: one candidate takes "
            f"{seconds:.0f} s and as long again on all slices; give at least "
            f"{8 * seconds + 1:.0f} s"
        )


def _plan(
    pool: Pool, settings: Settings, folds: int, variants: int, run: Run, clock: _Clock
) -> Plan:
    """Plan of the networks' trainings, which an interrupted run keeps."""
    longer = min(MAX_LENGTH, max(1, len(pool) / SLICES_PER_LENGTH))
    every = auto_plan.plans(round(settings.ugsm.min_steps * longer), variants, folds)

    def choose() -> Plan:
        return auto_plan.chosen(
            every,
            clock.left,
            lambda: auto_plan.step_seconds(pool.shape, len(pool.phases), settings),
        )

    return run.team.first(lambda: auto_plan.kept(run.folder, choose))


def _variants(settings: Settings, *, neighbours: bool) -> dict[str, dict[str, Any]]:
    """Settings of UGSM that differ from those of the robust network, by what the card calls them.

    Where the base model has another size than the network that the user wants, or where the user
    names a start, there is no choice of a start.
    """
    found: dict[str, dict[str, Any]] = {}
    if neighbours:
        found[f"{SLICES}_slices"] = {"slices": SLICES}
    if not settings.ugsm.start and starts.fits(settings):
        found[starts.BASE] = {"start": starts.BASE}
    return found


def _network(
    judge: _Judge,
    settings: Settings,
    variants: Mapping[str, Mapping[str, Any]],
    folds: Sequence[Fold],
    plan: Plan,
) -> Trial:
    """The best network: of one slice or of several, from random weights or from the base model."""
    short = settings.updated(
        {
            "model": "mcd_unet",
            "ugsm": {"min_steps": plan.trial_steps, "max_steps": plan.trial_steps},
        }
    )
    best = judge.trial("network", short, folds[: plan.folds])
    tried = {"one slice": best}
    for name, change in list(variants.items())[: plan.variants]:
        other = best.settings.updated({"ugsm": change})
        tried[name] = judge.trial(f"network_{name}", other, folds[: plan.folds])
        if judge.better(tried[name], best):
            best = tried[name]
    chosen = best.settings.ugsm
    judge.decisions["network"] = (
        f"starts from {chosen.start or 'random weights'}, sees {chosen.slices} slice(s) ("
        + _compared(tried)
    )
    return best


def _with_alignment(judge: _Judge, network: Trial, fold: Fold, run: Run) -> Settings:
    """Settings of the network, with alignment of the labels where they are misregistered."""
    pool = fold.seen(judge.read(network.settings))
    alignment = align_labels(pool, judge.segmenters[network.name], network.settings, run)
    summary = alignment.summary(pool.labels, pool.phases.names)
    moved = float(summary["mean_displacement_px"])
    aligns = moved > MISREGISTERED
    judge.decisions["network"] += (
        f"; labels {'aligned' if aligns else 'as given'}, which it sees {moved:.2f} px away"
    )
    return network.settings.updated({"align": {"after": 0.5 if aligns else 0.0}})


def _combined(
    judge: _Judge, classical: Trial, network: Trial | None, settings: Settings, plan: Plan
) -> Trial:
    """Network and classical features averaged, or one of them alone where that is as good."""
    if network is None:
        judge.decisions["model"] = "classical features: the time is too short for a network"
        return classical
    alone = classical.on(network.answers)
    equal = plan.networks / (plan.networks + 1)
    weights = [round(equal + shift, 2) for shift in SHIFTS]
    both = {
        weight: judge.kept(
            f"both_{weight:g}",
            settings,
            {
                fold: np.float32(weight) * said + np.float32(1 - weight) * classical.answers[fold]
                for fold, said in network.answers.items()
            },
        )
        for weight in weights
    }
    weight = weights[0]
    for other in weights[1:]:
        if judge.better(both[other], both[weight]):
            weight = other
    best = both[weight]
    scores = _compared({"network": network, "classical features": alone, "both": best})
    if judge.better(alone, best) and alone.score > network.score:
        judge.decisions["model"] = f"classical features alone ({scores}"
        return classical
    if judge.better(network, best):
        best, weight = network, 1.0
    judge.decisions["model"] = (
        f"{plan.networks} network(s)"
        + ("" if weight == 1 else f" with weight {weight:g} and classical features")
        + f" ({scores}"
    )
    changed = {
        "model": "combined",
        "combination": {"networks": plan.networks, "weight": weight},
        "ugsm": {"min_steps": plan.steps, "max_steps": plan.steps},
    }
    return replace(best, settings=settings.updated(changed))


def _compared(trials: Mapping[str, Trial]) -> str:
    """Scores beside each other, such as "both .701, volume .673)"."""
    scores = ", ".join(f"{name} {trial.score:.3f}" for name, trial in trials.items())
    return f"mIU of left-out slices: {scores})"
