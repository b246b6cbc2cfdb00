"""Runs units in the order of what they need, on several processes, and keeps what is done."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from matphase.device import best_device
from matphase.errors import InputError, Interrupted, MatPhaseError
from matphase.files import written_whole
from matphase.progress import Silent
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.trial import Source, UserSlices, electrode
from matphase.reproduce.units import RESULT, Unit, compute

RECORD = "protocol.json"

Say = Callable[[str], None]


def default_workers() -> int:
    """One process a core; on a GPU one in all."""
    return 1 if best_device().type != "cpu" else os.cpu_count() or 1


def claim(out: Path, protocol: Protocol, slices: UserSlices | None) -> None:
    """Note in the output folder under which conditions it is filled, or see that they are these.

    Raises:
        InputError: it holds results of other conditions.
        OutputError: it cannot be written.
    """
    record = {
        "protocol": protocol.model_dump(mode="json"),
        "slices": vars(slices) if slices is not None else None,
    }
    path = out / RECORD
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} holds something else than results; choose another --out")
        with written_whole(path) as beside:
            beside.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        return
    try:
        before = json.loads(path.read_text("utf-8"))
    except ValueError:
        before = None
    if before != record:
        raise InputError(
            f"{out} holds results of another preset, other settings or other slices; choose "
            "another --out, or remove it"
        )


def result_of(unit: Unit, out: Path) -> dict[str, Any] | None:
    """What a unit found, or None if it is not done."""
    path = out / unit.place / RESULT
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def source_of(protocol: Protocol, slices: UserSlices | None, seed: int, out: Path) -> Source:
    """The user's slices, or the virtual electrode of that seed, which is kept in `out`."""
    if slices is not None:
        return slices.read()
    return electrode(protocol, seed, out / "electrodes" / f"seed{seed}")


def run_units(
    units: Sequence[Unit],
    protocol: Protocol,
    slices: UserSlices | None,
    out: Path,
    *,
    workers: int,
    say: Say,
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

    Raises:
        Interrupted: the user stopped it; units in work are kept at their last checkpoint.
        InputError: the slices cannot be used.
        MatPhaseError: a worker died.
    """
    wanted = _with_needs(units)
    todo = [unit for unit in wanted if result_of(unit, out) is None]
    clock = _Clock(out, wanted, todo, workers, say)
    if not todo:
        return
    if slices is None:
        for seed in sorted({unit.seed for unit in todo}):
            source_of(protocol, None, seed, out)
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (threads,)) as pool:
        try:
            _schedule(pool, todo, workers, lambda unit: (unit, protocol, slices, out), clock)
        except BaseException as error:
            # what they work on is kept at its last checkpoint
            for child in active_children():
                child.terminate()
            match error:
                case KeyboardInterrupt():
                    raise Interrupted(
                        f"stopped; what is done is kept in {out}, and the same command goes on"
                    ) from error
                case BrokenProcessPool():
                    raise MatPhaseError(
                        "a worker process was ended from outside, often for lack of memory; call "
                        "again with fewer --workers, and the work goes on"
                    ) from error
            raise


def _schedule(
    pool: ProcessPoolExecutor,
    todo: list[Unit],
    workers: int,
    arguments: Callable[[Unit], tuple[Any, ...]],
    clock: "_Clock",
) -> None:
    """Hand out the units, each once what it needs is done; none waits that could begin."""
    running: dict[Future[None], Unit] = {}
    while todo or running:
        ready = [unit for unit in todo if unit.needs not in {*todo, *running.values()}]
        for unit in ready[: workers - len(running)]:
            todo.remove(unit)
            running[pool.submit(_work, *arguments(unit))] = unit
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
            clock.done(running.pop(future), [*todo, *running.values()])


def _with_needs(units: Sequence[Unit]) -> list[Unit]:
    """The units and what they need, each once, needs first."""
    ordered: dict[Unit, None] = {}

    def add(unit: Unit) -> None:
        if unit.needs is not None:
            add(unit.needs)
        ordered[unit] = None

    for unit in units:
        add(unit)
    return list(ordered)


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


def _work(unit: Unit, protocol: Protocol, slices: UserSlices | None, out: Path) -> None:
    compute(unit, protocol, source_of(protocol, slices, unit.seed, out), out, Silent())


class _Clock:
    """Says after each unit how long the rest will take."""

    def __init__(
        self, out: Path, wanted: Sequence[Unit], todo: Sequence[Unit], workers: int, say: Say
    ) -> None:
        self._out = out
        self._total = len(wanted)
        self._workers = workers
        self._say = say
        self._began = time.monotonic()
        self._seconds: dict[str, list[float]] = {}
        for unit in wanted:
            if unit not in todo:
                self._learn(unit)
        say(f"{self._total - len(todo)} of {self._total} units are done")

    def done(self, unit: Unit, rest: Sequence[Unit]) -> None:
        seconds = self._learn(unit)
        left = sum(self._expected(other) for other in rest) / self._workers
        number = self._total - len(rest)
        self._say(
            f"{number} of {self._total} units: {unit.split}, seed {unit.seed}, {unit.name} in "
            f"{seconds:.0f} s; about {_duration(left)} left"
        )

    def _learn(self, unit: Unit) -> float:
        result = result_of(unit, self._out)
        seconds = float(result["seconds"]) if result else 0.0
        self._seconds.setdefault(unit.name, []).append(seconds)
        return seconds

    def _expected(self, unit: Unit) -> float:
        known = self._seconds.get(unit.name)
        return mean(known or [second for name in self._seconds for second in self._seconds[name]])


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
