"""What several workers gain, and what goes on around the networks.

    python benchmarks/workers.py [--repeats 2]

A stack in an OME-Zarr file is predicted into files by one process that goes through the blocks, by
one Dask worker, and by two; each worker has one core, and so has the process. Each run is of a
process of its own, the three kinds take turns, and each predicts a small stack first, so that all
code and weights are loaded. Starting two workers and loading them is timed apart. Random weights:
MCD U-Net of width 16, T = 4, and LCGAR on about a tenth of the pixels.

Around the networks is what a run of the one process spends outside of `block_maps`: reading and
scaling, fingerprints, keeping blocks, writing files. Needs two idle cores. Writes
benchmarks/results/workers.json and .md.
"""

import argparse
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

import numpy as np
import torch
from common import markdown_table, write_results
from memory import Grains, model_of, warmed

from matphase import formats
from matphase.inference import run
from matphase.inference.cluster import Cluster, local_cluster
from matphase.inference.predict import task_of
from matphase.model_folder import read, write
from matphase.progress import Silent
from matphase.volume import Volume

SHAPE = (32, 512, 512)
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
    real = run.block_maps

    def timing(*arguments: Any) -> Any:
        with timed(within):
            return real(*arguments)

    run.block_maps = timing
    try:
        with tempfile.TemporaryDirectory(dir=room) as folder, timed(whole):
            trained, grey = read(model), formats.open(volume)
            out = Path(folder) / "out.tif"
            run.predict_to_files(
                trained,
                grey,
                task_of(trained, grey),
                out,
                folder=model,
                crew=crew,
                reporter=Silent(),
            )
    finally:
        run.block_maps = real
    return [whole[0], within[0]]


def measured(kind: str, room: Path) -> dict[str, float]:
    """Predict the small stack, then the large one."""
    model, small, large = room / "model", room / "small.ome.zarr", room / "large.ome.zarr"
    if kind == "loop":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
        start, _ = predicted(model, small, None, room)
        seconds, within = predicted(model, large, None, room)
        return {"start": start, "seconds": seconds, "within": within}
    workers = int(kind.split()[0])
    if workers == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start = [0.0]
    started = time.monotonic()
    with local_cluster(workers) as client:
        crew = Cluster(client, model)
        predicted(model, small, crew, room)
        start[0] = time.monotonic() - started
        seconds, _ = predicted(model, large, crew, room)
    return {"start": start[0], "seconds": seconds}


def make(room: Path) -> None:
    """Write the model and the two stacks."""
    for name, shape in (("small", (8, 64, 64)), ("large", SHAPE)):
        grey = Volume.from_source(Grains(shape, 32), "zyx", (0.1, 0.1, 0.1), "um")
        formats.save(room / f"{name}.ome.zarr", grey)
    write(warmed(model_of(16, 4), grey), room / "model")


def main() -> None:
    """Measure all kinds in turn."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measured(sys.argv[2], Path(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=2)
    repeats = parser.parse_args().repeats
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for _ in range(repeats):
            for kind in KINDS:
                done = subprocess.run(
                    [sys.executable, __file__, "--one", kind, folder],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                runs[kind].append(json.loads(done.stdout))
                print(kind, runs[kind][-1], flush=True)
    seconds = {kind: float(np.mean([one["seconds"] for one in runs[kind]])) for kind in KINDS}
    around = float(np.mean([1 - one["within"] / one["seconds"] for one in runs["loop"]]))
    figures = {
        "two_workers_over_one": seconds["1 worker"] / seconds["2 workers"],
        "overhead_of_dask": seconds["1 worker"] / seconds["loop"] - 1,
        "around_the_networks": around,
    }
    rows = [
        [
            kind,
            " ".join(f"{one['seconds']:.1f}" for one in runs[kind]),
            f"{seconds['loop'] / seconds[kind]:.2f}",
            f"{np.mean([one['start'] for one in runs[kind]]):.1f}",
        ]
        for kind in KINDS
    ]
    header = ["run by", "seconds", "speed against the loop", "start and small stack, seconds"]
    text = (
        f"# Workers\n\nA stack of {' x '.join(map(str, SHAPE))} voxels, a core a worker, "
        f"{repeats} runs each in turn.\n\n{markdown_table(header, rows)}\n\n"
        f"Two workers are {figures['two_workers_over_one']:.2f} times as fast as one; Dask costs "
        f"one worker {100 * figures['overhead_of_dask']:.1f} % over the loop. The loop spends "
        f"{100 * around:.1f} % of its time around the networks."
    )
    write_results("workers", {"shape": SHAPE, "runs": runs, **figures}, text)


if __name__ == "__main__":
    main()
