"""Progress with time left, for the long parts; silent when nobody watches."""

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
    """What a long piece of work tells while it runs."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begin a piece of `total` steps, `done` of which an earlier run has done already."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more as done; `note` is a short remark such as the current loss."""

    def finish(self) -> None:
        """End the piece that was begun last."""


class Silent:
    """A reporter that says nothing: the default in Python code, and where output is no terminal."""

    def start(self, title: str, total: int, done: int = 0) -> None: ...

    def advance(self, steps: int = 1, note: str = "") -> None: ...

    def finish(self) -> None: ...


class Bars:
    """A reporter that draws one bar a piece of work on the terminal."""

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
    """Bars on standard error where that is a terminal, silence elsewhere or when `quiet`."""
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
