"""A training that was killed and resumed ends where an undisturbed one does, bit for bit."""

import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import Killed, Killer

import matphase as mp
from matphase.learning import loop as training
from matphase.settings import Settings
from matphase.support.device import arithmetic
from matphase.support.errors import InputError
from samples import Sample

PHASES = ["pore", "carbon", "nickel"]


class Started:
    """A reporter that notes at which step each stage began."""

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}

    def start(self, title: str, total: int, done: int = 0) -> None:
        self.stages[title] = done

    def advance(self, steps: int = 1, note: str = "") -> None: ...

    def finish(self) -> None: ...


class Counting(Started):
    """A reporter that counts the steps of each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: dict[str, int] = {}
        self._current = ""

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._current = title
        self.steps[title] = done

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps[self._current] += steps


Fit = Callable[..., mp.MatPhase]


# several epochs of each stage, so that there are checkpoints to go on from
LONGER = {"idk": {"epochs": 3, "batch_size": 512}, "lcgar": {"epochs": 3, "batch_size": 256}}


@pytest.fixture(scope="module")
def fit(sample: Sample, tiny_settings: Settings) -> Iterator[Fit]:
    settings = tiny_settings.updated(LONGER)

    def run(folder: Path, reporter: object = None, **changes: object) -> mp.MatPhase:
        chosen = settings.updated(changes) if changes else settings
        folder.mkdir(exist_ok=True)
        return mp.MatPhase(settings=chosen, seed=5).fit(
            sample.images, sample.labels, PHASES, folder=folder, reporter=reporter
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
        yield run


@pytest.fixture(scope="module")
def undisturbed(fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> mp.MatPhase:
    """What an undisturbed training gives."""
    return fit(tmp_path_factory.mktemp("undisturbed") / "run")


def assert_same(first: mp.MatPhase, second: mp.MatPhase, images: np.ndarray) -> None:
    one, other = first.predict(images), second.predict(images)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    np.testing.assert_array_equal(one.idk_score, other.idk_score)


def test_a_training_that_ends_inside_an_epoch(fit: Fit, sample: Sample, tmp_path: Path) -> None:
    """5 steps where an epoch has 2; resumed in the third epoch, which is cut short."""
    changes = {"ugsm": {"max_steps": 5}}
    noted = Counting()
    whole = fit(tmp_path / "whole", noted, **changes)
    assert noted.steps["train ugsm"] == 5
    with pytest.raises(Killed):
        fit(tmp_path / "killed", Killer("train ugsm", 5), **changes)
    resumed = fit(tmp_path / "killed", None, **changes)
    assert_same(whole, resumed, sample.images)


def test_same_seed_same_labels(
    fit: Fit, undisturbed: mp.MatPhase, sample: Sample, tmp_path: Path
) -> None:
    assert_same(fit(tmp_path / "again"), undisturbed, sample.images)


FIRST = [("ugsm", 1), ("idk", 2), ("lcgar", 1)]
"""Stops before the first checkpoint of a stage."""


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        ("train ugsm", 5),
        ("UGSM on labelled slices", 2),
        ("train idk", 7),
        ("train lcgar", 12),
        *(pytest.param(f"train {name}", step, marks=pytest.mark.slow) for name, step in FIRST),
    ],
)
def test_resumed_training_equals_an_undisturbed_one(
    fit: Fit, undisturbed: mp.MatPhase, sample: Sample, tmp_path: Path, stage: str, step: int
) -> None:
    with pytest.raises(Killed):
        fit(tmp_path / "killed", Killer(stage, step))
    started = Started()
    resumed = fit(tmp_path / "killed", started)
    if step >= 5:
        assert started.stages[stage] > 0, "it went on from a checkpoint, not from the beginning"
    if stage != "train ugsm":
        assert "train ugsm" not in started.stages
    assert_same(resumed, undisturbed, sample.images)


def test_resumed_folds_equal_undisturbed_ones(fit: Fit, sample: Sample, tmp_path: Path) -> None:
    folds = {"folds": 2, "epochs": 1}
    with pytest.raises(Killed):
        fit(tmp_path / "killed", Killer("train ugsm_fold2", 2), idk=folds)
    resumed = fit(tmp_path / "killed", idk=folds)
    assert_same(resumed, fit(tmp_path / "undisturbed", idk=folds), sample.images)


SCRIPT = """
import json, os, signal, sys
import matphase as mp
from matphase.learning import loop as training
from matphase.settings import Settings
from conftest import TINY
from samples import striped
from pathlib import Path

class Killer:
    count = 0
    def start(self, title, total, done=0): self.title = title
    def advance(self, steps=1, note=""):
        self.count += self.title == sys.argv[2]
        if self.count == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
    def finish(self): pass

training.SECONDS_BETWEEN_CHECKPOINTS = 0
sample = striped(6, 48, 56)
settings = Settings.from_mapping(TINY).updated(json.loads(sys.argv[4]))
mp.MatPhase(settings=settings, seed=5).fit(
    sample.images, sample.labels, ["pore", "carbon", "nickel"],
    folder=Path(sys.argv[1]), reporter=Killer())
"""


def test_resume_after_sigkill(
    fit: Fit, undisturbed: mp.MatPhase, sample: Sample, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    words = [str(killed), "train ugsm", "6", json.dumps(LONGER)]
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], cwd=Path(__file__).parents[1], check=False
    )
    assert process.returncode == -signal.SIGKILL
    assert (killed / "ugsm.ckpt").exists()
    assert_same(fit(killed), undisturbed, sample.images)


def test_a_folder_of_another_training_is_refused(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(tmp_path / "run", Killer("train ugsm", 2))
    with pytest.raises(InputError, match="started with other settings"):
        fit(tmp_path / "run", lcgar={"h": 5})


def test_folds_predict_slices_they_did_not_see(fit: Fit, sample: Sample, tmp_path: Path) -> None:
    model = fit(tmp_path / "run", idk={"folds": 3})
    weights = {path.name for path in (tmp_path / "run").glob("*.safetensors")}
    assert {"ugsm_fold1.safetensors", "ugsm_fold2.safetensors", "ugsm_fold3.safetensors"} < weights
    assert model.predict(sample.images).idk.any()
    with pytest.raises(InputError, match="only 6 training slices"):
        fit(tmp_path / "other", idk={"folds": 7})


def test_the_model_says_what_it_was_trained_on(
    sample: Sample, tiny_settings: Settings, tmp_path: Path
) -> None:
    settings = tiny_settings.updated({"data": {"copies": 2, "smooth_labels": True}})
    labels = sample.labels.copy()
    labels[0, 3, 3] = 1 if labels[0, 3, 3] != 1 else 2
    model = mp.MatPhase(settings=settings).fit(sample.images, labels, PHASES)
    model.save(tmp_path / "model")
    config = tomllib.loads((tmp_path / "model" / "config.toml").read_text())
    training = config["training"]
    assert training["slices"] == 6
    assert training["images"] == 12
    assert training["threads"] == torch.get_num_threads()
    assert training["processes"] == 1
    assert training["arithmetic"] == arithmetic("auto")
    assert sum(training["volume_fractions"].values()) == pytest.approx(1)
    assert 0 < training["label_smoothing"]["pixels_changed"] < 0.2
