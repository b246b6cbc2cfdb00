"""Runs units in the order of what they need, on several processes, and keeps what is done."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from matphase.reproduce.protocol import Protocol
from matphase.reproduce.trial import Source, UserSlices, electrode
from matphase.reproduce.units import RESULT, Unit, compute
from matphase.support import system
from matphase.support.device import best_device
from matphase.support.errors import InputError, Interrupted, MatPhaseError
from matphase.support.files import atomic_write

RECORD = "protocol.json"
FORMAT = 1
"""Of the results; raised when what a unit computes changes."""
GIGABYTES_A_WORKER = 3

Say = Callable[[str], None]


def default_workers() -> int:
    """One process a core, as far as memory reaches; on a GPU one in all."""
    if best_device().type != "cpu":
        return 1
    return max(1, min(system.cores(), int(system.memory_bytes() / 1e9 / GIGABYTES_A_WORKER)))


def claim(out: Path, protocol: Protocol, slices: UserSlices | None) -> None:
    """Note in the output folder under which conditions it is filled, or see that they are these.

    Raises:
        InputError: it holds results of other conditions.
        OutputError: it cannot be written.
    """
    record = {
        "format": FORMAT,
        "protocol": protocol.model_dump(mode="json"),
        "slices": slices.record() if slices is not None else None,
    }
    path = out / RECORD
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} holds something else than results; choose another --out")
        with atomic_write(path) as beside:
            beside.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        return
    try:
        before = json.loads(path.read_text("utf-8"))
    except ValueError:
        before = None
    if (
        not isinstance(before, dict)
        or not protocol.is_recorded_by(before.get("protocol"))
        or before | {"protocol": record["protocol"]} != record
    ):
        raise InputError(
            f"{out} holds results of another preset, other settings, other slices or another "
            "version; choose another --out, or remove it"
        )


def result_of(unit: Unit, out: Path) -> dict[str, Any] | None:
    """What a unit found, or None if it is not done."""
    path = out / unit.place / RESULT
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def source_of(
    protocol: Protocol, slices: UserSlices | None, seed: int, out: Path, say: Say = lambda _: None
) -> Source:
    """The user's slices, or the virtual electrode of that seed, made once and kept in `out`."""
    if slices is not None:
        return slices.read()
    folder = out / "electrodes" / f"seed{seed}"
    if not folder.exists():
        say(f"virtual electrode of seed {seed} is being made")
    return electrode(protocol, seed, folder)


def run_units(
    units: Sequence[Unit],
    protocol: Protocol,
    slices: UserSlices | None,
    out: Path,
    *,
    workers: int,
    say: Say,
    with_arrays: Collection[Unit] = (),
) -> None:
    """Compute the units that are not done yet, and those that they need.

    Every process has its share of the cores, so the last bits of a result depend on cores per
    worker, not on which unit runs where.

    Args:
        units: wanted, in the order in which to begin.
        protocol: conditions.
        slices: the user's own; none: virtual electrodes.
        out: folder of all results.
        workers: processes.
        say: is told a line for every unit that is done.
        with_arrays: of the units those of which a result alone is not enough.

    Raises:
        Interrupted: the user stopped it; units in work are kept at their last checkpoint.
        InputError: the slices cannot be used.
        MatPhaseError: a worker died.
    """
    clock = _Clock(out, units, workers, say)
    try:
        todo = _missing(units, out, with_arrays)
        clock.begin(todo)
        while todo:
            if slices is None:
                for seed in sorted({unit.seed for unit in todo}):
                    source_of(protocol, None, seed, out, say)
            _run(todo, partial(_work, protocol, slices, out), workers, clock)
            # a network that came out different makes what was built on it stale
            if todo := _missing(units, out, with_arrays):
                clock.begin(todo)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"stopped; what is done is kept in {out}, and the same command goes on"
        ) from error


