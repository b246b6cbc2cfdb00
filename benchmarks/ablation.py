"""The gain of each piece beyond the paper: one piece a row, on exact labels.

    python benchmarks/ablation.py OUT [--preset small] [--seeds 3] [--workers 2] [--anew]
                                      [--tables-only]

Data and budget are those of `matphase reproduce` (split blocked), so that its rows can stand beside
these: what it measured (results/reproduction/units.json) is not measured again. Electrodes and
splits are the same; the grey scale is that of all slices here, of the training slices there.

OUT keeps the models and the result of each row, condition and seed; a run that was stopped goes on,
and what is committed in results/ablation.json is not measured again (unless --anew).

Writes results/ablation.{json,md} from all that is there; with --preset quick the tables are printed
instead.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ablation_tables import BY_ALIGNED, PAPER, PHASES, TRUTHS, Results, ablated, report
from common import publish
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.annotations import Annotations
from matphase.images.volume import Volume
from matphase.learning.run import Run
from matphase.learning.splits import Split, blocked_split
from matphase.learning.training_pool import Pool
from matphase.method import model_folder, scaling
from matphase.method.align import align
from matphase.method.fit import align_labels
from matphase.method.model import Model
from matphase.method.passes import Passes
from matphase.model import MatPhase, load
from matphase.reproduce.conditions import claim
from matphase.reproduce.engine import result_of, results_of, run
from matphase.reproduce.machine import facts
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.results import read_json, write_result
from matphase.reproduce.scoring import scores_by_truth
from matphase.scores.metrics.checks import scored_pixels
from matphase.scores.metrics.confusion import confusion_matrix, mean_iou
from matphase.settings import AlignSettings
from matphase.support.checked import merged
from matphase.support.files import remove
from matphase.support.records import write_json
from matphase.support.scratch import as_array
from matphase.virtual import VirtualElectrode
from matphase.virtual.recipes import Recipe

FILES = {"images": "images", "measured": "measured_labels", "exact": "labels"}
"""Of an electrode."""
VALIDATED_EVERY = 2
"""Of the validation slices; neighbours show nearly the same."""

Labels = NDArray[np.uint8]
Answer = tuple[Labels, NDArray[np.float32]]
"""Phase indices (n, height, width), and probabilities (n, phases, height, width)."""


@dataclass(frozen=True, eq=False)  # its settings have no hash
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
# alignment begins the learning rate's fall anew; that alone, since so stiff a field moves no label
HALVES = merged(ALIGNED, {"align": {"size": 1e6}})
PADLESS = {"lcgar_settings": {"padding": "image"}}
GAIN = {"target": "gain"}


def deep(slices: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Settings by which the networks see so many slices."""
    return merged(changes, {"ugsm": {"slices": slices}, "lcgar": {"slices": slices}})


@dataclass(frozen=True, eq=False)
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


PAIR = (Row("halves5", deep(5, HALVES)), Row("deep", deep(5, ALIGNED)))
CONDITIONS = (
    Condition(
        PAPER,
        "paper",
        (
            Row("dropout", DROPOUT),
            Row("halves", HALVES),
            Row("aligned", ALIGNED),
            Row("deep", deep(5, ALIGNED), refits=(("padless", PADLESS), ("gain", GAIN))),
            Row("ceiling", deep(5, HALVES), truth="exact", refits=(("padless_ceiling", PADLESS),)),
            Row("halves5", deep(5, HALVES)),
            Row("deep3", deep(3, ALIGNED)),
            Row("deep7", deep(7, ALIGNED)),
        ),
    ),
    Condition("displaced by 0 px", "paper", PAIR, 0.0),
    Condition("displaced by 1 px", "paper", PAIR, 1.0),
    Condition("displaced by 2 px", "paper", PAIR, 2.0),
    Condition("easy", "easy", PAIR),
    Condition("hard", "hard", PAIR),
)


@dataclass(frozen=True)
class Electrode:
    """The trial that simulates the electrode of a condition with one seed."""

    condition: Condition
    seed: int

    @property
    def place(self) -> str:
        """Its folder, relative to OUT."""
        return f"electrodes/{self.condition.name.replace(' ', '_')}_{self.seed}"

    @property
    def kind(self) -> str:
        """A name for trials that take about equally long."""
        return "electrode"

    @property
    def needs(self) -> None:
        """No other trial."""
        return

    @property
    def arrays(self) -> tuple[str, ...]:
        """Files that jobs read."""
        return tuple(f"stack/{name}.tif" for name in FILES.values())

    def __str__(self) -> str:
        return f"electrode {self.condition.name}, seed {self.seed}"


