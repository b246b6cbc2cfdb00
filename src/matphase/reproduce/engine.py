"""The engine of all experiments: runs trials, keeps their results, and goes on after a stop.

An experiment is a list of trials and a function that computes the result of one. A trial is a
condition with a seed; it may need another trial. Its result is written to `result.json` in its
folder as soon as it is there, with the machine and the seconds it took. The paper's tables and the
programs in benchmarks/ use this engine.
"""

import re
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Generic, Protocol, TypeVar

from matphase.reproduce import machine
from matphase.reproduce.results import Result, result_at, write_result
from matphase.reproduce.workers import worker_pool
from matphase.support.errors import Interrupted, OutputError, one_line
from matphase.support.files import others_in, remove_at_once
from matphase.support.records import read_regular
from matphase.support.rooms import UNFINISHED

BEGUN = "built_on.txt"
"""In the folder of a trial: the `weights` on which its work was begun."""
_OWN = re.compile(
    rf"built_on\.txt|result\.json|\w+\.(ckpt|safetensors|npz)|{re.escape(UNFINISHED)}.*"
)
"""Names of the files of a trial that builds on another one."""
IN_LINE = 0
"""So many workers: the trials run one after the other in this process."""

Say = Callable[[str], None]


class Trial(Protocol):
    """One piece of an experiment; equal trials are the same piece."""

    @property
    def place(self) -> str:
        """Its folder, relative to that of the experiment."""

    @property
    def kind(self) -> str:
        """A name for trials that take about equally long."""

    @property
    def needs(self) -> Any:
        """The trial that has to be done before, of any kind; None if there is none."""

    @property
    def arrays(self) -> tuple[str, ...]:
        """Files of its folder that other trials, or figures, read besides the result."""

    def __hash__(self) -> int: ...


T = TypeVar("T", bound=Trial)


@dataclass(frozen=True)
class Case:
    """A trial that needs no other: a named condition with a seed."""

    condition: str
    seed: int = 0

    @property
    def place(self) -> str:
        """Its folder, relative to that of the experiment."""
        return f"{re.sub('[^a-zA-Z0-9/._-]+', '_', self.condition)}/seed{self.seed}"

    @property
    def kind(self) -> str:
        """The condition: its seeds take about equally long."""
        return self.condition

    @property
    def needs(self) -> None:
        """No other trial."""
        return

    @property
    def arrays(self) -> tuple[str, ...]:
        """No files besides the result."""
        return ()

    def __str__(self) -> str:
        return f"{self.condition}, seed {self.seed}"


@dataclass(frozen=True)
class _Work(Generic[T]):
    """Computes a trial and writes its result; travels to worker processes."""

    compute: Callable[[T, Path], Result]
    out: Path

    def __call__(self, trial: T) -> None:
        folder = self.out / trial.place
        needed = result_of(trial.needs, self.out) if trial.needs is not None else None
        built_on = needed["weights"] if needed is not None else None
        _make_ready(folder, built_on)
        began = time.monotonic()
        found = self.compute(trial, folder)
        seconds = round(time.monotonic() - began, 1)
        facts = machine.facts()
        record = {"machine": facts, "built_on": built_on, "weights": None, "seconds": seconds}
        write_result(folder, {**record, **found})


def result_of(trial: Trial, out: Path) -> Result | None:
    """The result of a trial; None if it is not done, or its result is damaged."""
    return result_at(out / trial.place)


def results_of(trials: Sequence[T], out: Path) -> dict[T, Result]:
    """The results of the trials that are done, in their order."""
    found = {trial: result_of(trial, out) for trial in trials}
    return {trial: result for trial, result in found.items() if result is not None}


def run(
    trials: Sequence[T],
    compute: Callable[[T, Path], Result],
    out: Path,
    *,
    workers: int = IN_LINE,
    say: Say = print,
    with_arrays: Collection[T] = (),
    prepare: Callable[[Sequence[T]], None] | None = None,
    keep_going: bool = False,
) -> dict[T, Result]:
    """Run the trials that are not done yet, and those that they need.

    Worker processes share the cores evenly, so the last bits of a result depend on cores per
    worker, not on which trial runs where.

    Args:
        trials: wanted, in the order in which to begin.
        compute: gives the result of a trial, ready for JSON. It is called with the trial and its
            folder, where checkpoints and arrays may be kept; with workers it must be picklable. A
            result on which other trials build has `weights`, a checksum of what they take over.
            The engine adds `machine`, `seconds` and `built_on`, the `weights` of what was needed.
        out: folder of the experiment.
        workers: processes; `IN_LINE`: none besides this one.
        say: is called with a line for every trial that is done.
        with_arrays: trials of which a result without `arrays` is not enough.
        prepare: is called with the trials to be computed before they begin.
        keep_going: report a trial that fails, go on with those that do not need it, and end
            normally. Otherwise its error ends the run.

    Returns:
        The results of the trials that are done, those of before included.

    Raises:
        Interrupted: the user stopped it; trials in work are kept at their last checkpoint.
        MatPhaseError: a worker process was ended from outside.
        Exception: whatever `compute` raised.
    """
    countdown = _Countdown(out, trials, max(1, workers), say)
    failures = _Failures(say, keep_going=keep_going)
    work = _Work(compute, out)
    try:
        todo = missing(trials, out, with_arrays)
        countdown.begin(todo)
        while todo:
            if prepare is not None:
                prepare(todo)
            if workers == IN_LINE:
                _run_in_line(todo, work, countdown, failures)
            else:
                with worker_pool(workers) as pool:
                    _schedule(pool, todo, work, workers, countdown, failures)
            # a network that came out different makes what was built on it stale
            todo = failures.without_failed(missing(trials, out, with_arrays))
            if todo:
                countdown.begin(todo)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"stopped; finished results are kept in {out}, and the same command goes on"
        ) from error
    return results_of(trials, out)


