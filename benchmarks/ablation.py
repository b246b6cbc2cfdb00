"""What each piece beyond the paper is worth: one piece a row, on exact labels.

    python benchmarks/ablation.py OUT [--preset small] [--seeds 3] [--workers 2] [--tables-only]

Data and budget are those of `matphase reproduce` (split blocked), so that its rows can stand beside
these: what it measured (results/reproduction/units.json) is not measured again. OUT keeps a file a
row, condition and seed; a run that was stopped goes on. Writes results/ablation.{json,md}.
"""

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
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
from matphase.virtual import VirtualElectrode
from matphase.virtual.recipes import Recipe
from matphase.volume import Volume

PHASES = PhaseTable.from_names(("pore", "carbon", "nickel"))
TRUTHS = ("measured", "exact")
MARGIN = 3
"""Slices beyond the test block that a network may see."""


@dataclass(frozen=True)
class Piece:
    """Something beyond the paper, and how it is switched on."""

    name: str
    title: str
    changes: dict[str, Any]
    kept: bool = True
    """Whether it is in the rows below, and so in the preset `best`."""


PIECES = (
    Piece("no_curriculum", "LCGAR without HCL-USI", {"usi": {"order": "none"}}),
    Piece("dropout", "dropout .1 in place of .5", {"ugsm": {"dropout": 0.1}}),
    Piece("aligned", "aligned labels", {"align": {"after": 0.5}}),
    Piece("deep", "5 slices", {"ugsm": {"slices": 5}, "lcgar": {"slices": 5}}),
    Piece("dense", "LCGAR without padding", {"lcgar": {"padding": "image"}}),
    Piece("calibrated", "vector scaling", {"calibration": {"scaling": "vector"}}),
)
BEST = [piece for piece in PIECES if piece.kept][-1].name
REPRODUCED = {"matphase": "lcgar_matphase", "no_curriculum": "lcgar_no_curriculum"}
"""Rows that the reproduction has measured under other names."""


@dataclass(frozen=True)
class Row:
    """A model by its settings.

    Attributes:
        name: of its results.
        title: in the table.
        changes: against the settings of the protocol.
        truth: which labels it learns from.
    """

    name: str
    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    truth: str = "measured"


@dataclass(frozen=True)
class Condition:
    """Which electrodes are learned from.

    Attributes:
        name: of its results.
        recipe: of the virtual electrode.
        misregistration: of its labels in pixels, where it is another than the recipe's.
    """

    name: str
    recipe: str
    misregistration: float | None = None


PAPER = Condition("paper", "paper")
OTHERS = (
    Condition("easy", "easy"),
    Condition("hard", "hard"),
    Condition("displaced_0px", "paper", 0.0),
    Condition("displaced_1px", "paper", 1.0),
    Condition("displaced_2px", "paper", 2.0),
)


def ladder() -> Iterator[Row]:
    """MatPhase as in the paper, and one piece more a row; what does not help is not kept."""
    yield Row("matphase", "MatPhase (paper)")
    together: dict[str, Any] = {}
    for piece in PIECES:
        changes = merged(together, piece.changes)
        yield Row(piece.name, f"+ {piece.title}", changes)
        if piece.kept:
            together = changes


def best_changes(*, without: str = "") -> dict[str, Any]:
    """All pieces that are kept, but for one."""
    together: dict[str, Any] = {}
    for piece in PIECES:
        if piece.kept and piece.name != without:
            together = merged(together, piece.changes)
    return together


def beside() -> Iterator[Row]:
    """What the best is compared with."""
    best = best_changes()
    yield Row("best_ugsm", "best, UGSM alone", merged(best, {"model": "ugsm"}))
    for slices in (3, 7):
        deep = {"ugsm": {"slices": slices}, "lcgar": {"slices": slices}}
        yield Row(f"best_{slices}_slices", f"best with {slices} slices", merged(best, deep))
    yield Row(
        "ceiling",
        "the same network, trained on exact labels",
        best_changes(without="aligned"),
        truth="exact",
    )


def rows_of(condition: Condition) -> tuple[Row, ...]:
    """What is trained under a condition."""
    if condition == PAPER:
        return (*ladder(), *beside())
    return (
        Row("matphase", "MatPhase (paper)"),
        Row("not_aligned", "best without alignment", best_changes(without="aligned")),
        Row("best", "best", best_changes()),
    )


