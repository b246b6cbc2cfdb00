"""The tables of ablation.py, and what others need of its results."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from common import recorded

from matphase.images.phases import PhaseTable
from matphase.reproduce.comparison import difference
from matphase.reproduce.machine import named
from matphase.reproduce.page import difference_cell, grid, mean_sd
from matphase.reproduce.protocol import Protocol
from matphase.scores.bootstrap import Interval

PHASES = PhaseTable.from_names(("pore", "carbon", "nickel"))
TRUTHS = ("measured", "exact")
PAPER = "paper"
"""The condition that the reproduction has, too."""
Results = dict[str, dict[str, list[dict[str, Any]]]]
"""By condition and model, seed by seed."""
Seeds = dict[int, dict[str, Any]]
"""Scores and block confusions of one row, by seed."""
Worth = dict[str, list[Interval | None]]
"""By condition, what alignment changes there."""
BY_ALIGNED = "vector, aligned"
"""The scaling that learned from aligned validation labels."""


@dataclass(frozen=True)
class View:
    """A row of a table: one way to read the results of a model.

    Attributes:
        title: in the table.
        name: of the model.
        answer: of UGSM alone, or of the whole.
        scaling: of its probabilities: none, vector, or `BY_ALIGNED`.
    """

    title: str
    name: str
    answer: str = "whole"
    scaling: str = "none"


LADDER = (
    View("MatPhase (paper)", "matphase"),
    View("+ no curriculum", "no_curriculum"),
    View("+ dropout .1 in place of .5", "dropout"),
    View("+ trained in two halves", "halves"),
    View("+ labels aligned between them", "aligned"),
    View("+ 5 slices", "deep"),
    View("+ LCGAR sees the image beyond its patch", "padless"),
    View("+ scaled by validation slices, their labels aligned", "padless", scaling=BY_ALIGNED),
)
"""One piece more a row."""
BEST = View("best", "padless", scaling=BY_ALIGNED)
FIT_LIKE_BEST = "deep"
"""A model that was fitted whole, in about the time that the best takes."""
CEILING = View("the same network, trained on exact labels", "padless_ceiling", scaling="vector")
BESIDE = (
    BEST,
    View("not scaled", "padless"),
    View("scaled by what measured validation labels teach", "padless", scaling="vector"),
    View("without LCGAR", "padless", answer="ugsm", scaling=BY_ALIGNED),
    View("without LCGAR, not scaled", "padless", answer="ugsm"),
    View("LCGAR with zeros beyond its patch", "deep", scaling=BY_ALIGNED),
    View("and with deferral, learned in-sample", "gain", scaling=BY_ALIGNED),
    View("and 1 slice", "aligned", scaling=BY_ALIGNED),
    View("and 3 slices", "deep3", scaling=BY_ALIGNED),
    View("and 7 slices", "deep7", scaling=BY_ALIGNED),
    View("and labels not aligned", "halves5", scaling=BY_ALIGNED),
    View("and 1 slice, labels not aligned", "halves", scaling=BY_ALIGNED),
    View("and 1 slice, labels not aligned, one half", "dropout", scaling=BY_ALIGNED),
    CEILING,
)
"""What the best is compared with, besides the rows of table 3."""
ALIGNMENT = (
    View("alignment", "deep"),
    View("UGSM: alignment", "deep", answer="ugsm"),
    View("scaled: alignment", "deep", scaling=BY_ALIGNED),
)
"""Ways to see what alignment changes; of `NOT_ALIGNED` the same is seen."""
NOT_ALIGNED = "halves5"
REPRODUCED = {"matphase": "lcgar_matphase", "no_curriculum": "lcgar_no_curriculum"}
"""Models that the reproduction has measured under other names."""
BASELINES = {
    "lcgar_matphase": "MatPhase",
    "ugsm": "UGSM",
    "unet": "U-Net",
    "mcd_unet": "MCD U-Net",
    "fcn": "FCN",
    "segnet": "SegNet",
    "deeplabv3": "DeepLabV3",
    "manet": "MANet",
    "unetpp": "U-Net++",
    "local_unet": "Local U-Net",
    "resnet18": "ResNet-18 †",
    "resnet34": "ResNet-34 †",
    "resnet50": "ResNet-50 †",
    "adapted_lcgar": "Adapted-LCGAR",
}
"""Rows of table 3 by the reproduction's names."""


