"""Training and prediction of this checkout beside another, in turns within one run.

    python benchmarks/side_by_side.py OTHER_CHECKOUT [--rounds 5] [--steps 30]

OTHER_CHECKOUT is the folder of another version of the repository, such as a git worktree. Each
round runs every task once with each version, in a process of its own, and each figure is the ratio
of this version to the other, round by round: its mean and standard deviation. CPU seconds are those
of the process; loading libraries is not counted. Each version predicts with its own model. The
table is printed; no file is written.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
from common import in_a_process

import matphase as mp
from matphase.reproduce.page import grid, mean_sd
from matphase.reproduce.timing import take_turns

HERE = Path(__file__).parents[1]
PRESETS = ("small", "best")
TASK = Path(__file__).with_name("side_by_side_task.py")
SHAPE = (24, 224, 256)
"""Voxels of the virtual electrode."""

Seconds = dict[str, float]


def main() -> None:
    """Compare the two checkouts, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="of each network's training")
    arguments = parser.parse_args()
    if not (arguments.other / "src" / "matphase").is_dir():
        parser.error(f"{arguments.other} has no src/matphase; give a checkout of the repository")
    lines = []
    with tempfile.TemporaryDirectory() as room:
        electrode = mp.VirtualElectrode.simulate("easy", SHAPE, 0)
        np.savez(Path(room) / "electrode.npz", images=electrode.image, labels=electrode.labels)
        mp.save(Path(room) / "scan.tif", mp.Volume.from_array(electrode.image))
        for task in ("train", "predict"):
            for preset in PRESETS:
                one = partial(run, task, preset, Path(room), arguments.steps)
                sides: dict[str, Callable[[], Seconds]] = {
                    name: partial(one, name, checkout)
                    for name, checkout in (("this", HERE), ("other", arguments.other))
                }
                rounds = take_turns(sides, arguments.rounds)
                lines.append([f"{task}, preset {preset}", *cells(rounds)])
                print(lines[-1], flush=True)
    header = ["", "this, CPU s", "other, CPU s", "CPU ratio", "this, s", "other, s", "ratio"]
    print(grid(header, lines))


def cells(rounds: dict[str, list[Seconds]]) -> list[str]:
    """Mean seconds of both sides, and mean and SD of their ratios."""
    found = []
    for kind in ("cpu", "wall"):
        this, other = ([one[kind] for one in rounds[name]] for name in ("this", "other"))
        ratios = [a / b for a, b in zip(this, other, strict=True)]
        found += [f"{mean(this):.2f}", f"{mean(other):.2f}", mean_sd(ratios)]
    return found


def run(task: str, preset: str, room: Path, steps: int, name: str, checkout: Path) -> Seconds:
    """Measure one task of one version in a process of its own."""
    folder = room / name
    folder.mkdir(exist_ok=True)
    environment = {"PYTHONPATH": str(checkout.resolve() / "src")}
    found: Seconds = in_a_process(TASK, task, preset, folder, steps, environment=environment)
    return found


if __name__ == "__main__":
    main()