def missing(trials: Sequence[T], out: Path, with_arrays: Collection[T] = ()) -> list[T]:
    """The trials that are to be computed, each after the one that it needs."""
    todo: dict[T, None] = {}

    def look_at(trial: T, *, arrays: bool) -> None:
        result = result_of(trial, out)
        done = result is not None
        if result is not None and trial.needs is not None:
            # what it was built on may have been computed again, on another machine
            needed = result_of(trial.needs, out)
            done = needed is None or needed["weights"] == result["built_on"]
        if done and arrays:
            # results may be kept, or copied, without the arrays beside them
            done = all((out / trial.place / name).exists() for name in trial.arrays)
        if trial.needs is not None and (arrays or not done):
            look_at(trial.needs, arrays=True)
        if not done:
            todo[trial] = None

    for trial in trials:
        look_at(trial, arrays=trial in with_arrays)
    return list(todo)


def _make_ready(folder: Path, built_on: str | None) -> None:
    """Keep what was begun in the folder only if it was begun on the same weights."""
    begun = folder / BEGUN
    if folder.exists() and _begun_on(begun) != str(built_on):
        others = others_in(folder, _OWN)
        if others or (_begun_on(begun) is None and any(folder.iterdir())):
            name = others[0] if others else next(folder.iterdir()).name
            raise OutputError(
                f"{folder} is not emptied to begin again, since it holds {one_line(name)}, which "
                "is of no trial; move it elsewhere"
            )
        remove_at_once(folder, _OWN)
    folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(str(built_on), "utf-8")


def _begun_on(begun: Path) -> str | None:
    try:
        return read_regular(begun, 1000).decode("utf-8")
    except (OSError, ValueError):
        return None


def _run_in_line(
    todo: list[T], work: _Work[T], countdown: "_Countdown", failures: "_Failures"
) -> None:
    """Run the trials one after the other in this process; `todo` is in the order of needs."""
    while todo := failures.without_failed(todo):
        trial = todo.pop(0)
        try:
            work(trial)
        except Exception as error:
            failures.add(trial, error)
        else:
            countdown.done(trial, todo)


def _schedule(
    pool: ProcessPoolExecutor,
    todo: list[T],
    work: _Work[T],
    workers: int,
    countdown: "_Countdown",
    failures: "_Failures",
) -> None:
    """Hand out the trials, each once what it needs is done; none waits that could begin."""
    running: dict[Future[None], T] = {}
    while todo or running:
        ready = [trial for trial in todo if trial.needs not in {*todo, *running.values()}]
        for trial in ready[: workers - len(running)]:
            todo.remove(trial)
            running[pool.submit(work, trial)] = trial
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            trial = running.pop(future)
            if (error := future.exception()) is not None:
                failures.add(trial, error)
                todo[:] = failures.without_failed(todo)
            else:
                countdown.done(trial, [*todo, *running.values()])


class _Failures:
    """The trials that failed: the first ends the run, or all are told and passed by."""

    def __init__(self, say: Say, *, keep_going: bool) -> None:
        self._say = say
        self._keep_going = keep_going
        self._failed: set[Any] = set()

    def add(self, trial: Trial, error: BaseException) -> None:
        # a lost worker takes the whole pool with it, so there is nothing to go on with
        ends_all = isinstance(error, BrokenProcessPool | Interrupted)
        if ends_all or not self._keep_going or not isinstance(error, Exception):
            raise error
        self._failed.add(trial)
        self._say(f"{trial} failed: {type(error).__name__}: {error}")

    def without_failed(self, trials: Sequence[T]) -> list[T]:
        """The trials that neither failed nor need one that did."""
        return [trial for trial in trials if not self._is_lost(trial)]

    def _is_lost(self, trial: Trial) -> bool:
        needs = trial.needs
        return trial in self._failed or (needs is not None and self._is_lost(needs))


class _Countdown:
    """Says after each trial how long the rest will take."""

    def __init__(self, out: Path, trials: Sequence[Trial], workers: int, say: Say) -> None:
        self._out = out
        self._trials = trials
        self._workers = workers
        self._say = say
        self._total = 0
        self._seconds: dict[str, list[float]] = {}
        for trial in dict.fromkeys(trials):
            if result_of(trial, out) is not None:
                self._learn(trial)

    def begin(self, todo: Sequence[Trial]) -> None:
        self._total = len({*self._trials, *todo})
        left = f"; {self._left(todo)}" if todo and self._seconds else ""
        self._say(f"{self._total - len(todo)} of {self._total} trials are done{left}")

    def done(self, trial: Trial, rest: Sequence[Trial]) -> None:
        seconds = self._learn(trial)
        self._say(
            f"{self._total - len(rest)} of {self._total} trials: {trial} in {seconds:.0f} s; "
            f"{self._left(rest)}"
        )

    def _learn(self, trial: Trial) -> float:
        result = result_of(trial, self._out)
        # a result that was taken over from elsewhere may not say
        if result is None or "seconds" not in result:
            return 0.0
        seconds = float(result["seconds"])
        self._seconds.setdefault(trial.kind, []).append(seconds)
        return seconds

    def _left(self, rest: Sequence[Trial]) -> str:
        every = [second for known in self._seconds.values() for second in known]
        expected = [mean(self._seconds.get(trial.kind, every or [0.0])) for trial in rest]
        return f"about {_duration(sum(expected) / self._workers)} left"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
