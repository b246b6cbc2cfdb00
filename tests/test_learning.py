"""Guards learning itself: a small virtual electrode is learned as well, and as fast, as it was.

The bounds are wider than the scatter over seeds and machines (bfloat16 and float32, one thread and
two) and far narrower than what a broken loss, sampler, scale or schedule does to the numbers.
"""

import re

import numpy as np
import pytest

import matphase as mp
from matphase.scores.metrics.confusion import confusion_matrix, mean_iou
from matphase.settings import Settings
from matphase.virtual import VirtualElectrode

SETTINGS = Settings.preset("quick").updated(
    {
        "ugsm": {"width": 8, "depth": 3, "min_steps": 120, "samples": 4},
        "idk": {"epochs": 2},
        "lcgar": {"epochs": 2},
    }
)


class Losses:
    """Keeps the losses of the segmenter's training."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self._title = ""

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._title = title

    def advance(self, steps: int = 1, note: str = "") -> None:
        if self._title == "train ugsm" and (found := re.search(r"loss (\S+)", note)):
            self.values.append(float(found[1]))

    def finish(self) -> None: ...


@pytest.fixture(scope="module")
def electrode() -> VirtualElectrode:
    return VirtualElectrode.simulate("easy", (28, 64, 72), seed=1)


def test_a_small_electrode_is_learned(electrode: VirtualElectrode) -> None:
    train, test = slice(0, 18), slice(21, 28)
    losses = Losses()
    model = mp.MatPhase(settings=SETTINGS, seed=0).fit(
        electrode.image[train], electrode.labels[train], electrode.phases, reporter=losses
    )
    result = model.predict(electrode.image[test])
    found = mean_iou(confusion_matrix(electrode.labels[test], np.asarray(result.labels), 3))
    # weighted by phase, random guesses have the loss log 3
    assert np.mean(losses.values[:5]) == pytest.approx(np.log(3), abs=0.3)
    assert np.mean(losses.values[-20:]) < 0.65
    assert found > 0.6