def _missing(units: Sequence[Unit], out: Path, with_arrays: Collection[Unit]) -> list[Unit]:
    """The units that are to be computed, what they need in front of them."""
    todo: dict[Unit, None] = {}

    def look_at(unit: Unit, *, arrays: bool) -> None:
        result = result_of(unit, out)
        done = result is not None
        if result is not None and unit.needs is not None:
            # what it was built on may have been computed anew, on another machine
            needed = result_of(unit.needs, out)
            done = needed is None or needed["weights"] == result["built_on"]
        if done and arrays:
            # results may be kept, or copied, without the arrays beside them
            done = all((out / unit.place / name).exists() for name in unit.arrays)
        if unit.needs is not None and (arrays or not done):
            look_at(unit.needs, arrays=True)
        if not done:
            todo[unit] = None

    for unit in units:
        look_at(unit, arrays=unit in with_arrays)
    return list(todo)


def _run(todo: list[Unit], work: Callable[[Unit], None], workers: int, clock: "_Clock") -> None:
    """Compute units in worker processes, which end with this call however it ends."""
    others = set(active_children())
    threads = max(1, system.cores() // workers)
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (threads,)) as pool:
        try:
            _schedule(pool, todo, work, workers, clock)
        except BaseException as error:
            # what they work on is kept at its last checkpoint
            for child in set(active_children()) - others:
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise MatPhaseError(
                    "a worker process was ended from outside, often for lack of memory; call "
                    "again with fewer --workers, and the work goes on"
                ) from error
            raise


def _schedule(
    pool: ProcessPoolExecutor,
    todo: list[Unit],
    work: Callable[[Unit], None],
    workers: int,
    clock: "_Clock",
) -> None:
    """Hand out the units, each once what it needs is done; none waits that could begin."""
    running: dict[Future[None], Unit] = {}
    while todo or running:
        ready = [unit for unit in todo if unit.needs not in {*todo, *running.values()}]
        for unit in ready[: workers - len(running)]:
            todo.remove(unit)
            running[pool.submit(work, unit)] = unit
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
            clock.done(running.pop(future), [*todo, *running.values()])


def _prepare(threads: int) -> None:
    """Make a worker process ready."""
    torch.set_num_threads(threads)
    # the main process hears of Ctrl-C, too, and ends the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    """End this process once its parent is gone, which cannot say so when it is killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(protocol: Protocol, slices: UserSlices | None, out: Path, unit: Unit) -> None:
    compute(unit, protocol, source_of(protocol, slices, unit.seed, out), out)


class _Clock:
    """Says after each unit how long the rest will take."""

    def __init__(self, out: Path, units: Sequence[Unit], workers: int, say: Say) -> None:
        self._out = out
        self._units = units
        self._workers = workers
        self._say = say
        self._total = 0
        self._seconds: dict[tuple[str, str], list[float]] = {}
        for unit in dict.fromkeys(units):
            if result_of(unit, out) is not None:
                self._learn(unit)

    def begin(self, todo: Sequence[Unit]) -> None:
        self._total = len({*self._units, *todo})
        left = f"; {self._left(todo)}" if todo and self._seconds else ""
        self._say(f"{self._total - len(todo)} of {self._total} units are done{left}")

    def done(self, unit: Unit, rest: Sequence[Unit]) -> None:
        seconds = self._learn(unit)
        self._say(
            f"{self._total - len(rest)} of {self._total} units: {unit.split}, seed {unit.seed}, "
            f"{unit.name} in {seconds:.0f} s; {self._left(rest)}"
        )

    def _learn(self, unit: Unit) -> float:
        result = result_of(unit, self._out)
        seconds = float(result["seconds"]) if result else 0.0
        self._seconds.setdefault((unit.split, unit.name), []).append(seconds)
        return seconds

    def _left(self, rest: Sequence[Unit]) -> str:
        every = [second for known in self._seconds.values() for second in known]
        expected = [mean(self._seconds.get((unit.split, unit.name), every)) for unit in rest]
        return f"about {_duration(sum(expected) / self._workers)} left"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
