"""The page on trust: does the uncertainty find the errors, and where do the errors lie."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matphase.reproduce.machine import described, machines_of
from matphase.reproduce.page import cell, grid, write_page
from matphase.reproduce.protocol import SplitName
from matphase.reproduce.results import Result, conditions_of
from matphase.reproduce.summary import Results, results_of
from matphase.reproduce.table_rows import MATPHASE, TRUST_UNITS
from matphase.reproduce.tables import conditions_text, seeds_text, split_text
from matphase.scores.anatomy import BOUNDARY_WIDTH
from matphase.scores.spread import NOTHING, Spread

NAME = "trust"
SPLIT: SplitName = "blocked"

_NAMES = {"ugsm": "UGSM", MATPHASE: "MatPhase", "out_of_fold": "MatPhase, out of fold"}
_METHODS = ("ugsm", MATPHASE)
_SOURCES = {"ugsm": "in sample", "out_of_fold": "out of fold"}
_DETECTORS = {
    "idk": "HCL-IDK",
    "entropy": "entropy",
    "mutual_information": "mutual information",
}


@dataclass(frozen=True)
class TrustUnit:
    """The numbers on trust of one unit.

    Attributes:
        seeds: that are done.
        missing_seeds: that are not.
        found: by section (`detectors`, `calibration`, `ceiling`, `by_distance`, `confusions`,
            `misregistration`, `label_noise`) and truth, the numbers that `trust` and `anatomy`
            name, each a `Spread`.
    """

    seeds: list[int]
    missing_seeds: list[int]
    found: dict[str, Any]

    def at(self, *place: str) -> Spread:
        """The number at a place in `found`; `NOTHING` where there is none."""
        value: Any = self.found
        for name in place:
            value = value.get(name, {}) if isinstance(value, dict) else {}
        return value if isinstance(value, Spread) else NOTHING

    def names(self, *place: str) -> list[str]:
        """The names at a place in `found`."""
        value: Any = self.found
        for name in place:
            value = value.get(name, {})
        return list(value)


@dataclass(frozen=True)
class TrustSummary:
    """The page's numbers, of the first split only.

    Attributes:
        seeds: that were asked for.
        conditions: what `conditions.claim` noted; None where it is not there.
        machines: that the results came from, see `machine.facts`.
        truths: labels that were scored against.
        units: by name.
    """

    seeds: list[int]
    conditions: dict[str, Any] | None
    machines: list[dict[str, Any]]
    truths: list[str]
    units: dict[str, TrustUnit]

    def to_json(self) -> dict[str, Any]:
        """All of it by name, ready for JSON."""
        return {"name": NAME, "split": SPLIT, **asdict(self)}


def write_trust(out: Path, seeds: Sequence[int]) -> list[Path]:
    """Write `trust.md`, `trust.csv` and `trust.json` of what is known.

    Args:
        out: folder of all results; the files are written into it, in place of older ones.
        seeds: that the page is meant to have.

    Returns:
        The files.

    Raises:
        OutputError: they cannot be written.
    """
    summary = trust_summary(out, seeds)
    header = ["unit", "section", "truth", "measure", "mean", "sd", "n_seeds"]
    table = (header, _csv_lines(summary))
    return write_page(out / NAME, trust_markdown(summary), summary.to_json(), table)


def trust_summary(out: Path, seeds: Sequence[int]) -> TrustSummary:
    """The numbers on trust, over the seeds that are done."""
    found = {name: results_of(name, SPLIT, out, seeds) for name in TRUST_UNITS}
    first = next((result for results in found.values() for result in results.values()), None)
    return TrustSummary(
        seeds=list(seeds),
        conditions=conditions_of(out),
        machines=machines_of(result for results in found.values() for result in results.values()),
        truths=list(first["scores"]) if first else [],
        units={name: _unit(results, seeds) for name, results in found.items()},
    )


# --- numbers --------------------------------------------------------------------------------------


def _unit(results: Results, seeds: Sequence[int]) -> TrustUnit:
    return TrustUnit(
        seeds=list(results),
        missing_seeds=[seed for seed in seeds if seed not in results],
        found=_spread([_sections(result) for result in results.values()]) if results else {},
    )


def _sections(result: Result) -> dict[str, Any]:
    """The numbers on trust of one result, by section and truth."""
    places, truths = result["anatomy"], list(result["scores"])
    sections: dict[str, Any] = {
        "detectors": result.get("detectors", {}),
        "learned_from": {"measured": {"error_rate": result.get("error_rate_learned_from")}},
        "calibration": {truth: {"ECE": result["scores"][truth]["ECE"]} for truth in truths},
        "ceiling": result.get("ceiling", {}),
        "by_distance": {truth: _bins(places[truth]["by_distance"]) for truth in truths},
        "confusions": {truth: places[truth]["confusions"] for truth in truths},
    }
    if "misregistration" in places:
        noise, differing = places["label_noise"], places["misregistration"]["differing"]
        share = differing / noise["pixels"] if noise["pixels"] else None
        sections["misregistration"] = {
            "exact": {**places["misregistration"], "differing_share": share}
        }
        sections["label_noise"] = {
            "exact": {
                "agreement": noise["agreement"],
                "by_distance": _bins(noise["by_distance"]),
            }
        }
    return sections


def _bins(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Bins of distance by their ends in words instead of in numbers."""
    return {
        _ends(entry["above"], entry["up_to"]): {
            name: value for name, value in entry.items() if name not in ("above", "up_to")
        }
        for entry in entries
    }


