"""MatPhase beside its peers on real nano-CT slices, each with the same slices.

    python benchmarks/real_slices.py DATA OUT [--rows unet,auto] [--seeds 3] [--slices 4,2,1]

DATA is a folder of electrodes (see electrodes.py). The last third of an electrode's slices is
tested on, and the last 4, 2 or 1 of the others are trained on. Rows are methods (`METHODS`),
MatPhase's presets (a number behind one, as in best:0.5, is another dropout of UGSM), and
nnunet:MINUTES of training, where nnU-Net has an environment of its own (see nnunet.py):

    python benchmarks/real_slices.py DATA OUT --nnunet-python VENV/bin/python

OUT keeps the result of each row, electrode, number of slices and seed; a run that was stopped goes
on, and the tables show all that is there. To measure a row again, remove its folders. Several calls
with other rows may share OUT. With --publish the tables are written to
results/real_slices.{json,md}, otherwise printed.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import real_slices_peers as peers
import real_slices_tools as tools
import real_slices_unet as unet
import torch
from common import publish
from electrodes import LABEL_MAP, Electrode, Split, electrodes_in, split_of
from nnunet_cases import has_nnunet
from real_slices_peers import Answer
from real_slices_tables import CHOSEN, Found, content_of, report
from threadpoolctl import threadpool_limits

from matphase.images.phases import IGNORE_INDEX
from matphase.reproduce.engine import Case, run
from matphase.reproduce.results import claim, result_at
from matphase.scores.evaluation import Row, score_row
from matphase.scores.metrics.confusion import block_confusions
from matphase.scores.metrics.detection import auroc
from matphase.settings.model import PresetName

METHODS = {**peers.METHODS, **unet.METHODS}
ADDED = {
    "unet_turned+logistic": ("unet_turned", "logistic"),
    "unet_both+extra_trees": ("unet_both", "extra_trees"),
}
"""Rows whose probabilities are those of two others, added."""
TITLES = {
    **peers.TITLES,
    **unet.TITLES,
    "unet_turned+logistic": "plain U-Net (8 flips and turns) + logistic regression",
    "unet_both+extra_trees": "U-Net with two grey scales + extra trees",
}
PRESETS = ("small", "best", CHOSEN)
NNUNET = ("nnunet:10", "nnunet:40")
"""As long as preset `auto` may take, and four times as long."""
BLOCK = (1, 64, 64)
"""Test pixels (slices, y, x) that the bootstrap draws together."""


@dataclass(frozen=True)
class Bench:
    """Where slices come from, and how methods are run.

    Attributes:
        data: folder of electrodes.
        out: folder of results.
        label_map: label value of each phase.
        threads: of each method; nnU-Net has one.
        nnunet_python: interpreter of nnU-Net's environment, if there is one.
    """

    data: Path
    out: Path
    label_map: str
    threads: int
    nnunet_python: str | None

    def splits(self, counts: Iterable[int]) -> Iterator[tuple[str, int, Split]]:
        """Electrodes, numbers of training slices, and the slices."""
        for name in electrodes_in(self.data):
            split = split_of(self.data / name)
            for count in dict.fromkeys(min(count, len(split.train)) for count in counts):
                yield name, count, split.last(count)

    def measure(self, case: Case, folder: Path) -> dict[str, Any]:
        """Rows of one method, electrode, number of slices and seed."""
        name, slices_text, method = case.condition.split("/")
        split = split_of(self.data / name).last(int(slices_text.split("_")[0]))
        with tempfile.TemporaryDirectory() as room:
            slices = Electrode(self.data / name, split, Path(room), self.label_map)
            with threadpool_limits(self.threads):
                answers = self._method(method, folder)(slices, case.seed, self.threads)
            for row, answer in answers.items():
                keep(answer, folder / file_of(row))
            return {"rows": {row: scored(slices, answer) for row, answer in answers.items()}}

    def _method(
        self, name: str, folder: Path
    ) -> Callable[[Electrode, int, int], dict[str, Answer]]:
        if name in METHODS:
            return METHODS[name]
        if name.startswith("nnunet:") and self.nnunet_python is not None:
            minutes = name.removeprefix("nnunet:")
            return partial(tools.nnunet, self.nnunet_python, minutes, folder)
        return partial(tools.matphase, name)

    def found(self, name: str, count: int, split: Split) -> Found:
        """All rows of an electrode and a number of slices that are there."""
        rows: dict[str, dict[int, Row]] = {}
        places: dict[tuple[str, int], Path] = {}
        for folder in sorted((self.out / name / in_words(count)).glob("*/seed*")):
            seed = int(folder.name.removeprefix("seed"))
            for row, scores in (result_at(folder) or {"rows": {}})["rows"].items():
                rows.setdefault(row, {})[seed] = scores
                places[row, seed] = folder / file_of(row)
        with tempfile.TemporaryDirectory() as room:
            slices = Electrode(self.data / name, split, Path(room), self.label_map)
            for row, members in ADDED.items():
                for seed in set.intersection(*(set(rows.get(one, {})) for one in members)):
                    answers = [kept(places[one, seed], rows[one][seed]) for one in members]
                    rows.setdefault(row, {})[seed] = scored(slices, peers.added(answers))
        titles = {row: TITLES.get(row) or tools.title(row) for row in (*TITLES, *sorted(rows))}
        ordered = {titles[row]: dict(sorted(rows[row].items())) for row in titles if row in rows}
        return Found(name, split, slices.phases.names, ordered)


def main() -> None:
    """Measure what is missing and show the tables of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", help="what to measure, all by default; none: show the tables")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slices", default="4,2,1", help="numbers of training slices")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--label-map", default=LABEL_MAP)
    parser.add_argument("--nnunet-python", help="has nnunetv2")
    parser.add_argument("--publish", action="store_true", help="write the tables to results/")
    arguments = parser.parse_args()
    python = arguments.nnunet_python
    if python is not None and not has_nnunet(python):
        parser.error(f"{python} cannot import nnunetv2; install it as nnunet.py says")
    rows = rows_of(parser, arguments.rows, with_nnunet=python is not None)
    claim(arguments.out, {"threads": arguments.threads, "label_map": arguments.label_map})
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # of the processes that are started
    bench = Bench(arguments.data, arguments.out, arguments.label_map, arguments.threads, python)
    counts = [int(count) for count in arguments.slices.split(",")]
    splits = list(bench.splits(counts))
    run(list(cases_of(splits, rows, arguments.seeds)), bench.measure, arguments.out)
    found = [bench.found(*one) for one in splits]
    text = report(found, arguments.threads)
    if arguments.publish:
        publish("real_slices", content_of(found, arguments.threads), text)
    else:
        print(text)


