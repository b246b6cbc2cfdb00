"""The gain of deferring to LCGAR only where it is expected to be right.

    python benchmarks/deferral.py OUT [--preset small] [--seeds 3]

On each of the reproduction's virtual electrodes (split blocked) UGSM is trained once, and all
local parts twice: on what UGSM says of its own training slices, as the paper has it, and out of
fold. From these networks come all rows: LCGAR's answer in place of UGSM's or both weighed, where
HCL-IDK says so or the deferral classifier; as they are, and scaled by a vector that is learned
from the same pixels as the deferral classifier.

OUT keeps the result of each seed and what is trained: a run that was stopped goes on. What an
output folder of `matphase reproduce` has of the same protocol may be copied, to save its time:
`protocol.json` and `electrodes/seedN` to the same names in OUT, and
`units/blocked/seedN/ugsm/ugsm.safetensors` to OUT/seedN/ugsm.safetensors.

With --preset quick the report is printed, not written to results/.
"""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from common import publish
from numpy.typing import NDArray

from matphase.learning.run import Run
from matphase.method import deferral, hcl, hcl_idk, local, scaling
from matphase.method.aggregate import aggregate
from matphase.method.fit import fold_numbers
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.method.segmenter import Segmenter
from matphase.networks.idk import IDKClassifier
from matphase.reproduce.conditions import claim, source_of
from matphase.reproduce.data import SplitData, split_data
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import difference_cell, grid
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.scoring import confusions_by_block
from matphase.reproduce.stages import Stages
from matphase.scores.comparison import difference
from matphase.scores.metrics.calibration import expected_calibration_error
from matphase.scores.metrics.confusion import metric_by_name
from matphase.scores.metrics.detection import auroc
from matphase.scores.trust import oracle_ceiling
from matphase.support.scratch import as_array

LEARNINGS = ("in-sample", "out-of-fold")
SHARES = (0.02, 0.05, 0.1, 0.2)
"""Of all pixels, that both ways defer alike."""
PAPER = "replace / wrong, in-sample"
TRUTHS = ("measured", "exact")

Answer = tuple[NDArray[np.uint8], NDArray[np.float32]]


@dataclass(frozen=True)
class Asked:
    """Both answers on a stack of slices.

    Attributes:
        known: UGSM's.
        where: LCGAR was asked.
        said: its answers there.
    """

    known: GlobalPrediction
    where: Partition
    said: LocalPrediction

    def fused(self, weight: NDArray[np.float32] | None) -> Answer:
        """The aggregated answer."""
        return aggregate(self.known, self.where, self.said, weight)