def report(results: Results, preset: str) -> str:
    """The tables as Markdown."""
    paper = dict(results.get(PAPER, {}))
    for name, other in REPRODUCED.items():
        seeds = reproduced(preset).get(other, {})
        paper[name] = [
            {"answers": {"whole, none": one}, "seed": seed} for seed, one in seeds.items()
        ]
    worth = {condition: alignment(found) for condition, found in results.items()}
    return "\n\n".join(
        [
            "# The gain of each piece",
            f"Recipe `paper`, preset `{preset}` of `matphase reproduce`, split blocked; mean ± SD "
            "over the seeds, F1 against exact labels. Gains are differences of mIU to the row "
            "above, over the seeds that both have, with a 95 % interval (paired block bootstrap "
            "of seeds and blocks).",
            ladder_table(paper),
            "## Beside the best",
            "The best, as in the preset of that name, has labels aligned between two halves of "
            "training, 5 slices, dropout .1, no curriculum, an LCGAR whose convolutions see the "
            "image beyond its patch, and a vector scaling that aligned validation labels teach; of "
            'the others it says what is different (those with "and" have zeros beyond the patch, '
            "too). The last column is the best's mIU minus that of the row, "
            "against exact labels. Validation is mIU against measured labels on slices from "
            "which only scalings learned; settings are chosen there.",
            comparison_table({view.title: seen_by(view, paper) for view in BESIDE}, paper),
            "## Beside the rows of table 3",
            "As the reproduction has measured them. † on random pixels of the test images.",
            comparison_table(baselines(preset), paper),
            "F1 of the best minus that of the row, against exact labels:",
            phases_table(baselines(preset), seen_by(BEST, paper)),
            "## The goals",
            goals(paper, worth, preset),
            "## Other recipes and displacements",
            "mIU against exact labels, of 5 slices without scaling; what alignment changes there, "
            "in its UGSM alone, and where both are scaled by aligned validation labels. Without "
            "alignment the network is trained in two halves, too. Displacements, and mIU of "
            "training labels against exact ones, are means.",
            conditions_table(results, worth),
            *trained_on(results),
        ]
    )


def ladder_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """One piece more a row."""
    header = [
        "",
        "seeds",
        *(f"mIU {truth}" for truth in TRUTHS),
        *(f"gain {truth}" for truth in TRUTHS),
    ]
    lines, above = [], None
    for view in LADDER:
        if seeds := seen_by(view, found):
            gains = (
                difference_cell(gain(seeds, above, truth)) if above else "" for truth in TRUTHS
            )
            number = str(len(seeds))
            lines.append([view.title, number, *means(seeds), *gains, *details(seeds)])
            above = seeds
    return grid([*header, *DETAILS], lines)


def comparison_table(others: dict[str, Seeds], found: dict[str, list[dict[str, Any]]]) -> str:
    """The best against others."""
    best = seen_by(BEST, found)
    header = ["", "seeds", "validation", *(f"mIU {truth}" for truth in TRUTHS), *DETAILS]
    lines = [
        [
            title,
            str(len(seeds)),
            validation(seeds),
            *means(seeds),
            *details(seeds),
            "" if title == BEST.title else difference_cell(gain(best, seeds, "exact")),
        ]
        for title, seeds in others.items()
        if seeds
    ]
    return grid([*header, "best minus row"], lines)


def phases_table(others: dict[str, Seeds], best: Seeds) -> str:
    """How much higher the best's F1 is, phase by phase."""
    lines = [
        [
            title,
            *(difference_cell(gain(best, seeds, "exact", f"F1:{k}")) for k in range(len(PHASES))),
        ]
        for title, seeds in others.items()
        if seeds
    ]
    return grid(["", *PHASES.names], lines)


