"""What several workers gain, and what goes on around the networks.

    python benchmarks/workers.py [--repeats 4]

A stack in an OME-Zarr file is predicted into files by one process that goes through the blocks, by
one Dask worker, and by two; each worker has one core, and so has the process. Since a machine's
speed changes from minute to minute, the process and the one worker run at the same time, each on
the core that the other had before; then come the two workers. Each run is of a process of its own
and predicts a small stack first, so that code and weights are loaded; that, with the start of the
workers, is timed apart. Random weights: MCD U-Net of width 16, T = 4, and LCGAR on about a tenth
of the pixels.

Around the networks is what a run of the one process spends outside of `block_maps`: reading and
scaling, fingerprints, keeping blocks, writing files. Needs two idle cores, and Linux. Writes
benchmarks/results/workers.json and .md.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from common import publish
from memory import Grains, model_of, warmed

from matphase.images import formats
from matphase.images.volume import Volume
from matphase.method.model_folder import read, write
from matphase.prediction import run
from matphase.prediction.blocks import block_maps, task_of
from matphase.prediction.cluster import Cluster, local_cluster
from matphase.reproduce.page import grid
from matphase.reproduce.timing import take_turns
from matphase.support.progress import Silent
from matphase.support.text import times

SHAPE = (16, 384, 384)
KINDS = ("loop", "1 worker", "2 workers")


@contextmanager
def timed(spent: list[float]) -> Iterator[None]:
    """Add the seconds that the block takes."""
    began = time.monotonic()
    yield
    spent[0] += time.monotonic() - began


def predicted(model: Path, volume: Path, crew: run.Crew | None, room: Path) -> list[float]:
    """Seconds of a prediction: in all, and in `block_maps` of this process."""
    within, whole = [0.0], [0.0]
    real = block_maps

    def timing(*arguments: Any) -> Any:
        with timed(within):
            return real(*arguments)

    with (
        patch.object(run, "block_maps", timing),
        tempfile.TemporaryDirectory(dir=room) as folder,
        timed(whole),
    ):
        trained, grey = read(model), formats.open(volume)
        run.predict_to_files(
            trained,
            grey,
            task_of(trained, grey),
            Path(folder) / "out.tif",
            folder=model,
            crew=crew,
            reporter=Silent(),
        )
    return [whole[0], within[0]]


def measured(kind: str, cores: set[int], room: Path) -> dict[str, float]:
    """Predict the small stack, then the large one, on these cores."""
    os.sched_setaffinity(0, cores)
    model, small, large = room / "model", room / "small.ome.zarr", room / "large.ome.zarr"
    began = time.monotonic()
    if kind == "loop":
        torch.set_num_threads(1)
        predicted(model, small, None, room)
        start = time.monotonic() - began
        seconds, within = predicted(model, large, None, room)
        return {"start": start, "seconds": seconds, "within": within}
    with local_cluster(len(cores)) as client:
        crew = Cluster(client, model)
        predicted(model, small, crew, room)
        start = time.monotonic() - began
        seconds, _ = predicted(model, large, crew, room)
    return {"start": start, "seconds": seconds}


def make(room: Path) -> None:
    """Write the model and the two stacks."""
    for name, shape in (("small", (8, 64, 64)), ("large", SHAPE)):
        grey = Volume.from_array(Grains(shape, 32), "zyx", (0.1, 0.1, 0.1), "um")
        formats.save(room / f"{name}.ome.zarr", grey)
    write(warmed(model_of(16, 4), grey), room / "model")


def started(kind: str, cores: str, folder: str) -> subprocess.Popen[str]:
    """Begin a run."""
    command = [sys.executable, __file__, "--one", kind, cores, folder]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main() -> None:
    """Measure all kinds in turn."""
    if sys.argv[1:2] == ["--one"]:
        kind, cores, folder = sys.argv[2:]
        print(json.dumps(measured(kind, set(map(int, cores.split(","))), Path(folder))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=4)
    repeats = parser.parse_args().repeats
    loop, worker, two = KINDS
    one, other = (str(core) for core in sorted(os.sched_getaffinity(0))[:2])
    swapped = itertools.cycle([(one, other), (other, one)])
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        sides = {
            "one process": lambda: together(
                dict(zip((loop, worker), next(swapped), strict=True)), folder
            ),
            "two processes": lambda: together({two: f"{one},{other}"}, folder),
        }
        rounds = take_turns(sides, repeats)
    runs = {
        kind: [each[kind] for each in several] for several in rounds.values() for kind in several[0]
    }
    report(runs, repeats)


def together(cores: dict[str, str], folder: str) -> dict[str, dict[str, float]]:
    """Run kinds at the same time, each on its cores."""
    begun = {kind: started(kind, which, folder) for kind, which in cores.items()}
    found = {kind: json.loads(process.communicate()[0]) for kind, process in begun.items()}
    print(found, flush=True)
    return found


def report(runs: dict[str, list[dict[str, float]]], repeats: int) -> None:
    """Write results/workers.{json,md}."""
    loop, worker, two = (np.array([each["seconds"] for each in runs[kind]]) for kind in KINDS)
    figures = {
        "two_workers_over_one": float(np.median(worker / two)),
        "overhead_of_dask": float(np.median(worker / loop)) - 1,
        "around_the_networks": float(
            np.median([1 - each["within"] / each["seconds"] for each in runs["loop"]])
        ),
    }
    rows = [
        [
            kind,
            " ".join(f"{each['seconds']:.1f}" for each in runs[kind]),
            f"{np.median([each['start'] for each in runs[kind]]):.1f}",
        ]
        for kind in KINDS
    ]
    header = ["run by", "seconds", "start and small stack, seconds"]
    text = (
        f"# Workers\n\nA stack of {times(SHAPE)} voxels, a core a worker, "
        f"{repeats} runs each.\n\n{grid(header, rows)}\n\n"
        "Medians of the ratios, run by run: two workers are "
        f"{figures['two_workers_over_one']:.2f} times as fast as one; Dask costs one worker "
        f"{100 * figures['overhead_of_dask']:.1f} % over the loop; the loop spends "
        f"{100 * figures['around_the_networks']:.1f} % of its time around the networks."
    )
    publish("workers", {"shape": SHAPE, "runs": runs, **figures}, text)


if __name__ == "__main__":
    main()