def _ends(above: float, up_to: float | None) -> str:
    if up_to is None:
        return f"beyond {above:g} px"
    return f"{above:g} to {up_to:g} px" if above else f"up to {up_to:g} px"


def _spread(trees: Sequence[Any]) -> Any:
    """Nested numbers, one tree a seed, as one tree of the same names with spreads."""
    if isinstance(trees[0], dict):
        return {name: _spread([tree[name] for tree in trees]) for name in trees[0]}
    return Spread.of(trees)


def _csv_lines(summary: TrustSummary) -> list[list[Any]]:
    return [
        [name, *place[:2], "/".join(place[2:]), value.mean, value.sd, value.n_seeds]
        for name, unit in summary.units.items()
        for place, value in _leaves(unit.found)
        if value.n_seeds
    ]


def _leaves(tree: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Spread]]:
    if isinstance(tree, Spread):
        yield place, tree
        return
    for name, branch in tree.items():
        yield from _leaves(branch, (*place, name))


# --- the page -------------------------------------------------------------------------------------


def trust_markdown(summary: TrustSummary) -> str:
    """The page in Markdown."""
    title = "# Trust: does the uncertainty find the errors, and where do the errors lie"
    counts = [len(unit.seeds) for unit in summary.units.values() if unit.seeds]
    if not counts:
        return f"{title}\n\nNo results yet."
    parts = [
        title,
        f"{conditions_text(summary.conditions)}Numbers are mean ± SD over seeds.",
        f"Split `{SPLIT}`, {seeds_text(counts, len(summary.seeds))}. "
        f"{split_text(SPLIT, summary.conditions)}",
    ]
    if len({len(unit.seeds) for unit in summary.units.values()}) > 1:
        done = (f"{_NAMES[name]} {len(unit.seeds)}" for name, unit in summary.units.items())
        parts.append(f"Seeds done: {'; '.join(done)}.")
    for section in (_detectors, _calibration, _ceiling, _places, _misregistration):
        parts += section(summary)
    return "\n\n".join([*parts, described(summary.machines)])


def _by_truth(summary: TrustSummary, table: Callable[[str], str]) -> list[str]:
    return [
        part for truth in summary.truths for part in (f"### Against {truth} labels", table(truth))
    ]


def _detectors(summary: TrustSummary) -> list[str]:
    def table(truth: str) -> str:
        rate = summary.units["ugsm"].at("detectors", truth, "error_rate")
        rows = [
            [
                source,
                detector,
                *(_per_cent(at(name)) for name in ("share", "recall", "precision")),
                *(cell(at(name), 3) for name in ("AUROC", "AURC")),
            ]
            for unit, source in _SOURCES.items()
            for key, detector in _DETECTORS.items()
            for at in [_place(summary.units[unit], "detectors", truth, key)]
        ]
        header = ["HCL-IDK learned", "flagged by", "flagged %", "recall %", "precision %"]
        return f"UGSM is wrong in {_per_cent(rate)} % of the pixels.\n\n" + grid(
            [*header, "AUROC", "AURC"], rows, words=2
        )

    text = (
        "Entropy and mutual information flag as many pixels as HCL-IDK does, the most uncertain "
        "ones: were the uncertain pixels the wrong ones (assumption A1 of the paper), they would "
        "find as much. Recall is the share of UGSM's wrong pixels that is flagged; by chance it "
        "would be the flagged share of all. Precision is the share of flagged pixels that is "
        "wrong. HCL-IDK learns in sample from slices that UGSM trained on, or out of fold from "
        "slices that the network had not seen, which itself learned from fewer."
    )
    rates = ", ".join(
        f"{source} {_per_cent(summary.units[unit].at('learned_from', 'measured', 'error_rate'))} %"
        for unit, source in _SOURCES.items()
    )
    text += f" On the slices that HCL-IDK learns from, the network is wrong in: {rates}."
    return ["## Who finds the wrong pixels", text, *_by_truth(summary, table)]