@dataclass(frozen=True)
class Job:
    """One row under one condition with one seed."""

    condition: Condition
    row: Row
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of its model and of the refits."""
        return (self.row.name, *(name for name, _ in self.row.refits))

    @property
    def place(self) -> str:
        """Its folder, relative to OUT."""
        return f"{self.condition.name.replace(' ', '_')}/{self.row.name}_{self.seed}"

    @property
    def kind(self) -> str:
        """A name for jobs that take about equally long."""
        return self.row.name

    @property
    def needs(self) -> Electrode:
        """The electrode that it learns from."""
        return Electrode(self.condition, self.seed)

    @property
    def arrays(self) -> tuple[str, ...]:
        """No other job reads its models."""
        return ()

    def __str__(self) -> str:
        return f"{self.condition.name}, seed {self.seed}, {self.row.name}"


def main() -> None:
    """Run what is missing, and write results/ablation.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--anew", action="store_true", help="measure every number again")
    parser.add_argument("--tables-only", action="store_true", help="of what is there; run nothing")
    arguments = parser.parse_args()
    protocol, out = Protocol.named(arguments.preset), arguments.out
    claim(out, protocol)
    jobs = [
        Job(condition, row, seed)
        for seed in range(arguments.seeds)
        for condition in CONDITIONS
        for row in condition.rows
    ]
    if not arguments.anew:
        known = ablated(arguments.preset)
        if not known:
            print("nothing is committed of this protocol; everything is measured")
        take_over(jobs, known, out)
    if not arguments.tables_only:
        run(jobs, partial(work, protocol, out), out, workers=arguments.workers, keep_going=True)
    results: Results = {}
    for job, result in results_of(jobs, out).items():
        found = results.setdefault(job.condition.name, {})
        for name in job.names:
            found.setdefault(name, []).append(result["models"][name])
    text = report(results, arguments.preset)
    if arguments.preset == "quick":
        print(text)
    else:
        content = {"protocol": protocol.model_dump(mode="json"), "results": results}
        publish("ablation", content, text)


def take_over(jobs: list[Job], known: Results, out: Path) -> None:
    """Put committed results where the jobs would have left them.

    Those of whole jobs only: a refit stands on the UGSM of the model that it is compared with.
    """
    for job in jobs:
        found = {
            name: one
            for name in job.names
            for one in known.get(job.condition.name, {}).get(name, [])
            if one["seed"] == job.seed
        }
        if len(found) == len(job.names) and result_of(job, out) is None:
            write_result(out / job.place, {"built_on": None, "models": found})


# --- running --------------------------------------------------------------------------------------


def work(protocol: Protocol, out: Path, trial: Electrode | Job, folder: Path) -> dict[str, Any]:
    """The result of an electrode or of a job."""
    if isinstance(trial, Electrode):
        return simulate(protocol, trial, folder / "stack")
    return {"models": train_and_score(protocol, trial, out / trial.needs.place / "stack", folder)}


def simulate(protocol: Protocol, electrode: Electrode, folder: Path) -> dict[str, Any]:
    """Simulate the electrode of a condition and a seed."""
    condition = electrode.condition
    recipe = Recipe.named(condition.recipe)
    if condition.misregistration is not None:
        changes = {"ground_truth": {"misregistration": condition.misregistration}}
        recipe = recipe.updated(changes)
    remove(folder)
    VirtualElectrode.simulate(recipe, protocol.shape, seed=electrode.seed).save(folder)
    return {}


def train_and_score(
    protocol: Protocol, job: Job, electrode: Path, folder: Path
) -> dict[str, dict[str, Any]]:
    """Train and score the model of a row and its refits; results by model."""
    volumes = {name: formats.open(electrode / f"{file}.tif") for name, file in FILES.items()}
    split = blocked_split(volumes["images"].n_slices)
    settings = protocol.settings.updated(job.row.changes)
    images, known = volumes["images"], labels_of(volumes[job.row.truth], split.train)
    given: dict[str, Any] = {"label_slices": split.train.tolist()}
    found: dict[str, dict[str, Any]] = {}

    def keep(name: str, train: Callable[[Path], MatPhase]) -> MatPhase:
        model, fit = trained(folder / name, train)
        scores = scored(model_folder.read(folder / name), volumes, split, job, protocol)
        found[name] = {"seed": job.seed, "fit": fit, **scores}
        return model

    def fit(training: Path) -> MatPhase:
        model = MatPhase(settings=settings, seed=job.seed)
        return model.fit(images, known, PHASES, folder=training, **given)

    def refitted(model: MatPhase, changes: dict[str, Any]) -> Callable[[Path], MatPhase]:
        return lambda training: model.refit_local(
            images, known, folder=training, **given, **changes
        )

    model = keep(job.row.name, fit)
    # refits share its alignment
    written = model_folder.read(folder / job.row.name)
    found[job.row.name] |= of_alignment(written, volumes, split)
    for name, changes in job.row.refits:
        local = dict(changes)
        if "lcgar_settings" in local:
            local["lcgar_settings"] = settings.updated({"lcgar": local["lcgar_settings"]}).lcgar
        keep(name, refitted(model, local))
    return found


