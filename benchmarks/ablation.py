"""What each piece beyond the paper is worth: one piece a row, on exact labels.

    python benchmarks/ablation.py OUT [--preset small] [--seeds 3] [--workers 2] [--tables-only]

Data and budget are those of `matphase reproduce` (split blocked), so that its rows can stand beside
these: what it measured (results/reproduction/units.json) is not measured again. OUT keeps a file a
row, condition and seed; a run that was stopped goes on. Writes results/ablation.{json,md}.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, markdown_table, write_results
from numpy.typing import NDArray

from matphase import formats
from matphase.checked import merged
from matphase.data.splits import blocked_split
from matphase.evaluation import score_row
from matphase.files import remove, written_whole
from matphase.phases import PhaseTable
from matphase.pipeline import MatPhase
from matphase.reproduce.bootstrap import Interval, block_confusions, paired_difference
from matphase.reproduce.protocol import Protocol
from matphase.stages import scaling
from matphase.virtual import VirtualElectrode
from matphase.virtual.recipes import Recipe
from matphase.volume import Volume

PHASES = PhaseTable.from_names(("pore", "carbon", "nickel"))
TRUTHS = ("measured", "exact")
Results = dict[str, dict[str, list[dict[str, Any]]]]
"""By condition and model, seed by seed."""
MARGIN = 3
"""Slices beyond those scored that a network may see."""


@dataclass(frozen=True)
class Row:
    """A model by its settings.

    Attributes:
        name: of its results.
        changes: against the settings of the protocol.
        truth: which labels it learns from.
        refits: models that share its UGSM, by what is different about their local part.
    """

    name: str
    changes: dict[str, Any]
    truth: str = "measured"
    refits: tuple[tuple[str, dict[str, Any]], ...] = ()


NO_CURRICULUM = {"usi": {"order": "none"}}
DROPOUT = merged(NO_CURRICULUM, {"ugsm": {"dropout": 0.1}})
ALIGNED = merged(DROPOUT, {"align": {"after": 0.5}})
PADLESS = {"lcgar_settings": {"padding": "image"}}
GAIN = {"target": "gain"}


def deep(slices: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Settings by which the networks see so many slices."""
    return merged(changes, {"ugsm": {"slices": slices}, "lcgar": {"slices": slices}})


ROWS = (
    Row("dropout", DROPOUT),
    Row("aligned", ALIGNED),
    Row("deep", deep(5, ALIGNED), refits=(("padless", PADLESS), ("gain", GAIN))),
    Row("deep3", deep(3, ALIGNED)),
    Row("deep7", deep(7, ALIGNED)),
    Row("ceiling", deep(5, DROPOUT), truth="exact"),
)
"""All that is trained on the electrodes of the reproduction."""


@dataclass(frozen=True)
class View:
    """A row of a table: one way to read the results of a model.

    Attributes:
        title: in the table.
        name: of the model.
        answer: of UGSM alone, or of the whole.
        scaling: of its probabilities, by what validation slices taught.
    """

    title: str
    name: str
    answer: str = "whole"
    scaling: str = "vector"


LADDER = (
    View("MatPhase (paper)", "matphase", scaling="none"),
    View("+ no curriculum", "no_curriculum", scaling="none"),
    View("+ dropout .1 in place of .5", "dropout", scaling="none"),
    View("+ vector scaling", "dropout"),
    View("+ aligned labels", "aligned"),
    View("+ 5 slices", "deep"),
    View("+ LCGAR without padding", "padless"),
)
"""One piece more a row."""
BEST = View("best", "padless")
CEILING = View("the same network, trained on exact labels", "ceiling")
BESIDE = (
    BEST,
    View("best, not scaled", "padless", scaling="none"),
    View("best without LCGAR", "deep", answer="ugsm"),
    View("best with deferral (LCGAR padded)", "gain"),
    View("best with 3 slices (LCGAR padded)", "deep3"),
    View("best with 5 slices (LCGAR padded)", "deep"),
    View("best with 7 slices (LCGAR padded)", "deep7"),
    CEILING,
)
"""What the best is compared with, besides the rows of table 3."""
REPRODUCED = {"matphase": "lcgar_matphase", "no_curriculum": "lcgar_no_curriculum"}
"""Models that the reproduction has measured under other names."""