def main() -> None:
    """Run the seeds that are missing, and write results/deferral.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    protocol, out = Protocol.named(arguments.preset), arguments.out
    claim(out, protocol)
    cases = [Case("rows", seed) for seed in range(arguments.seeds)]
    seeds = list(run(cases, partial(rows, protocol, out), out).values())
    text = report(arguments.preset, seeds)
    if arguments.preset == "quick":
        print(text)
    else:
        publish("deferral", {"preset": arguments.preset, "seeds": seeds}, text)


# --- measuring ------------------------------------------------------------------------------------


def rows(protocol: Protocol, out: Path, case: Case, _: Path) -> dict[str, Any]:
    """All rows of a seed, ready for JSON; `out` keeps the trainings."""
    seed, settings = case.seed, protocol.settings
    data = split_data(source_of(protocol, None, seed, out), "blocked", seed, protocol)
    folder = out / f"seed{seed}"
    stages = Stages(settings, Run(seed, settings.precision, folder), data)
    segmenter = stages.fit_segmenter(data.pool)
    known = stages.predict(segmenter)[0]
    found: dict[str, Any] = {"rows": {}, "scaled": {}, "equal_share": {}, "local": {}}
    found["rows"]["UGSM"] = counts((known.labels, known.probabilities), data, protocol)
    fusions: tuple[Literal["replace", "soft"], ...] = ("replace", "soft")
    for learning in LEARNINGS:
        folds = protocol.folds if learning == "out-of-fold" else 0
        part = replace(
            stages,
            settings=settings.updated({"idk": {"folds": folds, "target": "gain"}}),
            run=Run(seed, settings.precision, folder / learning.replace("-", "_")),
        )
        learned, tested, truth, chooser = fitted(part, known, segmenter)
        if learning == "in-sample":
            alone = scaling.fit(learned.known.probabilities, truth, "vector", seed)
            answer = alone.answer(known.labels, known.probabilities)
            found["scaled"]["UGSM"] = counts(answer, data, protocol)
        for target, fusion in (
            (target, fusion) for target in ("wrong", "gain") for fusion in fusions
        ):
            used = chooser if target == "gain" else None
            before, answer = (
                each.fused(deferral.weights(used, each.known, each.where, each.said, fusion))
                for each in (learned, tested)
            )
            name = f"{fusion} / {target}, {learning}"
            found["rows"][name] = counts(answer, data, protocol)
            scaled = scaling.fit(before[1], truth, "vector", seed)
            found["scaled"][name] = counts(scaled.answer(*answer), data, protocol)
        score = deferral.predict(chooser, tested.known, tested.where, tested.said)
        found["local"][learning] = of_both(tested, score, data)
        found["equal_share"][learning] = at_equal_share(tested, score, data, protocol)
    return found


def fitted(
    stages: Stages, known: GlobalPrediction, segmenter: Segmenter
) -> tuple[Asked, Asked, NDArray[np.uint8], IDKClassifier]:
    """Train the local parts.

    Returns:
        both answers on the slices that the deferral classifier learns from, and on the test
        slices; the labels of the former; and the classifier.
    """
    pool, settings, stage_run = stages.data.pool, stages.settings, stages.run
    chosen, learned = stages.training_predictions(pool, segmenter)
    classifier, split = stages.fit_idk(chosen, learned)
    data = stages.local_pool(chosen, learned, split)
    answerer = local.kind(settings).fit(data, settings, stage_run)
    folds = fold_numbers(pool, chosen, max(1, settings.idk.folds))
    answers = list(hcl.training_answers(data, answerer, folds, settings, stage_run))
    chooser = deferral.fit(learned, answers, chosen.labels, settings.idk, stage_run)
    asked = Partition(np.concatenate([one.idk for one, _ in answers]), split.score)
    said = LocalPrediction(
        np.concatenate([one.labels for _, one in answers]),
        np.concatenate([one.probabilities for _, one in answers]),
    )
    parts = (as_array(part) for part in (learned.labels, learned.logits, learned.entropy))
    before = Asked(GlobalPrediction(*parts), asked, said)
    there = stages.predict_local(answerer, known, hcl_idk.predict(classifier, known, settings.idk))
    tested = Asked(known, there.asked, there.local)
    return before, tested, as_array(chosen.labels), chooser


def counts(answer: Answer, data: SplitData, protocol: Protocol) -> dict[str, Any]:
    """Confusions by block and calibration error, for both truths."""
    labels, probabilities = answer
    return {
        "confusions": confusions_by_block(labels, data, protocol),
        "ECE": {
            name: expected_calibration_error(probabilities, truth) for name, truth in data.truths
        },
    }


def of_both(asked: Asked, score: NDArray[np.float32], data: SplitData) -> dict[str, Any]:
    """Who is right where LCGAR is asked, and whether the scores know it."""
    labels, _ = asked.fused(None)
    inside = asked.where.idk
    found: dict[str, Any] = {
        "asked": float(inside.mean()),
        "answers_by_gain": float((score >= deferral.MIN_SCORE).sum() / inside.size),
    }
    for name, truth in data.truths:
        better = asked.said.labels == truth[inside]
        decisive = better != (asked.known.labels[inside] == truth[inside])
        found[name] = {
            "ceiling": oracle_ceiling(truth, asked.known.labels, labels, inside, len(data.phases)),
            "AUROC_idk": auroc(asked.where.score[inside], better, where=decisive),
            "AUROC_gain": auroc(score, better, where=decisive),
        }
    return found


def at_equal_share(
    asked: Asked, score: NDArray[np.float32], data: SplitData, protocol: Protocol
) -> dict[str, Any]:
    """LCGAR's answer at the same number of pixels, those of the highest score of either kind."""
    whole = asked.where.idk.size
    sizes = {f"{100 * share:g} %": round(share * whole) for share in SHARES}
    sizes["as gain chooses"] = int((score >= deferral.MIN_SCORE).sum())
    found: dict[str, Any] = {}
    for share, size in sizes.items():
        found[share] = {"pixels": min(size, len(score)) / whole}
        for target, ranks in (("wrong", asked.where.score[asked.where.idk]), ("gain", score)):
            weight = np.zeros(len(ranks), np.float32)
            weight[np.argsort(-ranks, kind="stable")[:size]] = 1
            found[share][target] = counts(asked.fused(weight), data, protocol)
    return found


# --- reporting ------------------------------------------------------------------------------------


