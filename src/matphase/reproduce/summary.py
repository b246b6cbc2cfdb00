"""The numbers behind a table: measures over seeds, and how far MatPhase is ahead of each row.

Everything is computed from what the units left in the output folder. Units that are not done yet
are left out, so that an unfinished run can be looked at.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from matphase.reproduce.engine import result_of
from matphase.reproduce.machine import machines_of
from matphase.reproduce.protocol import SplitName
from matphase.reproduce.results import Result, conditions_of
from matphase.reproduce.table_rows import MATPHASE, TableRow, TableSpec
from matphase.reproduce.units import Unit
from matphase.scores.bootstrap import Interval
from matphase.scores.comparison import BlocksBySeed, difference
from matphase.scores.spread import NOTHING, Spread

Results = dict[int, Result]
"""The results of a unit by seed; seeds that are not done are left out."""


@dataclass(frozen=True)
class Lead:
    """How much higher MatPhase scores than a row: always MatPhase minus row.

    Attributes:
        seeds: that both have; only they are compared.
        on_all_pixels: false where the row named random pixels only; both are then compared on
            these.
        measures: for `mIU`, `fIU`, `ACC` (in percentage points) and `F1_pooled <phase>`:
            `difference`, `low`, `high` (95 % interval, see `bootstrap.paired_difference`),
            `excludes_zero`.
    """

    seeds: list[int]
    on_all_pixels: bool
    measures: dict[str, dict[str, float | bool | None]]

    def interval(self, measure: str) -> Interval | None:
        """The difference in a measure; None where it is not defined."""
        difference, low, high = (
            self.measures[measure][part] for part in ("difference", "low", "high")
        )
        if difference is None or low is None or high is None:
            return None
        return Interval(difference, low, high)


@dataclass(frozen=True)
class RowSummary:
    """A row on one split.

    Attributes:
        title: its name.
        unit: what it is made of.
        seeds: that are done.
        missing_seeds: that are not.
        on_all_pixels: false where only random pixels of the test images were named; None where
            nothing is done.
        seconds: of compute, all seeds together, without the units that it builds on.
        parameters: of all networks that take part; None where nothing is done.
        macs_per_pixel: multiply-accumulates.
        pixels_per_second: of prediction, all stages together.
        scores: by truth and measure. Measures are those of `evaluation.score_row`, named such as
            `F1 pore`, `ACC_best5` and `ACC_best5_sd` (SD over images).
        matphase_minus_row: by truth; empty for MatPhase itself, and where it is not done.
        paper: the paper's numbers of this row by measure, or None.
    """

    title: str
    unit: str
    seeds: list[int]
    missing_seeds: list[int]
    on_all_pixels: bool | None
    seconds: float
    parameters: int | None
    macs_per_pixel: Spread
    pixels_per_second: Spread
    scores: dict[str, dict[str, Spread]]
    matphase_minus_row: dict[str, Lead]
    paper: dict[str, float] | None

    def score(self, truth: str, measure: str) -> Spread:
        """One measure; `NOTHING` where it is not known."""
        return self.scores.get(truth, {}).get(measure, NOTHING)


@dataclass(frozen=True)
class SplitSummary:
    """All rows on one split.

    Attributes:
        split: its name.
        phases: names, none while nothing is done.
        truths: labels that were scored against, `measured` first.
        rows: in the order of the table.
        ugsm_on_subset: by truth UGSM's mIU on the random pixels that rows which are not
            `on_all_pixels` name, `subset`, and on all, `all`; empty where there is no such row.
    """

    split: SplitName
    phases: list[str]
    truths: list[str]
    rows: list[RowSummary]
    ugsm_on_subset: dict[str, dict[str, Spread]]


@dataclass(frozen=True)
class TableSummary:
    """A table with all that is needed to say how it came about.

    Attributes:
        name: of the table, such as `table1`.
        title: in words.
        seeds: that were asked for.
        conditions: what `conditions.claim` noted; None where it is not there.
        machines: that the results came from, see `machine.facts`.
        splits: results.
    """

    name: str
    title: str
    seeds: list[int]
    conditions: dict[str, Any] | None
    machines: list[dict[str, Any]]
    splits: list[SplitSummary]

    def to_json(self) -> dict[str, Any]:
        """All of it by name, ready for JSON."""
        return asdict(self)


def summarised(spec: TableSpec, out: Path, seeds: Sequence[int]) -> TableSummary:
    """The numbers of a table, from the results that are there.

    Args:
        spec: the table.
        out: folder of all results.
        seeds: that the table is meant to have.
    """
    conditions = conditions_of(out)
    of_user = bool(conditions and conditions["slices"])
    found = {
        split: {row.unit: results_of(row.unit, split, out, seeds) for row in spec.rows}
        for split in spec.splits
    }
    return TableSummary(
        name=spec.name,
        title=spec.title,
        seeds=list(seeds),
        conditions=conditions,
        machines=machines_of(
            result
            for by_unit in found.values()
            for results in by_unit.values()
            for result in results.values()
        ),
        splits=[
            _split(spec, split, by_unit, out, seeds, of_user=of_user)
            for split, by_unit in found.items()
        ],
    )


def results_of(name: str, split: SplitName, out: Path, seeds: Sequence[int]) -> Results:
    """The result of the unit on each seed that is done."""
    found = {seed: result_of(Unit(split, seed, name), out) for seed in seeds}
    return {seed: result for seed, result in found.items() if result is not None}


def paper_numbers(table: str, row: str | None) -> dict[str, float] | None:
    """The paper's numbers by measure, as printed there; None if it has no such row."""
    text = files("matphase.reproduce").joinpath("paper_tables.csv").read_text("utf-8")
    for line in csv.DictReader(text.splitlines()):
        if (line.pop("table"), line.pop("row")) == (table, row):
            return {measure: float(value) for measure, value in line.items() if value}
    return None