def trained(folder: Path, train: Callable[[Path], MatPhase]) -> tuple[MatPhase, dict[str, Any]]:
    """The model in a folder, trained now unless it is there, and the time that took."""
    unfinished, record = folder.with_suffix(".partial"), folder.with_suffix(".fit.json")
    if folder.exists() and (before := read_json(record)) is not None:
        return load(folder), before
    remove(folder)
    whole, began, here = not unfinished.exists(), time.process_time(), facts()
    model = train(unfinished)
    # a training that went on, or that a GPU did, says nothing about the time that a CPU takes
    seconds = time.process_time() - began if whole and here["gpu"] is None else None
    fit = {"cpu_seconds": seconds, "machine": here}
    write_json(record, fit, overwrite=True)
    model.save(folder)
    remove(unfinished)
    return model, fit


def scored(
    model: Model, volumes: dict[str, Volume], split: Split, job: Job, protocol: Protocol
) -> dict[str, Any]:
    """What a model answers, UGSM alone and the whole, as it is and scaled."""
    tested = split.test[:: protocol.test_every]
    validated = split.validation[::VALIDATED_EVERY]
    seen, _ = answers(model, volumes, validated, job.seed)
    predicted, share = answers(model, volumes, tested, job.seed)
    truths = {name: labels_of(volumes[name], tested) for name in TRUTHS}
    learned_from = {name: labels_of(volumes[name], validated) for name in TRUTHS}
    known = learned_from[job.row.truth]
    vectors = {who: scaling.fit(said, known, "vector", job.seed) for who, (_, said) in seen.items()}
    # as `align_labels` does, from samples that are there already
    moved = align(vectors["ugsm"].apply(seen["ugsm"][1]), known, AlignSettings()).labels
    found: dict[str, Any] = {}
    for who, answer in predicted.items():
        ways = {
            "none": None,
            "vector": vectors[who],
            BY_ALIGNED: scaling.fit(seen[who][1], moved, "vector", job.seed),
        }
        for how, way in ways.items():
            codes, probabilities = way.answer(*answer) if way else answer
            learned, _ = way.answer(*seen[who]) if way else seen[who]
            found[f"{who}, {how}"] = {
                "scaling": way.to_json() if way else None,
                "validation mIU": {
                    name: miou(truth, learned) for name, truth in learned_from.items()
                },
                **scores_by_truth(truths, codes, probabilities, PHASES, protocol.block),
            }
    return {"idk_share": share, "answers": found}


def answers(
    model: Model, volumes: dict[str, Volume], chosen: NDArray[np.int64], seed: int
) -> tuple[dict[str, Answer], float]:
    """Answers of UGSM and of the whole for some slices, and the share of uncertain pixels."""
    images = pool_of(model, volumes, "measured", chosen).images[:]
    maps = model.answer(images, Passes(seed=seed))
    found = {
        who: (maps[f"{kind}labels"], np.moveaxis(maps[f"{kind}probabilities"], 0, 1))
        for who, kind in (("ugsm", "global_"), ("whole", ""))
    }
    return found, float(maps["idk"].mean())


def of_alignment(model: Model, volumes: dict[str, Volume], split: Split) -> dict[str, Any]:
    """What alignment made of the training labels, where it moved them, on exact ones."""
    settings = model.settings
    if not settings.align.after or settings.align.size > AlignSettings().size:
        return {}
    pool = pool_of(model, volumes, "measured", split.train)
    exact = labels_of(volumes["exact"], split.train)
    moved = align_labels(pool, model.segmenter, settings, Run(model.seed, settings.precision))
    quality = {
        when: miou(exact, as_array(labels))
        for when, labels in (("before", pool.labels), ("after", moved.labels))
    }
    return {"alignment": moved.summary(pool.labels, PHASES.names), "training labels mIU": quality}


def pool_of(
    model: Model, volumes: dict[str, Volume], truth: str, chosen: NDArray[np.int64]
) -> Pool:
    """Some slices as the model's networks see them, with their neighbours and labels."""
    annotations = Annotations.of(volumes["images"], volumes[truth], PHASES).take(chosen)
    return Pool.read(annotations, model.scale, model.settings.slices)


def labels_of(volume: Volume, chosen: NDArray[np.int64]) -> Labels:
    """Phase indices (n, height, width) of some slices."""
    return PHASES.encode(np.stack([volume.slice(int(z)) for z in chosen]))


def miou(truth: Labels, answer: Labels) -> float:
    """Mean intersection over union of all pixels whose phase is known in both."""
    both = scored_pixels(truth, answer, len(PHASES))
    return float(mean_iou(confusion_matrix(truth[both], answer[both], len(PHASES))))


if __name__ == "__main__":
    main()