@dataclass(frozen=True)
class Condition:
    """Which electrodes are learned from.

    Attributes:
        name: of its results.
        recipe: of the virtual electrode.
        rows: what is trained.
        misregistration: of its labels in pixels, where it is another than the recipe's.
    """

    name: str
    recipe: str
    rows: tuple[Row, ...]
    misregistration: float | None = None


PAIR = (Row("plain", deep(5, DROPOUT)), Row("aligned", deep(5, ALIGNED)))
PAPER = Condition("paper", "paper", ROWS)
OTHERS = (
    Condition("easy", "easy", PAIR),
    Condition("hard", "hard", PAIR),
    Condition("displaced by 0 px", "paper", PAIR, 0.0),
    Condition("displaced by 1 px", "paper", PAIR, 1.0),
    Condition("displaced by 2 px", "paper", PAIR, 2.0),
)


@dataclass(frozen=True)
class Job:
    """One row under one condition with one seed."""

    condition: Condition
    row: Row
    seed: int

    def file(self, out: Path, name: str = "") -> Path:
        """Of the result of its model, or of a refit."""
        folder = out / self.condition.name.replace(" ", "_")
        return folder / f"{name or self.row.name}_{self.seed}.json"

    def is_done(self, out: Path) -> bool:
        """Whether all its results are there."""
        names = (self.row.name, *(name for name, _ in self.row.refits))
        return all(self.file(out, name).exists() for name in names)


def main() -> None:
    """Run what is missing, and write results/ablation.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tables-only", action="store_true", help="of what is there; run nothing")
    arguments = parser.parse_args()
    protocol = Protocol.named(arguments.preset)
    jobs = [
        Job(condition, row, seed)
        for condition in (PAPER, *OTHERS)
        for row in condition.rows
        for seed in range(arguments.seeds)
    ]
    if not arguments.tables_only:
        run([job for job in jobs if not job.is_done(arguments.out)], protocol, arguments)
    results: Results = {}
    for job in jobs:
        for name in (job.row.name, *(name for name, _ in job.row.refits)):
            file = job.file(arguments.out, name)
            if file.exists():
                found = json.loads(file.read_text("utf-8"))
                results.setdefault(job.condition.name, {}).setdefault(name, []).append(found)
    content = {"preset": arguments.preset, "seeds": arguments.seeds, "results": results}
    write_results("ablation", content, report(results, arguments.preset))


def run(jobs: list[Job], protocol: Protocol, arguments: argparse.Namespace) -> None:
    """Work off the jobs, on several processes with a core each."""
    began = time.monotonic()
    context = get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, context, torch.set_num_threads, (1,)) as pool:
        working = {pool.submit(work, job, protocol, arguments.out): job for job in jobs}
        for number, future in enumerate(as_completed(working), 1):
            future.result()
            job = working[future]
            left = (time.monotonic() - began) / number * (len(jobs) - number) / 60
            what = f"{job.condition.name}, seed {job.seed}, {job.row.name}"
            print(f"{number} of {len(jobs)}: {what}; about {left:.0f} min left", flush=True)


def work(job: Job, protocol: Protocol, out: Path) -> None:
    """Train, predict and score once."""
    electrode = electrode_of(job.condition, job.seed, protocol, out)
    images = electrode["images"]
    labels = {name: electrode[name].to_array() for name in TRUTHS}
    split = blocked_split(images.n_slices)
    settings = protocol.settings.updated(job.row.changes)
    folder = job.file(out).with_suffix("")
    known = labels[job.row.truth]
    began = time.monotonic()
    given = {"label_slices": split.train.tolist(), "folder": folder}
    model = MatPhase(settings=settings, seed=job.seed).fit(
        images, known[split.train], PHASES, **given
    )
    keep(job.file(out), scored(model, images, labels, job, protocol, time.monotonic() - began))
    for name, changes in job.row.refits:
        began = time.monotonic()
        local = dict(changes)
        if "lcgar_settings" in local:
            local["lcgar_settings"] = settings.updated({"lcgar": local["lcgar_settings"]}).lcgar
        given["folder"] = folder.with_name(f"{name}_{job.seed}")
        other = model.refit_local(images, known[split.train], **given, **local)
        seconds = time.monotonic() - began
        keep(job.file(out, name), scored(other, images, labels, job, protocol, seconds))
        remove(given["folder"])
    remove(folder)


def scored(
    model: MatPhase,
    images: Volume,
    labels: dict[str, NDArray[np.uint8]],
    job: Job,
    protocol: Protocol,
    seconds: float,
) -> dict[str, Any]:
    """What a model answers, UGSM alone and the whole, as it is and scaled by validation slices."""
    split = blocked_split(images.n_slices)
    tested = split.test[:: protocol.test_every]
    began = time.monotonic()
    seen = answers(model, images, split.validation, job.seed)
    predicted = answers(model, images, tested, job.seed)
    content: dict[str, Any] = {"seconds": {"fit": seconds, "predict": time.monotonic() - began}}
    for who, (answer, said) in predicted.items():
        known = labels[job.row.truth][split.validation]
        found = scaling.fit(seen[who][1], known, "vector", job.seed)
        for how, (codes, probabilities) in {
            "none": (answer, said),
            "vector": found.answer(answer, said),
        }.items():
            content[f"{who}, {how}"] = {
                "scores": {
                    name: score_row(labels[name][tested], codes, PHASES, probabilities)
                    for name in TRUTHS
                },
                "block_confusions": {
                    name: block_confusions(labels[name][tested], codes, 3, protocol.block).tolist()
                    for name in TRUTHS
                },
            }
    return content


def answers(
    model: MatPhase, images: Volume, chosen: NDArray[np.int64], seed: int
) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Phase indices and probabilities of some slices, slices first, of UGSM and of the whole."""
    first, last = max(0, chosen[0] - MARGIN), min(chosen[-1] + MARGIN + 1, images.n_slices)
    stack = np.stack([images.slice(int(z)) for z in range(first, last)])
    result = model.predict(stack, seed=seed)
    here = chosen - first
    whole, ugsm = result.probabilities[:, here], result.global_probabilities[:, here]
    return {
        "ugsm": (PHASES.encode(result.global_labels[here]), np.moveaxis(ugsm, 0, 1)),
        "whole": (PHASES.encode(result.labels[here]), np.moveaxis(whole, 0, 1)),
    }


