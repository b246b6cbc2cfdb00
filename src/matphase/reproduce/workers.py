"""Worker processes of an experiment."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context

import torch

from matphase.support.device import best_device
from matphase.support.errors import MatPhaseError
from matphase.support.system import cores, memory_bytes

GIGABYTES_A_WORKER = 3


def default_workers() -> int:
    """One process per core, as far as memory reaches; on a GPU one in all."""
    if best_device().type != "cpu":
        return 1
    return max(1, min(cores(), int(memory_bytes() / 1e9 / GIGABYTES_A_WORKER)))


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that share the cores and end with the block, however it ends.

    Raises:
        MatPhaseError: a process was ended from outside.
    """
    others = set(active_children())
    threads = max(1, cores() // workers)
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (threads,)) as pool:
        try:
            yield pool
        except BaseException as error:
            # their work is kept at its last checkpoint
            for child in set(active_children()) - others:
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise MatPhaseError(
                    "a worker process was ended from outside, often for lack of memory; call "
                    "again with fewer --workers, and the work goes on"
                ) from error
            raise


def _prepare(threads: int) -> None:
    """Make a worker process ready."""
    torch.set_num_threads(threads)
    # Ctrl-C also reaches the main process, which ends the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    """End this process once its parent is gone: a killed parent cannot end its workers."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