def goals(found: dict[str, list[dict[str, Any]]], worth: Worth, preset: str) -> str:
    """What was asked for, and whether it is so."""
    best, ceiling = seen_by(BEST, found), seen_by(CEILING, found)
    others = baselines(preset)
    over = {title: gain(best, seeds, "exact") for title, seeds in others.items()}
    lines = [["seeds of the best", str(len(best)), ""]]
    if least := lowest(over.values()):
        enough = least.difference >= 0.03 and all(one.low > 0 for one in over.values() if one)
        lines.append(
            [
                "mIU at least .03 over every row of table 3",
                f"least {difference_cell(least)}",
                yes(enough),
            ]
        )
    if worst := lowest(
        gain(best, seeds, "exact", f"F1:{k}")
        for seeds in others.values()
        for k in range(len(PHASES))
    ):
        lines.append(["no phase's F1 worse than in any", f"worst {difference_cell(worst)}",
                      yes(worst.difference >= 0)])  # fmt: skip
    if best and ceiling:
        common = sorted(best.keys() & ceiling.keys())
        ours, theirs = (float(np.mean(scores(s, "exact", common))) for s in (best, ceiling))
        ratio = ours / theirs
        lines.append(["at least 97 % of training on exact labels", f"{100 * ratio:.1f} %",
                      yes(ratio >= 0.97)])  # fmt: skip
        error = float(np.mean([best[seed]["scores"]["exact"]["ECE"] for seed in common]))
        lines.append(["ECE against exact labels under .02", f"{error:.4f}", yes(error < 0.02)])
    if worst := lowest(one for there in worth.values() for one in there):
        lines.append(
            [
                "alignment loses at most .003 under any condition",
                f"worst {difference_cell(worst)}",
                yes(worst.difference >= -0.003),
            ]
        )
    return grid(["goal", "measured", "reached"], lines)


def lowest(differences: Iterable[Interval | None]) -> Interval | None:
    """The smallest of those that there are."""
    there = (one for one in differences if one)
    return min(there, key=lambda one: one.difference, default=None)


def yes(reached: bool) -> str:
    """In a word."""
    return "yes" if reached else "no"


def conditions_table(results: Results, worth: Worth) -> str:
    """What alignment changes, under the paper's conditions and others."""
    header = ["", "seeds", "not aligned", "aligned", *(view.title for view in ALIGNMENT)]
    header += ["labels before", "labels after", "moved by px"]
    lines = []
    for condition, found in results.items():
        before, after = (seen_by(View("", name), found) for name in (NOT_ALIGNED, "deep"))
        if common := before.keys() & after.keys():
            scored = (mean_sd(scores(seeds, "exact", common)) for seeds in (before, after))
            gains = map(difference_cell, worth[condition])
            moved = labels_moved([one for one in found["deep"] if one["seed"] in common])
            lines.append([condition, str(len(common)), *scored, *gains, *moved])
    return grid(header, lines)


def trained_on(results: Results) -> list[str]:
    """A line a machine; where two share a seed, that of the fewer models names them."""
    models: dict[str, dict[tuple[str, int], list[str]]] = {}
    together: Counter[tuple[str, int]] = Counter()
    for condition, rows in results.items():
        for name, seeds in rows.items():
            for one in seeds:
                where = (condition, one["seed"])
                there = models.setdefault(named(one["fit"]["machine"]), {})
                there.setdefault(where, []).append(name)
                together[where] += 1
    lines = []
    for machine, there in models.items():
        what = []
        for where, names in sorted(there.items()):
            only = f" ({', '.join(names)})" if 2 * len(names) < together[where] else ""
            what.append(f"{where[0]}, seed {where[1]}{only}")
        lines.append(f"Trained on {machine}: {'; '.join(what)}.")
    return lines


def alignment(found: dict[str, list[dict[str, Any]]]) -> list[Interval | None]:
    """What alignment changes under one condition, against exact labels; as `ALIGNMENT` sees it."""
    return [
        gain(seen_by(view, found), seen_by(replace(view, name=NOT_ALIGNED), found), "exact")
        for view in ALIGNMENT
    ]