def keep(file: Path, content: dict[str, Any]) -> None:
    """Write a result."""
    with written_whole(file, overwrite=True) as beside:
        beside.write_text(json.dumps(content) + "\n", "utf-8")


def electrode_of(
    condition: Condition, seed: int, protocol: Protocol, out: Path
) -> dict[str, Volume]:
    """The virtual electrode of a condition, made once and kept in `out`."""
    folder = out / "electrodes" / f"{condition.name}_{seed}"
    if not folder.exists():
        recipe = Recipe.named(condition.recipe)
        if condition.misregistration is not None:
            changes = {"ground_truth": {"misregistration": condition.misregistration}}
            recipe = recipe.updated(changes)
        made = VirtualElectrode.simulate(recipe, protocol.shape, seed=seed)
        made.save(folder, overwrite=True)
    files = {"images": "images", "measured": "measured_labels", "exact": "labels"}
    return {name: formats.open(folder / f"{file}.tif") for name, file in files.items()}


# --- the tables -----------------------------------------------------------------------------------


def report(results: Results, preset: str) -> str:
    """The tables as Markdown."""
    paper = results.get(PAPER.name, {})
    for name, other in REPRODUCED.items():
        paper[name] = [{"whole, none": one} for one in reproduced(preset).get(other, [])]
    counts = sorted({len(seeds) for found in results.values() for seeds in found.values()})
    return "\n\n".join(
        [
            "# What each piece is worth",
            f"Recipe `paper`, preset `{preset}` of `matphase reproduce`, split blocked; mean ± SD "
            "over the seeds, F1 and ECE against exact labels. Gains are differences of mIU to the "
            "row above, with a 95 % interval (paired block bootstrap of seeds and blocks). Seeds "
            f"a row: {', '.join(str(count) for count in counts)}.",
            ladder_table(paper),
            "## Beside the best",
            "The last column says by how much the best has the higher mIU against exact labels.",
            comparison_table(paper, preset),
            "## Other recipes and displacements",
            "mIU against exact labels of the best with LCGAR padded, without and with alignment, "
            "and of its UGSM alone.",
            conditions_table(results),
        ]
    )


def ladder_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """One piece more a row."""
    header = ["", *(f"mIU {truth}" for truth in TRUTHS), *(f"gain {truth}" for truth in TRUTHS)]
    lines, above = [], None
    for view in LADDER:
        if seeds := seen_by(view, found):
            gains = (shown(difference(seeds, above, truth)) if above else "" for truth in TRUTHS)
            lines.append([view.title, *means(seeds), *gains, *details(seeds)])
            above = seeds
    return markdown_table([*header, *DETAILS], lines)