# --- one split ------------------------------------------------------------------------------------


def _split(
    spec: TableSpec,
    split: SplitName,
    found: dict[str, Results],
    out: Path,
    seeds: Sequence[int],
    *,
    of_user: bool,
) -> SplitSummary:
    best = found.get(MATPHASE) or results_of(MATPHASE, split, out, seeds)
    first = next((result for results in found.values() for result in results.values()), None)
    # on a user's slices all seeds test the same block
    same_pixels = split == "blocked" and of_user
    rows = [
        _row(spec.name, row, found[row.unit], best, seeds, same_pixels=same_pixels)
        for row in spec.rows
    ]
    subsets: dict[str, dict[str, Spread]] = {}
    if any(row.on_all_pixels is False for row in rows):
        subsets = _on_subset(results_of("ugsm", split, out, seeds))
    return SplitSummary(
        split=split,
        phases=first["phases"] if first else [],
        truths=list(first["scores"]) if first else [],
        rows=rows,
        ugsm_on_subset=subsets,
    )


def _row(
    table: str,
    row: TableRow,
    found: Results,
    best: Results,
    seeds: Sequence[int],
    *,
    same_pixels: bool,
) -> RowSummary:
    results = list(found.values())
    truths = list(results[0]["scores"]) if results else []
    per_seed = {
        truth: [_flat(result["scores"][truth], result["phases"]) for result in results]
        for truth in truths
    }
    return RowSummary(
        title=row.title,
        unit=row.unit,
        seeds=list(found),
        missing_seeds=[seed for seed in seeds if seed not in found],
        on_all_pixels=all(result["on_all_pixels"] for result in results) if results else None,
        seconds=round(sum(result["seconds"] for result in results), 1),
        parameters=results[0]["parameters"] if results else None,
        macs_per_pixel=Spread.of(result["macs_per_pixel"] for result in results),
        pixels_per_second=Spread.of(1 / result["seconds_per_pixel"] for result in results),
        scores={
            truth: {measure: Spread.of(one[measure] for one in all_) for measure in all_[0]}
            for truth, all_ in per_seed.items()
        },
        matphase_minus_row={}
        if row.unit == MATPHASE
        else _leads(best, found, same_pixels=same_pixels),
        paper=paper_numbers(table, row.paper),
    )


def _flat(scores: dict[str, Any], phases: Sequence[str]) -> dict[str, float | None]:
    """The measures of `evaluation.score_row` without nesting."""
    flat: dict[str, float | None] = {}
    for name in ("F1", "F1_pooled", "boundary_F1", "volume_fraction_error"):
        # of a few random pixels there is no boundary F1 of any phase
        by_phase = scores[name] or dict.fromkeys(phases)
        flat.update({f"{name} {phase}": by_phase[phase] for phase in phases})
    for name in ("ACC_best5", "ACC_low5"):
        flat[name], flat[f"{name}_sd"] = scores[name]["mean"], scores[name]["sd"]
    return {**flat, **{name: scores[name] for name in ("ACC", "mIU", "fIU", "ECE")}}


def _leads(best: Results, row: Results, *, same_pixels: bool) -> dict[str, Lead]:
    """MatPhase minus row against each truth, over the seeds that both have."""
    seeds = [seed for seed in best if seed in row]
    if not seeds:
        return {}
    first = best[seeds[0]]
    measures = {
        "mIU": "mIU",
        "fIU": "fIU",
        "ACC": "ACC",
        **{f"F1_pooled {phase}": f"F1:{index}" for index, phase in enumerate(first["phases"])},
    }
    leads = {}
    for truth in first["scores"]:
        in_part = not all(row[seed]["on_all_pixels"] for seed in seeds)
        kept = "subset_block_confusions" if in_part else "block_confusions"
        ours = _confusions(best, seeds, truth, kept)
        theirs = _confusions(row, seeds, truth, "block_confusions")
        leads[truth] = Lead(
            seeds=seeds,
            on_all_pixels=not in_part,
            measures={
                name: _compared(
                    ours, theirs, measure, 100 if name == "ACC" else 1, same_pixels=same_pixels
                )
                for name, measure in measures.items()
            },
        )
    return leads


def _confusions(found: Results, seeds: Sequence[int], truth: str, kept: str) -> BlocksBySeed:
    return {seed: np.array(found[seed][kept][truth], np.int64) for seed in seeds}


def _compared(
    ours: BlocksBySeed, theirs: BlocksBySeed, measure: str, factor: int, *, same_pixels: bool
) -> dict[str, float | bool | None]:
    found = difference(ours, theirs, measure, same_pixels=same_pixels)
    assert found is not None  # both have these seeds
    return {
        name: value if value is None or isinstance(value, bool) else factor * value
        for name, value in found.to_json().items()
    }


def _on_subset(ugsm: Results) -> dict[str, dict[str, Spread]]:
    known = [result for result in ugsm.values() if "subset_of_pixels" in result]
    return {
        truth: {
            "subset": Spread.of(result["subset_of_pixels"][truth] for result in known),
            "all": Spread.of(result["scores"][truth]["mIU"] for result in known),
        }
        for truth in (known[0]["subset_of_pixels"] if known else ())
    }