def _place(unit: TrustUnit, *place: str) -> Callable[[str], Spread]:
    return lambda name: unit.at(*place, name)


def _calibration(summary: TrustSummary) -> list[str]:
    table = grid(
        ["ECE", *(f"against {truth}" for truth in summary.truths)],
        [
            [
                _NAMES[name],
                *(
                    cell(summary.units[name].at("calibration", truth, "ECE"), 3)
                    for truth in summary.truths
                ),
            ]
            for name in _METHODS
        ],
    )
    return ["## Calibration", table]


def _ceiling(summary: TrustSummary) -> list[str]:
    def table(truth: str) -> str:
        inside = ("both_right", "only_global_right", "only_local_right", "both_wrong")
        header = ["method", "UGSM mIU", "with LCGAR", "oracle"]
        header += ["both right %", "only UGSM %", "only LCGAR %", "both wrong %"]
        return grid(
            header,
            [
                [
                    _NAMES[name],
                    *(
                        cell(summary.units[name].at("ceiling", truth, part, "mIU"), 3)
                        for part in ("global", "aggregate", "oracle")
                    ),
                    *(
                        _per_cent(summary.units[name].at("ceiling", truth, "within_idk", share))
                        for share in inside
                    ),
                ]
                for name in (MATPHASE, "out_of_fold")
            ],
        )

    text = (
        "The oracle takes, in each uncertain pixel, whichever of UGSM's and LCGAR's labels is "
        "right. The shares are of the uncertain pixels."
    )
    return ["## How much LCGAR gains, and could gain", text, *_by_truth(summary, table)]


def _places(summary: TrustSummary) -> list[str]:
    def table(truth: str) -> str:
        return f"{_distance_table(summary, truth)}\n\n{_confusion_table(summary, truth)}"

    text = (
        "First by distance from the true boundary: how many pixels there are wrong, and what share "
        "of all errors that is. Then by the two phases that are taken for each other, at a "
        f"boundary (up to {BOUNDARY_WIDTH:g} px) and in the bulk; the two columns of a method add "
        "up to 100 %."
    )
    return ["## Where the errors lie", text, *_by_truth(summary, table)]


def _distance_table(summary: TrustSummary, truth: str) -> str:
    units = [summary.units[name] for name in _METHODS]
    bins = next((names for unit in units if (names := unit.names("by_distance", truth))), [])
    columns = [("wrong %", "error_rate"), ("of errors %", "share_of_errors")]
    header = ["distance", "of pixels %"]
    header += [f"{_NAMES[name]} {title}" for title, _ in columns for name in _METHODS]
    return grid(
        header,
        [
            [
                which,
                _per_cent(_known(unit.at("by_distance", truth, which, "share") for unit in units)),
                *(
                    _per_cent(unit.at("by_distance", truth, which, measure))
                    for _, measure in columns
                    for unit in units
                ),
            ]
            for which in bins
        ],
    )


def _confusion_table(summary: TrustSummary, truth: str) -> str:
    units = [summary.units[name] for name in _METHODS]
    pairs = next((names for unit in units if (names := unit.names("confusions", truth))), [])
    where = ("boundary", "bulk")
    return grid(
        ["phases", *(f"{_NAMES[name]} {part} %" for name in _METHODS for part in where)],
        [
            [
                pair,
                *(
                    _per_cent(unit.at("confusions", truth, pair, part))
                    for unit in units
                    for part in where
                ),
            ]
            for pair in pairs
        ],
    )


def _misregistration(summary: TrustSummary) -> list[str]:
    units = {name: summary.units[name] for name in _METHODS}
    if not any(unit.names("misregistration") for unit in units.values()):
        return []
    agreement = _known(unit.at("label_noise", "exact", "agreement") for unit in units.values())
    text = (
        f"Measured labels agree with the exact ones in {_per_cent(agreement)} % of the pixels. "
        "Of the pixels where a method differs from the measured label, and is counted wrong "
        "there, the method itself may be right:"
    )
    columns = ("differing_share", "method_right", "label_right", "both_wrong")
    table = grid(
        ["method", "differs %", "method right %", "label right %", "both wrong %"],
        [
            [
                _NAMES[name],
                *(_per_cent(unit.at("misregistration", "exact", column)) for column in columns),
            ]
            for name, unit in units.items()
        ],
    )
    return ["## Errors of the labels themselves", text, table]


def _per_cent(value: Spread) -> str:
    return cell(value, 1, 100)


def _known(values: Iterable[Spread]) -> Spread:
    """Of a number that does not depend on the unit, that of most seeds."""
    return max(values, key=lambda value: value.n_seeds)