def labels_moved(seeds: list[dict[str, Any]]) -> list[str]:
    """Of the training labels: mIU before and after, and the mean displacement."""
    quality = [one["training labels mIU"] for one in seeds]
    moved = [one["alignment"]["mean_displacement_px"] for one in seeds]
    return [
        *(f"{np.mean([one[when] for one in quality]):.3f}" for when in ("before", "after")),
        f"{np.mean(moved):.2f}",
    ]


# --- reading results ------------------------------------------------------------------------------


def seen_by(view: View, found: dict[str, list[dict[str, Any]]]) -> Seeds:
    """The results that a view shows; none where they are not there."""
    which = f"{view.answer}, {view.scaling}"
    return {one["seed"]: one["answers"][which] for one in found.get(view.name, [])}


def ablated(preset: str) -> Results:
    """The content of results/ablation.json, if it is of that preset as it is now."""
    content = recorded("ablation")
    same = bool(content) and Protocol.named(preset).is_recorded_by(content["protocol"])
    found: Results = content["results"] if same else {}
    return found


def baselines(preset: str) -> dict[str, Seeds]:
    """The rows of table 3, as far as the reproduction has measured them."""
    found = reproduced(preset)
    return {title: found[name] for name, title in BASELINES.items() if name in found}


@cache
def reproduced(preset: str) -> dict[str, Seeds]:
    """Committed results of the reproduction by name, if they are of that preset."""
    content = recorded("reproduction/units")
    found: dict[str, Seeds] = {}
    if not Protocol.named(preset).is_recorded_by(content["protocol"]):
        return found
    for place, result in content["units"].items():
        if place.startswith("units/blocked/"):
            unit = result["unit"]
            found.setdefault(unit["name"], {})[int(unit["seed"])] = result
    return found


# --- cells ----------------------------------------------------------------------------------------

DETAILS = [*(f"F1 {name}" for name in PHASES.names), *(f"ECE {truth}" for truth in TRUTHS)]


def details(seeds: Seeds) -> list[str]:
    """F1 of each phase against exact labels, and ECE; means over the seeds."""
    exact = [one["scores"]["exact"] for one in seeds.values()]
    f1 = (np.mean([one["F1"][name] for one in exact]) for name in PHASES.names)
    errors = ([one["scores"][truth]["ECE"] for one in seeds.values()] for truth in TRUTHS)
    ece = ("-" if None in each else f"{np.mean(each):.4f}" for each in errors)
    return [*(f"{mean:.3f}" for mean in f1), *ece]


def means(seeds: Seeds) -> list[str]:
    """Of mIU, against measured and exact labels."""
    return [mean_sd(scores(seeds, truth, seeds)) for truth in TRUTHS]


def validation(seeds: Seeds) -> str:
    """MIU against measured validation labels, where it was measured."""
    found = [one.get("validation mIU", {}).get("measured") for one in seeds.values()]
    return "-" if None in found else mean_sd(found)


def scores(seeds: Seeds, truth: str, chosen: Any) -> list[float]:
    """MIU of the chosen seeds."""
    return [seeds[seed]["scores"][truth]["mIU"] for seed in chosen]


def gain(a: Seeds, b: Seeds, truth: str, measure: str = "mIU") -> Interval | None:
    """The measure of `a` minus that of `b`, over the seeds that both have; None without any.

    Raises:
        SystemExit: in a seed they were scored on different pixels.
    """
    ours, theirs = (
        {seed: np.array(one["block_confusions"][truth]) for seed, one in side.items()}
        for side in (a, b)
    )
    for seed in ours.keys() & theirs.keys():
        alike = all(side[seed].get("on_all_pixels", True) for side in (a, b))
        if alike and not np.array_equal(ours[seed].sum(axis=-1), theirs[seed].sum(axis=-1)):
            raise SystemExit(f"seed {seed}: two rows were not scored on the same pixels")
    return difference(ours, theirs, measure)