@dataclass(frozen=True)
class Job:
    """One row under one condition with one seed."""

    condition: Condition
    row: Row
    seed: int

    def file(self, out: Path) -> Path:
        """Of its result."""
        return out / self.condition.name / f"{self.row.name}_{self.seed}.json"


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
        for row in rows_of(condition)
        for seed in range(arguments.seeds)
        if condition != PAPER or row.name not in REPRODUCED
    ]
    if not arguments.tables_only:
        run([job for job in jobs if not job.file(arguments.out).exists()], protocol, arguments)
    results = {
        condition.name: {
            row.name: found
            for row in rows_of(condition)
            if (found := results_of(condition, row, arguments))
        }
        for condition in (PAPER, *OTHERS)
    }
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
    tested = split.test[:: protocol.test_every]
    settings = protocol.settings.updated(job.row.changes)
    folder = job.file(out).with_suffix("")
    known = labels[job.row.truth]
    began = time.monotonic()
    model = MatPhase(settings=settings, seed=job.seed).fit(
        images,
        known[split.train],
        PHASES,
        label_slices=split.train.tolist(),
        # for calibration alone: scoring them takes time that no row needs
        validation=(images, known[split.validation]) if settings.calibration.is_on else None,
        validation_slices=split.validation.tolist(),
        folder=folder,
    )
    trained = time.monotonic() - began
    first, last = tested[0] - MARGIN, min(tested[-1] + MARGIN + 1, images.n_slices)
    result = model.predict(part(images, first, last), seed=job.seed)
    chosen = tested - first
    answer = PHASES.encode(result.labels[chosen])
    probabilities = np.moveaxis(result.probabilities[:, chosen], 0, 1)
    content = {
        "scores": {
            name: score_row(labels[name][tested], answer, PHASES, probabilities) for name in TRUTHS
        },
        "block_confusions": {
            name: block_confusions(labels[name][tested], answer, 3, protocol.block).tolist()
            for name in TRUTHS
        },
        "idk_share": float(result.idk[chosen].mean()),
        "seconds": {"fit": trained, "predict": time.monotonic() - began - trained},
    }
    with written_whole(job.file(out)) as beside_it:
        beside_it.write_text(json.dumps(content) + "\n", "utf-8")
    remove(folder)


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


def part(volume: Volume, first: int, last: int) -> Volume:
    """Some of the slices of a volume."""
    return Volume.from_array(np.stack([volume.slice(z) for z in range(first, last)]))


# --- the tables -----------------------------------------------------------------------------------


