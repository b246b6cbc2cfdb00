"""What it is worth to defer to LCGAR where it is expected to be the one that is right.

    python benchmarks/deferral.py OUT [--preset small] [--seeds 3]

On each of the reproduction's virtual electrodes (split blocked) UGSM is trained once, and all
local parts twice: on what UGSM says of its own training slices, as the paper has it, and out of
fold. From these networks come all rows: LCGAR's answer in place of UGSM's or both weighed, where
HCL-IDK says so or the deferral classifier; as they are, and scaled by a vector that is learned
from the same pixels as the deferral classifier.

OUT keeps a file a seed and what is trained, so that a run that was stopped goes on. What an output
folder of `matphase reproduce` has of the same protocol would be made here, too, and may be copied:
`protocol.json` and `electrodes/seedN` to the same names in OUT, and
`units/blocked/seedN/ugsm/ugsm.safetensors` to OUT/seedN/ugsm.safetensors.

With --preset quick the report is printed, not written to results/.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import keep, markdown_table, write_results
from numpy.typing import NDArray

from matphase.learning.trainer import Run
from matphase.learning.weights import phase_weights
from matphase.method import deferral, hcl_idk, local, scaling, ugsm
from matphase.method.aggregate import aggregate
from matphase.method.fit import (
    fold_numbers,
    local_answers_to_learn_from,
    partition_to_learn_from,
    predictions_to_learn_from,
)
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.networks.idk import IDKClassifier
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.runner import claim
from matphase.reproduce.trial import Trial, electrode, trial
from matphase.scores.bootstrap import paired_difference
from matphase.scores.metrics.calibration import expected_calibration_error
from matphase.scores.metrics.confusion import block_confusions, metric_by_name
from matphase.scores.metrics.detection import auroc
from matphase.scores.trust import oracle_ceiling

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
    protocol, seeds = Protocol.named(arguments.preset), []
    claim(arguments.out, protocol, None)
    for seed in range(arguments.seeds):
        file = arguments.out / f"seed{seed}.json"
        if not file.exists():
            found = one(seed, protocol, arguments.out)
            keep(file, found)
            print(f"seed {seed} is done", flush=True)
        seeds.append(json.loads(file.read_text("utf-8")))
    text = report(arguments.preset, seeds)
    if arguments.preset == "quick":
        print(text)
    else:
        write_results("deferral", {"preset": arguments.preset, "seeds": seeds}, text)


# --- measuring ------------------------------------------------------------------------------------


def one(seed: int, protocol: Protocol, out: Path) -> dict[str, Any]:
    """All rows of a seed, ready for JSON."""
    source = electrode(protocol, seed, out / "electrodes" / f"seed{seed}")
    data, settings = trial(source, "blocked", seed, protocol), protocol.settings
    folder = out / f"seed{seed}"
    network = ugsm.fit(
        *(data.pool.images, data.pool.labels, len(data.phases)),
        *(settings.ugsm, settings.data, Run(seed, settings.precision, folder)),
    )
    known = ugsm.predict(
        network, data.images, settings.ugsm, seed=seed, precision=settings.precision
    )
    found: dict[str, Any] = {"rows": {}, "scaled": {}, "equal_share": {}, "local": {}}
    found["rows"]["UGSM"] = counts((known.labels, known.probabilities), data, protocol)
    for learning in LEARNINGS:
        run = Run(seed, settings.precision, folder / learning.replace("-", "_"))
        folds = protocol.folds if learning == "out-of-fold" else 0
        learned, tested, truth, chooser = fitted(data, known, network, protocol, folds, run)
        if learning == "in-sample":
            alone = scaling.fit(learned.known.probabilities, truth, "vector", seed)
            answer = alone.answer(known.labels, known.probabilities)
            found["scaled"]["UGSM"] = counts(answer, data, protocol)
        for target, fusion in (
            (target, fusion) for target in ("wrong", "gain") for fusion in ("replace", "soft")
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
    data: Trial,
    known: GlobalPrediction,
    network: Any,
    protocol: Protocol,
    folds: int,
    run: Run,
) -> tuple[Asked, Asked, NDArray[np.uint8], IDKClassifier]:
    """Train the local parts.

    Returns:
        both answers on the slices that the deferral classifier learns from, and on the test
        slices; the labels of the former; and the classifier.
    """
    settings = protocol.settings.updated({"idk": {"folds": folds, "target": "gain"}})
    chosen, learned = predictions_to_learn_from(data.pool, network, settings, data.phases, run)
    classifier = hcl_idk.fit(learned, chosen.labels, settings.idk, run)
    split = partition_to_learn_from(classifier, learned, chosen.labels, settings)
    weights = phase_weights(data.pool.labels, len(data.phases))
    answerer = local.fit(chosen, learned, split, weights, settings, run)
    numbers = fold_numbers(data.pool, chosen, max(1, folds))
    before = Asked(
        learned,
        *local_answers_to_learn_from(
            chosen, learned, split, weights, answerer, numbers, settings, run
        ),
    )
    chooser = deferral.fit(learned, before.where, before.said, chosen.labels, settings.idk, run)
    partition = hcl_idk.predict(classifier, known, settings.idk)
    tested = Asked(known, *local.predict(answerer, data.images, known, partition, settings))
    return before, tested, chosen.labels, chooser


def counts(answer: Answer, data: Trial, protocol: Protocol) -> dict[str, Any]:
    """Confusions by block and calibration error, for both truths."""
    labels, probabilities = answer
    block = (data.groups, *protocol.block[1:])
    return {
        "confusions": {
            name: block_confusions(truth, labels, len(data.phases), block).tolist()
            for name, truth in data.truths
        },
        "ECE": {
            name: expected_calibration_error(probabilities, truth) for name, truth in data.truths
        },
    }


def of_both(asked: Asked, score: NDArray[np.float32], data: Trial) -> dict[str, Any]:
    """Who is right where LCGAR is asked, and whether the scores know it."""
    labels, _ = asked.fused(None)
    inside = asked.where.idk
    found: dict[str, Any] = {
        "asked": float(inside.mean()),
        "answers_by_gain": float((score >= deferral.ENOUGH).sum() / inside.size),
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
    asked: Asked, score: NDArray[np.float32], data: Trial, protocol: Protocol
) -> dict[str, Any]:
    """LCGAR's answer at the same number of pixels, those of the highest score of either kind."""
    whole = asked.where.idk.size
    sizes = {f"{100 * share:g} %": round(share * whole) for share in SHARES}
    sizes["as gain chooses"] = int((score >= deferral.ENOUGH).sum())
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
                f"{mean_miu(of_row):.4f}{'' if name == PAPER else difference(of_row, of_paper)}"
            )
        line += [f"{np.mean([one[name]['ECE'][truth] for one in seeds]):.4f}" for truth in TRUTHS]
        lines.append(line)
    header = ["", "mIU, measured", "mIU, exact", "ECE, measured", "ECE, exact"]
    return markdown_table(header, lines)


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
                line += [f"{mean_miu(wrong):.4f}", f"{mean_miu(gain):.4f}{difference(gain, wrong)}"]
            lines.append(line)
    header = ["learned", "share", "pixels", "wrong, measured", "gain, measured"]
    return markdown_table([*header, "wrong, exact", "gain, exact"], lines)


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
    return markdown_table(header, lines)


def confusions(rows: list[dict[str, Any]], truth: str) -> list[NDArray[np.int64]]:
    """Block confusions of a row, a seed each."""
    return [np.array(row["confusions"][truth], np.int64) for row in rows]


def mean_miu(rows: list[NDArray[np.int64]]) -> float:
    """The mean over seeds."""
    return float(np.mean([metric_by_name(row.sum(axis=0), "mIU") for row in rows]))


def difference(row: list[NDArray[np.int64]], from_: list[NDArray[np.int64]]) -> str:
    """The difference of both and its interval, in brackets."""
    found = paired_difference(row, from_, "mIU")
    return f" ({found.difference:+.4f}; {found.low:+.4f} to {found.high:+.4f})"


if __name__ == "__main__":
    main()