def rows_of(parser: argparse.ArgumentParser, wanted: str | None, *, with_nnunet: bool) -> list[str]:
    """Names of the methods to measure."""
    if wanted is None:
        return [*METHODS, *PRESETS, *(NNUNET if with_nnunet else ())]
    names = [] if wanted == "none" else wanted.split(",")
    known = {*METHODS, *get_args(PresetName), *(["nnunet"] if with_nnunet else [])}
    for name in names:
        if name.partition(":")[0] not in known:
            needs = "; nnunet:MINUTES needs --nnunet-python" if "nnunet" in name else ""
            parser.error(f"no row {name}; choose from {', '.join(sorted(known))}{needs}")
    return names


def cases_of(
    splits: Sequence[tuple[str, int, Split]], methods: Sequence[str], seeds: int
) -> Iterator[Case]:
    """What to measure: row by row, seed by seed, on all electrodes."""
    for method in dict.fromkeys(methods):
        for seed in range(1 if method == "otsu" else seeds):
            for name, count, _ in splits:
                yield Case(f"{name}/{in_words(count)}/{method}", seed)


def in_words(count: int) -> str:
    """A number of training slices, as folders name it."""
    return f"{count}_slices"


def scored(slices: Electrode, answer: Answer) -> Row:
    """Scores on the test slices, confusions by block, and seconds."""
    truth = slices.labels("test")
    blocks = block_confusions(truth, answer.labels, len(slices.phases), BLOCK)
    row = score_row(truth, answer.labels, slices.phases, answer.probabilities)
    expected = answer.expected_errors
    found = None
    if expected is not None:
        found = auroc(expected, truth != answer.labels, where=truth != IGNORE_INDEX)
    return {
        **row,
        "AUROC": found,
        "train_seconds": answer.train,
        "predict_seconds": answer.predict,
        **answer.facts,
        "block_confusions": blocks.tolist(),
    }


def file_of(row: str) -> str:
    """Name of the file with the probabilities of a row."""
    return re.sub(r"\W", "_", row) + ".npz"


def keep(answer: Answer, path: Path) -> None:
    """Store the probabilities, if there are any."""
    if answer.probabilities is not None:
        np.savez_compressed(path, probabilities=answer.probabilities.astype(np.float16))


def kept(path: Path, row: Row) -> Answer:
    """What was stored, with its seconds."""
    with np.load(path) as file:
        found = file["probabilities"].astype(np.float32)
    return Answer.of(found, row["train_seconds"], row["predict_seconds"])


if __name__ == "__main__":
    main()
