"""Work in threads, one a core; NumPy and SciPy let go of the interpreter while they compute."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from matphase.support.progress import Reporter

T = TypeVar("T")


def in_threads(task: Callable[[T], None], items: Sequence[T], reporter: Reporter) -> None:
    """Run `task` on each item and count it as done; items not begun are dropped when one fails.

    The tasks write to places of their own, so that the number of threads changes no result.
    """
    pool = ThreadPoolExecutor(_cores())
    try:
        for _ in pool.map(task, items):
            reporter.advance()
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