def report(preset: str, seeds: list[dict[str, Any]]) -> str:
    """Tables over all seeds as Markdown."""
    text = [
        "# Deferral",
        f"`python benchmarks/deferral.py OUT --preset {preset} --seeds {len(seeds)}`: the "
        "reproduction's virtual electrodes, split blocked, trained on labels as measured. mIU is "
        "the mean over seeds; in brackets its difference from the paper's MatPhase (replace / "
        "wrong, in-sample) of the same table with the 95 % interval of the paired bootstrap over "
        "seeds and blocks.",
        "Fusion `replace` takes LCGAR's answer or UGSM's, `soft` weighs both by the score; target "
        "`wrong` is HCL-IDK's score, `gain` that of the deferral classifier.",
        "## As they are",
        rows_of([one["rows"] for one in seeds]),
        "## Scaled by a vector",
        "A weight and a bias a phase (`calibration.scaling`), here learned from the same pixels "
        "as the deferral classifier: what is left of a row's gain once the lean to rare phases is "
        "taken back, which the weights of the losses leave.",
        rows_of([one["scaled"] for one in seeds]),
        "## At equal share",
        "LCGAR's answer at as many pixels, those of the highest score: mIU, and the difference "
        "gain - wrong.",
        equal_shares(seeds),
        "## Who is right",
        "Shares of the pixels where LCGAR is asked, mIU of the oracle that takes whichever answer "
        "is right, and AUROC of the scores for LCGAR being the right one where one of both is.",
        both_of(seeds),
    ]
    return "\n\n".join(text)


def rows_of(seeds: list[dict[str, Any]]) -> str:
    """A line a row."""
    lines = []
    for name in seeds[0]:
        line = [name]
        for truth in TRUTHS:
            of_row, of_paper = (
                confusions([one[which] for one in seeds], truth) for which in (name, PAPER)
            )
            line.append(
                f"{mean_miu(of_row):.4f}{'' if name == PAPER else against(of_row, of_paper)}"
            )
        line += [f"{np.mean([one[name]['ECE'][truth] for one in seeds]):.4f}" for truth in TRUTHS]
        lines.append(line)
    header = ["", "mIU, measured", "mIU, exact", "ECE, measured", "ECE, exact"]
    return grid(header, lines)


def equal_shares(seeds: list[dict[str, Any]]) -> str:
    """A line a share and learning."""
    lines = []
    for learning in LEARNINGS:
        for share in seeds[0]["equal_share"][learning]:
            here = [one["equal_share"][learning][share] for one in seeds]
            line = [learning, share, f"{100 * np.mean([one['pixels'] for one in here]):.1f} %"]
            for truth in TRUTHS:
                wrong, gain = (
                    confusions([one[target] for one in here], truth) for target in ("wrong", "gain")
                )
                line += [f"{mean_miu(wrong):.4f}", f"{mean_miu(gain):.4f}{against(gain, wrong)}"]
            lines.append(line)
    header = ["learned", "share", "pixels", "wrong, measured", "gain, measured"]
    return grid([*header, "wrong, exact", "gain, exact"], lines)


def both_of(seeds: list[dict[str, Any]]) -> str:
    """A line a learning and truth."""
    lines = []
    for learning in LEARNINGS:
        found = [one["local"][learning] for one in seeds]
        asked, answers = (
            np.mean([one[name] for one in found]) for name in ("asked", "answers_by_gain")
        )
        for truth in TRUTHS:
            here = [one[truth] for one in found]
            inside = [one["ceiling"]["within_idk"] for one in here]
            line = [learning, truth, f"{100 * asked:.1f} %", f"{100 * answers:.1f} %"]
            line += [
                f"{100 * np.mean([one[name] for one in inside]):.2f} %"
                for name in ("only_local_right", "only_global_right", "both_wrong")
            ]
            line.append(f"{np.mean([one['ceiling']['oracle']['mIU'] for one in here]):.4f}")
            line += [
                f"{np.mean([one[name] for one in here]):.3f}"
                for name in ("AUROC_idk", "AUROC_gain")
            ]
            lines.append(line)
    header = ["learned", "labels", "asked", "gain takes LCGAR's", "only LCGAR right"]
    header += ["only UGSM right", "both wrong", "oracle mIU", "AUROC wrong", "AUROC gain"]
    return grid(header, lines)


def confusions(seeds: list[dict[str, Any]], truth: str) -> dict[int, Any]:
    """Block confusions of a row, by seed."""
    return {number: row["confusions"][truth] for number, row in enumerate(seeds)}


def mean_miu(row: dict[int, Any]) -> float:
    """The mean over seeds."""
    return float(
        np.mean([metric_by_name(np.sum(blocks, axis=0), "mIU") for blocks in row.values()])
    )


def against(row: dict[int, Any], other: dict[int, Any]) -> str:
    """The difference of both with its interval, in brackets."""
    return f" ({difference_cell(difference(row, other))})"


if __name__ == "__main__":
    main()
