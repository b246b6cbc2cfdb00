"""The gain of calibration: reliability, and how often the guarantee on trusted pixels holds.

    python benchmarks/calibration.py OUT [--draws 20] [--shape 72,224,256] [--steps 600]

A draw is a virtual electrode and a training of its own (recipe `paper`, preset `quick`, labels as
measured), calibrated on validation slices and scored on unseen slices of that electrode and on
another electrode. OUT keeps the result of each draw: a run that was stopped goes on, and more draws
can be added later.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import publish
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.splits import blocked_split
from matphase.method import conformal, scaling
from matphase.model import MatPhase
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import grid, mean_sd
from matphase.reproduce.results import claim
from matphase.scores.evaluation import score_trusted
from matphase.scores.metrics.calibration import expected_calibration_error
from matphase.settings import CalibrationSettings, Settings
from matphase.support.files import remove
from matphase.support.scratch import as_array
from matphase.support.text import times
from matphase.virtual import VirtualElectrode

RISKS = (0.02, 0.05)
BLOCKS = ((1, 1, 1), (8, 16, 16), (8, 32, 32))
"""The first stands for a threshold chosen pixel by pixel, as if pixels were exchangeable."""
SCORED = ("none", "vector", "vector, aligned")
"""Scalings that guarantees are tried with; a temperature hardly changes which pixels are surer."""
SIZES = ((1, 4, 4), (2, 8, 8), (4, 16, 16), (8, 16, 16), (8, 32, 32), (8, 56, 64))
"""Blocks for which it is measured how much more alike errors are in them than by chance."""
PLACES = ("unseen slices", "unseen electrode")
TRUTHS = ("measured", "exact")
UNSEEN_SLICES = 16
OTHER_ELECTRODES = 1000
"""Seeds from here on are of electrodes that no training sees."""


def main() -> None:
    """Run the draws that are missing, and write results/calibration.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--shape", default="72,224,256", help="slices, rows, columns")
    parser.add_argument("--steps", type=int, default=600, help="of UGSM's training")
    arguments = parser.parse_args()
    z, y, x = (int(edge) for edge in arguments.shape.split(","))
    shape = (z, y, x)
    conditions = {"shape": list(shape), "steps": arguments.steps}
    claim(arguments.out, conditions)
    cases = [Case("draw", seed) for seed in range(arguments.draws)]
    draws = list(run(cases, partial(draw, shape, arguments.steps), arguments.out).values())
    publish("calibration", {**conditions, "draws": draws}, report(conditions, draws))


def draw(shape: tuple[int, int, int], steps: int, case: Case, folder: Path) -> dict[str, Any]:
    """Train, calibrate and score once; `folder` keeps the training meanwhile."""
    seed, training = case.seed, folder / "training"
    electrode = VirtualElectrode.simulate("paper", shape, seed)
    split = blocked_split(len(electrode.image), validation=0.35, test=0.24)
    settings = Settings.preset("quick").updated({"ugsm": {"min_steps": steps}})
    model = MatPhase(settings=settings, seed=seed).fit(
        electrode.image[split.train],
        electrode.measured_labels[split.train],
        electrode.phases,
        folder=training,
    )
    unseen = (min(UNSEEN_SLICES, shape[0]), shape[1], shape[2])
    other = VirtualElectrode.simulate("paper", unseen, OTHER_ELECTRODES + seed)
    chosen, known = split.validation, electrode.measured_labels[split.validation]
    answer, said = answers(model, electrode, chosen)
    moved = as_array(model.align(electrode.image[chosen], known).labels)
    aligned = np.where(moved < len(electrode.phases), moved, np.uint8(IGNORE_INDEX))
    scalings = {
        "temperature": scaling.fit(said, known, "temperature", seed),
        "vector": scaling.fit(said, known, "vector", seed),
        "vector, aligned": scaling.fit(said, aligned, "vector", seed),
    }
    scaled = by_scaling(answer, said, scalings)
    guarantees = {
        guarantee_name(kind, risk, block): guarantee(
            *scaled[kind], known, CalibrationSettings(risk=risk, block=block)
        )
        for kind in SCORED
        for risk in RISKS
        for block in BLOCKS
    }
    found: dict[str, Any] = {
        "validation_slices": len(chosen),
        "alike": alike(answer != known, said.max(axis=1)),
        "scalings": {kind: one.to_json() for kind, one in scalings.items()},
        "guarantees": {name: one.to_json() for name, one in guarantees.items()},
    }
    everywhere = np.arange(len(other.image))
    places = zip(PLACES, ((electrode, split.test), (other, everywhere)), strict=True)
    for place, (made, slices) in places:
        answer, said = answers(model, made, slices)
        truths = (made.measured_labels[slices], made.labels[slices])
        found[place] = {
            name: scores(answer, said, truth, scalings, guarantees)
            for name, truth in zip(TRUTHS, truths, strict=True)
        }
    remove(training)
    return found