def results_of(
    condition: Condition, row: Row, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Of the seeds that are done."""
    if condition == PAPER and row.name in REPRODUCED:
        return reproduced().get(REPRODUCED[row.name], [])[: arguments.seeds]
    files = (Job(condition, row, seed).file(arguments.out) for seed in range(arguments.seeds))
    return [json.loads(file.read_text("utf-8")) for file in files if file.exists()]


def report(results: dict[str, dict[str, list[dict[str, Any]]]], preset: str) -> str:
    """The tables as Markdown."""
    paper = results[PAPER.name]
    text = [
        "# What each piece is worth",
        f"Recipe `paper`, preset `{preset}` of `matphase reproduce`, split blocked; mean over the "
        "seeds, and the difference of mIU to the row above with a 95 % interval (paired block "
        "bootstrap of seeds and blocks). "
        f"{number_of_seeds(paper)}.",
        ladder_table(paper),
        "## Beside the best",
        comparison_table(paper),
        "## Other recipes and displacements",
        "mIU against exact labels; what alignment changes, with a 95 % interval.",
        conditions_table(results),
    ]
    return "\n\n".join(text)


def number_of_seeds(found: dict[str, list[dict[str, Any]]]) -> str:
    """How many seeds the rows have."""
    counts = {len(one) for one in found.values()}
    return f"Seeds a row: {', '.join(str(count) for count in sorted(counts))}"


def ladder_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """One piece more a row."""
    header = ["", "mIU measured", "mIU exact", "gain measured", "gain exact"]
    header += [f"F1 {name}" for name in PHASES.names] + ["ECE", "IDK %", "fit s", "predict s"]
    lines, above = [], None
    for row, piece in zip(ladder(), (None, *PIECES), strict=True):
        if row.name not in found:
            continue
        seeds = found[row.name]
        gains = ["", ""]
        if above is not None:
            gains = [shown(difference(seeds, above, truth)) for truth in TRUTHS]
        lines.append(
            [
                row.title if piece is None or piece.kept else f"{row.title} (not kept)",
                *(mean_sd([one["scores"][truth]["mIU"] for one in seeds]) for truth in TRUTHS),
                *gains,
                *(
                    f"{np.mean([one['scores']['exact']['F1'][name] for one in seeds]):.3f}"
                    for name in PHASES.names
                ),
                f"{np.mean([one['scores']['measured']['ECE'] for one in seeds]):.4f}",
                *costs(seeds),
            ]
        )
        if piece is None or piece.kept:
            above = seeds
    return markdown_table(header, lines)


def costs(seeds: list[dict[str, Any]]) -> list[str]:
    """IDK share and seconds, of rows that were measured here."""
    if not isinstance(seeds[0]["seconds"], dict):
        return ["", "", ""]
    times = (np.mean([one["seconds"][what] for one in seeds]) for what in ("fit", "predict"))
    share = np.mean([one["idk_share"] for one in seeds])
    return [f"{100 * share:.1f}", *(f"{time:.0f}" for time in times)]


def comparison_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """The best against everything else, baselines of the reproduction included."""
    header = ["", "mIU measured", "mIU exact", "best is better by (exact)"]
    header += [f"F1 {name}" for name in PHASES.names]
    others = {row.title: found[row.name] for row in beside() if row.name in found}
    everything = {"best": found.get(BEST, []), **others, **baselines()}
    lines = []
    for title, seeds in everything.items():
        if not seeds:
            continue
        gain = ""
        if title != "best" and len(seeds) == len(found.get(BEST, [])):
            gain = shown(difference(found[BEST], seeds, "exact"))
        lines.append(
            [
                title,
                *(mean_sd([one["scores"][truth]["mIU"] for one in seeds]) for truth in TRUTHS),
                gain,
                *(
                    f"{np.mean([one['scores']['exact']['F1'][name] for one in seeds]):.3f}"
                    for name in PHASES.names
                ),
            ]
        )
    return markdown_table(header, lines)


def baselines() -> dict[str, list[dict[str, Any]]]:
    """The rows of table 3 that the reproduction has measured on all pixels."""
    plain = ("ugsm", "unet", "mcd_unet", "fcn", "segnet", "deeplabv3", "manet", "unetpp")
    found = reproduced()
    return {
        f"reproduction: {name}": found[name]
        for name in ("lcgar_matphase", *plain, "local_unet", "adapted_lcgar")
        if name in found
    }


@cache
def reproduced() -> dict[str, list[dict[str, Any]]]:
    """Committed results of the reproduction by name, seed by seed."""
    file = RESULTS / "reproduction" / "units.json"
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))["units"]
    found: dict[str, list[dict[str, Any]]] = {}
    for place, result in content.items():
        if place.startswith("units/blocked/") and result["on_all_pixels"]:
            found.setdefault(result["unit"]["name"], []).append(result)
    return {
        name: sorted(results, key=lambda result: int(result["unit"]["seed"]))
        for name, results in found.items()
    }


def conditions_table(results: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """Each condition with the paper's MatPhase, without alignment, and with it."""
    header = ["", "MatPhase (paper)", "best without alignment", "best", "alignment", "best - paper"]
    lines = []
    for condition in OTHERS:
        found = results[condition.name]
        if not all(found.get(row.name) for row in rows_of(condition)):
            continue
        paper, plain, best = (found[row.name] for row in rows_of(condition))
        lines.append(
            [
                condition.name.replace("_", " "),
                *(
                    mean_sd([one["scores"]["exact"]["mIU"] for one in x])
                    for x in (paper, plain, best)
                ),
                shown(difference(best, plain, "exact")),
                shown(difference(best, paper, "exact")),
            ]
        )
    return markdown_table(header, lines)


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
