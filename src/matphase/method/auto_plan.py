"""How much self-configuration tries, so that it ends within a time limit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from matphase.networks import registry
from matphase.settings import Settings
from matphase.support.device import best_device, resolve
from matphase.support.records import json_or_none, write_json

SPARE = 0.85
"""Share of the time left that is planned; steps take longer when something else runs beside."""
TIMED_STEPS = 3
FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """Number and length of the trainings of networks.

    Attributes:
        trial_steps: optimiser steps of a candidate; 0: no network is tried.
        folds: folds on which networks are scored at most.
        variants: number of variants of the network that may be tried.
        steps: optimiser steps of each network in the end.
        networks: networks that are trained in the end and averaged.
    """

    trial_steps: int
    folds: int
    variants: int
    steps: int
    networks: int

    @property
    def cost(self) -> int:
        """Optimiser steps of all trainings at most."""
        # each variant may have to be scored on all folds, as the first candidate is
        return (1 + self.variants) * self.folds * self.trial_steps + self.networks * self.steps

    def to_json(self) -> dict[str, int]:
        """Entry of the card."""
        return asdict(self)


def plans(steps: int, variants: int, folds: int) -> list[Plan]:
    """Plans from thorough to short; the last one does without networks."""
    few = min(2, folds)
    return [
        *(Plan(steps // 2, few, tried, steps, 2) for tried in range(variants, 0, -1)),
        Plan(steps // 2, few, 0, steps, 2),
        Plan(steps // 2, few, 0, steps, 1),
        Plan(steps // 2, 1, 0, steps, 1),
        Plan(steps // 4, 1, 0, steps // 2, 1),
        Plan(0, 1, 0, 0, 0),
    ]


def chosen(
    every: Sequence[Plan], seconds_left: float | None, step_seconds: Callable[[], float]
) -> Plan:
    """The most thorough plan that fits into the time left.

    Args:
        every: plans, from thorough to short; the last one always fits.
        seconds_left: None: there is no limit.
        step_seconds: measures the duration of one optimiser step.
    """
    if seconds_left is None:
        return every[0]
    each = step_seconds()
    fitting = (plan for plan in every if plan.cost * each <= SPARE * seconds_left)
    return next(fitting, every[-1])


def kept(folder: Path | None, choose: Callable[[], Plan]) -> Plan:
    """The plan of an interrupted run, or a new one: times differ from run to run.

    Args:
        folder: run folder; None: nothing is kept.
        choose: gives a new plan.
    """
    if folder is None:
        return choose()
    before: Any = json_or_none(folder / FILE)
    known = isinstance(before, dict) and before.keys() == Plan.__annotations__.keys()
    if known and all(isinstance(value, int) for value in before.values()):
        return Plan(**before)
    plan = choose()
    write_json(folder / FILE, plan.to_json(), overwrite=True)
    return plan


def step_seconds(shape: tuple[int, int], n_phases: int, settings: Settings) -> float:
    """Duration of one optimiser step of the network on this machine, in seconds.

    Args:
        shape: height and width of a slice in pixels.
        n_phases: number of phases.
        settings: of the training.
    """
    device, wanted = best_device(), settings.ugsm
    sides = [min(settings.data.crop or side, side) for side in shape]
    network = registry.segmenter("mcd_unet", settings.channels, n_phases, wanted)
    network = network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images = torch.zeros(wanted.batch_size, settings.channels, *sides, device=device)
    labels = torch.zeros(wanted.batch_size, *sides, dtype=torch.int64, device=device)
    half = resolve(settings.precision, device) == "bfloat16"
    times = []
    for _ in range(1 + TIMED_STEPS):  # the first one prepares
        began = time.monotonic()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        float(logits.detach().sum())  # waits for the device
        times.append(time.monotonic() - began)
    return float(np.median(times[1:]))