def guarantee(
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    known: NDArray[np.uint8],
    settings: CalibrationSettings,
) -> conformal.RiskGuarantee:
    """The guarantee that validation slices give, as `calibrator.fit` makes it."""
    where = known != IGNORE_INDEX
    return conformal.fit(
        [(probabilities.max(axis=1)[where], (labels != known)[where])],
        int(where.sum()),
        conformal.block_pixels(known.shape, settings),
        settings,
    )


def answers(
    model: MatPhase, made: VirtualElectrode, slices: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels and probabilities, slices first, before any scaling."""
    result = model.predict(made.image[slices])
    return result.labels, np.moveaxis(result.probabilities, 0, 1)


def by_scaling(
    answer: NDArray[np.uint8],
    said: NDArray[np.float32],
    scalings: dict[str, scaling.Scaling],
) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Labels and probabilities without a scaling and with each."""
    scaled = {kind: one.answer(answer, said) for kind, one in scalings.items()}
    return {"none": (answer, said), **scaled}


def alike(wrong: NDArray[np.bool_], sure: NDArray[np.float32]) -> dict[str, float]:
    """Variance of the share of wrong and sure pixels in a block, over that of as many at random.

    Sure is the surer half. The ratio stops rising where blocks are wide enough to have nothing to
    do with each other.
    """
    found = {}
    both = wrong & (sure > np.median(sure))
    for size in SIZES:
        grid = [length // edge for length, edge in zip(both.shape, size, strict=True)]
        if min(grid) < 1 or np.prod(grid) < 8:
            continue
        window = tuple(slice(n * edge) for n, edge in zip(grid, size, strict=True))
        z, y, x = ((n, edge) for n, edge in zip(grid, size, strict=True))
        means = both[window].reshape(*z, *y, *x).mean(axis=(1, 3, 5))
        by_chance = both.var() / np.prod(size)
        found[times(size)] = float(means.var(ddof=1) / by_chance)
    return found


def scores(
    answer: NDArray[np.uint8],
    said: NDArray[np.float32],
    truth: NDArray[np.uint8],
    scalings: dict[str, scaling.Scaling],
    guarantees: dict[str, conformal.RiskGuarantee],
) -> dict[str, Any]:
    """Reliability and accuracy by scaling, and whether each guarantee held."""
    scaled = by_scaling(answer, said, scalings)
    found: dict[str, Any] = {"ECE": {}, "accuracy": {}, "trusted": {}}
    for kind, (labels, probabilities) in scaled.items():
        found["ECE"][kind] = expected_calibration_error(probabilities, truth)
        found["accuracy"][kind] = float(np.mean(labels == truth))
    for name, one in guarantees.items():
        labels, probabilities = scaled[name.split(";")[0]]
        found["trusted"][name] = score_trusted(truth, labels, one.trusts(probabilities))
    return found


def guarantee_name(kind: str, risk: float, block: tuple[int, int, int]) -> str:
    """As results name it."""
    return f"{kind}; {100 * risk:g} %; {times(block)}"


def report(conditions: dict[str, Any], draws: list[dict[str, Any]]) -> str:
    """Tables of all draws as Markdown."""
    first = draws[0]
    text = [
        "# Calibration",
        f"`python benchmarks/calibration.py OUT --draws {len(draws)} --shape "
        f"{','.join(str(edge) for edge in conditions['shape'])} --steps {conditions['steps']}`. "
        "Each draw is a virtual electrode (recipe paper) and a training (preset quick) of its own, "
        f"calibrated on {first['validation_slices']} validation slices with labels as "
        "measured or, where it says aligned, aligned with the image by the network.",
        "## The goals",
        "Of unseen electrodes, by how the probabilities are scaled: ECE against exact labels, and "
        "in how many draws the guarantee of the default block held against the measured labels, "
        "which it is made for.",
        goals(draws),
        "## Reliability",
        "ECE in 15 bins and accuracy, mean ± SD over the draws.",
        grid(
            [
                *("", "labels"),
                *(f"ECE: {kind}" for kind in first[PLACES[0]]["exact"]["ECE"]),
                *(f"ACC (%): {kind}" for kind in SCORED),
            ],
            [
                [
                    place,
                    truth,
                    *(
                        mean_sd([one[place][truth]["ECE"][kind] for one in draws], 4)
                        for kind in first[place][truth]["ECE"]
                    ),
                    *(
                        mean_sd([100 * one[place][truth]["accuracy"][kind] for one in draws], 2)
                        for kind in SCORED
                    ),
                ]
                for place in PLACES
                for truth in TRUTHS
            ],
        ),
        "## Trusted pixels",
        "In how many draws at most the guaranteed share was wrong: of the trusted pixels, and of "
        "all pixels (trusted and wrong). Draws in which no pixel is trusted count as held; their "
        "number is given. Shares are of the pixels of all draws together, in per cent. The first "
        "column has the scaling of the score, the risk, and the block.",
    ]
    for place in PLACES:
        for truth in TRUTHS:
            rows = [guarantee_row(name, draws, place, truth) for name in first["guarantees"]]
            header = ["", "held among trusted", "held of all", "none trusted"]
            header += ["trusted %", "wrong among trusted %", "trusted and wrong of all %"]
            text += [f"### {place}, labels {truth}", grid(header, rows)]
    rows = [[size, mean_sd([one["alike"][size] for one in draws], 0)] for size in first["alike"]]
    text += [
        "## How far errors are correlated",
        "Variance between blocks of the error rate among the more certain half of the pixels, "
        "divided by the variance expected for independent pixels: where the ratio stops rising, "
        "blocks are independent.",
        grid(["block", "ratio"], rows),
    ]
    return "\n\n".join(text)


def goals(draws: list[dict[str, Any]]) -> str:
    """What was asked for, and how often it was so."""
    _, unseen = PLACES
    least, block = min(RISKS), BLOCKS[-1]
    lines = []
    for kind in SCORED:
        errors = [one[unseen]["exact"]["ECE"][kind] for one in draws]
        row = guarantee_row(guarantee_name(kind, least, block), draws, unseen, "measured")
        _, among, of_all, _, trusted, *_ = row
        lines.append([kind, mean_sd(errors, 4), of_all, among, f"{trusted} %"])
    header = [
        "",
        "ECE (goal: under .02)",
        f"at most {100 * least:g} % of all pixels trusted and wrong (goal: 90 %)",
        f"at most {100 * least:g} % of the trusted wrong",
        "trusted",
    ]
    return grid(header, lines)


def guarantee_row(name: str, draws: list[dict[str, Any]], place: str, truth: str) -> list[str]:
    """How often one guarantee held."""
    risk = draws[0]["guarantees"][name]["risk"]
    found = [one[place][truth]["trusted"][name] for one in draws]
    among = [part["trusted_error"] or 0 for part in found]
    of_all = [part["trusted_wrong_share"] for part in found]
    share, both = (
        np.mean([part[f"trusted_{p}"] for part in found]) for p in ("share", "wrong_share")
    )
    return [
        name,
        f"{sum(value <= risk for value in among)} of {len(draws)}",
        f"{sum(value <= risk for value in of_all)} of {len(draws)}",
        str(sum(part["trusted_share"] == 0 for part in found)),
        f"{100 * share:.1f}",
        f"{100 * both / share:.2f}" if share else "-",
        f"{100 * both:.2f}",
    ]


if __name__ == "__main__":
    main()
