"""Progress bars of long computations, shown only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Reporter(Protocol):
    """Receiver of the progress of a long computation."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Start a task of `total` steps, of which an earlier run finished `done`."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report `steps` more steps; `note` is a short text, for example the current loss."""

    def finish(self) -> None:
        """End the current task."""


class Silent:
    """Reporter that prints nothing: the default in Python, and if the output is not a terminal."""

    def start(self, title: str, total: int, done: int = 0) -> None: ...

    def advance(self, steps: int = 1, note: str = "") -> None: ...

    def finish(self) -> None: ...


class Bars:
    """Reporter that draws one progress bar per task on the terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", visible=False)

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._task = self._progress.add_task(title, total=total, completed=done, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=steps, note=note)

    def finish(self) -> None:
        self._progress.update(self._task, note="")
        self._progress.stop_task(self._task)


@contextmanager
def terminal_reporter(*, quiet: bool = False) -> Iterator[Reporter]:
    """Progress bars on standard error, if it is a terminal and not `quiet`; else no output."""
    if quiet or not sys.stderr.isatty():
        yield Silent()
        return
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bars(progress)