def comparison_table(found: dict[str, list[dict[str, Any]]], preset: str) -> str:
    """The best against everything else, baselines of the reproduction included."""
    best = seen_by(BEST, found)
    others = {view.title: seen_by(view, found) for view in BESIDE}
    header = ["", *(f"mIU {truth}" for truth in TRUTHS), *DETAILS, "best is better by"]
    lines = [
        [title, *means(seeds), *details(seeds), shown(difference(best, seeds, "exact"))]
        for title, seeds in {**others, **baselines(preset)}.items()
        if seeds
    ]
    return markdown_table(header, lines)


def conditions_table(results: Results) -> str:
    """What alignment changes under other conditions."""
    header = ["", "not aligned", "aligned", "alignment", "UGSM: alignment"]
    lines = []
    for condition in OTHERS:
        found = results.get(condition.name, {})
        whole, ugsm = (
            [seen_by(View("", row.name, answer), found) for row in PAIR]
            for answer in ("whole", "ugsm")
        )
        if all(whole):
            gains = (shown(difference(pair[1], pair[0], "exact")) for pair in (whole, ugsm))
            lines.append([condition.name, *(means(seeds)[1] for seeds in whole), *gains])
    return markdown_table(header, lines)


def seen_by(view: View, found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The results that a view shows, seed by seed; none where they are not there."""
    return [one[f"{view.answer}, {view.scaling}"] for one in found.get(view.name, [])]


def baselines(preset: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of table 3 that the reproduction has measured on all pixels."""
    plain = ("ugsm", "unet", "mcd_unet", "fcn", "segnet", "deeplabv3", "manet", "unetpp")
    found = reproduced(preset)
    return {
        f"reproduction: {name}": found[name]
        for name in ("lcgar_matphase", *plain, "local_unet", "adapted_lcgar")
        if name in found
    }


@cache
def reproduced(preset: str) -> dict[str, list[dict[str, Any]]]:
    """Committed results of the reproduction by name, seed by seed, if it is of that preset."""
    file = RESULTS / "reproduction" / "units.json"
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    found: dict[str, list[dict[str, Any]]] = {}
    if not Protocol.named(preset).is_recorded_by(content["protocol"]):
        return found
    for place, result in content["units"].items():
        if place.startswith("units/blocked/") and result["on_all_pixels"]:
            found.setdefault(result["unit"]["name"], []).append(result)
    return {
        name: sorted(results, key=lambda result: int(result["unit"]["seed"]))
        for name, results in found.items()
    }


DETAILS = [*(f"F1 {name}" for name in PHASES.names), "ECE"]


def details(seeds: list[dict[str, Any]]) -> list[str]:
    """F1 of each phase and ECE, means over the seeds."""
    scores = [one["scores"]["exact"] for one in seeds]
    f1 = (np.mean([one["F1"][name] for one in scores]) for name in PHASES.names)
    return [*(f"{mean:.3f}" for mean in f1), f"{np.mean([one['ECE'] for one in scores]):.4f}"]


def means(seeds: list[dict[str, Any]]) -> list[str]:
    """Of mIU, against measured and exact labels."""
    return [mean_sd([one["scores"][truth]["mIU"] for one in seeds]) for truth in TRUTHS]


def difference(a: list[dict[str, Any]], b: list[dict[str, Any]], truth: str) -> Interval | None:
    """How much higher `a` scores; None where the seeds are not the same."""
    if len(a) != len(b):
        return None
    return paired_difference(blocks(a, truth), blocks(b, truth), "mIU")


def blocks(seeds: list[dict[str, Any]], truth: str) -> list[NDArray[np.int64]]:
    """Confusions by block, of each seed."""
    return [np.array(one["block_confusions"][truth]) for one in seeds]


def shown(interval: Interval | None) -> str:
    """A difference with its interval."""
    if interval is None:
        return "-"
    return f"{interval.difference:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def mean_sd(values: list[float]) -> str:
    """Mean and SD over the seeds."""
    sd = np.std(values, ddof=1) if len(values) > 1 else 0
    return f"{np.mean(values):.3f} ± {sd:.3f}"


if __name__ == "__main__":
    main()
