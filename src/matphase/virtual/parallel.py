"""Work in one thread per core; NumPy and SciPy release the GIL while they compute."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from matphase.support import system
from matphase.support.progress import Reporter

T = TypeVar("T")


def in_threads(task: Callable[[T], None], items: Sequence[T], reporter: Reporter) -> None:
    """Run `task` on each item in parallel; if one fails, items that have not started are dropped.

    Each task must write to memory of its own, so that the number of threads changes no result.
    """
    pool = ThreadPoolExecutor(system.cores())
    try:
        for _ in pool.map(task, items):
            reporter.advance()
    finally:
        pool.shutdown(cancel_futures=True)
