"""The tables of real_slices.py."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from electrodes import Split

from matphase.reproduce.page import count, difference_cell, grid, mean_sd
from matphase.scores.bootstrap import Interval
from matphase.scores.comparison import difference
from matphase.scores.evaluation import Row

CHOSEN = "auto"
"""The preset that every other row is compared with."""
OURS = f"MatPhase, preset `{CHOSEN}`"
LEFT_OUT = ("block_confusions", "F1", "ACC_best5", "ACC_low5")
"""Of a row's scores: what is long, or means little with one or two slices."""

Seeds = dict[int, Row]


@dataclass(frozen=True)
class Found:
    """What was measured on an electrode with some training slices.

    Attributes:
        electrode: its name.
        split: training and test slices.
        phases: names of the phases.
        rows: by title, the scores of each seed.
    """

    electrode: str
    split: Split
    phases: Sequence[str]
    rows: dict[str, Seeds]

    @property
    def name(self) -> str:
        """Electrode and number of training slices."""
        return f"{self.electrode}, {count(len(self.split.train), 'training slice')}"

    def gain(self, title: str) -> Interval | None:
        """MIU of preset `auto` minus that of a row, with its interval."""
        ours, theirs = (blocks(self.rows.get(one, {})) for one in (OURS, title))
        if len(theirs) == 1 and title.startswith("Otsu"):
            theirs = dict.fromkeys(ours, theirs[0])  # it has no seeds
        return None if title == OURS else difference(ours, theirs, same_pixels=True)


def blocks(seeds: Seeds) -> dict[int, Any]:
    """Confusions by block of each seed."""
    return {seed: row["block_confusions"] for seed, row in seeds.items()}


def report(found: Sequence[Found], threads: int) -> str:
    """All tables as Markdown."""
    parts = [
        "# Real slices: MatPhase beside its peers",
        "`python benchmarks/real_slices.py DATA OUT`. Trained on some slices of an electrode, "
        "tested on the last ones; mean ± SD over seeds, pooled over all pixels of the test slices.",
        "## mIU",
        overview(found),
        f"In brackets: the number of seeds, where it is not {most_seeds(found)}.",
    ]
    for one in found:
        train, test = (", ".join(names) for names in (one.split.train, one.split.test))
        parts += [
            f"## {one.name}",
            f"Trained on {train}; tested on {test}.",
            table(one),
        ]
    parts += [
        "F1 per phase. ECE: calibration error. AUROC: how well the entropy finds errors. "
        f"Seconds are CPU time ({count(threads, 'thread')}; nnU-Net has one), which other work on "
        "the machine changes little; those of MatPhase include starting its two commands, "
        "and nnU-Net's planning and preprocessing are not counted. The last column is the mIU of "
        f"preset `{CHOSEN}` minus that of the row, with a 95 % interval (paired bootstrap of seeds "
        "and blocks of 64 x 64 pixels).",
        *decisions(found),
        *moved(found),
    ]
    return "\n\n".join(parts)


def most_seeds(found: Iterable[Found]) -> int:
    """Number of seeds of the row with most of them."""
    return max((len(seeds) for one in found for seeds in one.rows.values()), default=0)


def overview(found: Sequence[Found]) -> str:
    """The mIU of all rows."""
    usual = most_seeds(found)
    titles = dict.fromkeys(title for one in found for title in one.rows)
    header = ["", *(one.name for one in found)]
    lines = []
    for title in titles:
        cells = []
        for one in found:
            seeds = one.rows.get(title, {})
            cell = mean_sd([row["mIU"] for row in seeds.values()])
            known = title.startswith("Otsu") or len(seeds) in (0, usual)
            cells.append(cell if known else f"{cell} ({len(seeds)})")
        lines.append([title, *cells])
    return grid(header, lines)


def table(found: Found) -> str:
    """All scores on an electrode with some training slices."""
    header = ["", "mIU", *(f"F1 {phase}" for phase in found.phases), "ECE", "AUROC"]
    header += ["train s", "predict s", f"`{CHOSEN}` minus it"]
    lines = []
    for title, by_seed in found.rows.items():
        seeds = list(by_seed.values())
        columns = [[row["mIU"] for row in seeds]]
        columns += [[row["F1_pooled"][phase] for row in seeds] for phase in found.phases]
        columns += [[row[name] for row in seeds] for name in ("ECE", "AUROC")]
        seconds = (
            f"{np.mean([row[step]['cpu'] for row in seeds]):.3g}"
            for step in ("train_seconds", "predict_seconds")
        )
        lines.append([title, *map(mean_sd, columns), *seconds, difference_cell(found.gain(title))])
    return grid(header, lines)


def decisions(found: Iterable[Found]) -> list[str]:
    """What preset `auto` chose, by electrode, number of slices and seed."""
    lines = [
        f"- {one.name}, seed {seed}, after "
        f"{row['train_seconds']['clock']:.0f} s: "
        + "; ".join(f"{what}: {choice}" for what, choice in row["search"]["decisions"].items())
        for one in found
        for seed, row in one.rows.get(OURS, {}).items()
        if "search" in row
    ]
    return [f"## What preset `{CHOSEN}` chose", "\n".join(lines)] if lines else []


def moved(found: Iterable[Found]) -> list[str]:
    """How far labels were moved, a line for each training that aligns them."""
    lines = []
    for one in found:
        for title, seeds in one.rows.items():
            if known := [row["alignment"] for row in seeds.values() if "alignment" in row]:
                length, changed = (
                    np.mean([each[name] for each in known])
                    for name in ("mean_displacement_px", "labels_changed")
                )
                lines.append(
                    f"- {one.name}, {title}: by {length:.2f} px on average, {100 * changed:.2f} % "
                    "of the labels changed."
                )
    return ["## How far alignment moved the labels", "\n".join(lines)] if lines else []


def content_of(found: Iterable[Found], threads: int) -> dict[str, Any]:
    """The content of the JSON file."""
    electrodes: dict[str, Any] = {}
    for one in found:
        rows = {}
        for title, seeds in one.rows.items():
            gain = one.gain(title)
            rows[title] = {
                "seeds": [
                    {"seed": seed, **{k: v for k, v in row.items() if k not in LEFT_OUT}}
                    for seed, row in seeds.items()
                ],
                f"{CHOSEN}_minus": None if gain is None else gain.to_json(),
            }
        electrodes[one.name] = {
            "train": one.split.train,
            "test": one.split.test,
            "rows": rows,
        }
    return {"threads": threads, "electrodes": electrodes}
