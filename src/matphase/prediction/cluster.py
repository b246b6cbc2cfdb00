"""Prediction of blocks by several processes or machines, with Dask.

Workers read the volume and the model and write their blocks into the store themselves, so all of
them have to see the same files. Only notes are sent. If a worker dies, Dask gives its blocks to
another worker, which writes them again.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import dask
from distributed import (
    CancelledError,
    Client,
    KilledWorker,
    LocalCluster,
    as_completed,
    rpc,
)
from distributed.comm.core import CommClosedError

from matphase.images.tiles import Tile
from matphase.method.model import Model
from matphase.method.model_folder import checksum_of, read
from matphase.prediction.run import Job, predict_block
from matphase.prediction.store import FileStore, Note
from matphase.support.device import arithmetic
from matphase.support.errors import InputError, MatPhaseError
from matphase.support.system import cores

AHEAD = 4
"""Blocks per worker that are submitted at a time: enough that no worker waits, and few enough that
very large volumes do not overload the scheduler."""
FEWEST_AHEAD = 32
"""Minimum number of submitted blocks, so that an adaptive cluster starts workers."""
SECONDS_TO_ANSWER = 20
LOOPBACK = "127.0.0.1"
"""The only address on which what is started here listens, so that no other machine can connect."""
DASK_SETTINGS = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    "distributed.worker.profile.enabled": False,
}
"""By default Dask's workers return all freed memory at once, which doubles the time of networks,
since these allocate memory for each layer; and Dask profiles the workers every 10 ms
(`benchmarks/workers.py`)."""
_ONE_AT_A_TIME = Lock()
"""Lock with which a worker of several threads computes one block at a time."""


class Cluster:
    """Computes blocks on the workers of a Dask cluster.

    Args:
        client: client of the cluster.
        folder: folder of the model, which all workers can read.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder.absolute()

    def __call__(self, job: Job, todo: Sequence[Tile]) -> Iterator[tuple[Tile, Note]]:
        """Compute blocks, and yield each with its note when it is finished.

        Raises:
            InputError: a worker has another version, or does not see the same files.
            MatPhaseError: several workers died at one block, or the scheduler has stopped.
        """
        checksum = checksum_of(self._folder)
        own = version("matphase"), arithmetic(_model(self._folder, checksum).settings.precision)
        store = job.store
        assert isinstance(store, FileStore)
        store = replace(store, folder=store.folder.absolute(), labels=store.labels.absolute())
        job = replace(job, store=store)
        waiting, running = iter(todo), as_completed()
        blocks: dict[Any, Tile] = {}

        def submit() -> None:
            if self._client.status != "running":
                raise CancelledError
            wanted = max(FEWEST_AHEAD, AHEAD * sum(self._client.nthreads().values()))
            for block in islice(waiting, max(0, wanted - len(blocks))):
                future = self._client.submit(
                    _work, own, self._folder, checksum, job, block, pure=False
                )
                blocks[future.key] = block
                running.add(future)

        with _scheduler_errors():
            submit()
            for future in running:
                block = blocks.pop(future.key)
                try:
                    note = future.result()
                except KilledWorker as error:
                    raise MatPhaseError(
                        f"several workers died at block {block.number}, often for lack of memory; "
                        "lower the memory limit, or use workers with more"
                    ) from error
                except ModuleNotFoundError as error:
                    raise InputError(
                        f"a Dask worker lacks a package of MatPhase: {error}"
                    ) from error
                yield block, note
                submit()


@contextmanager
def _scheduler_errors() -> Iterator[None]:
    """Turn connection errors into one that says that the scheduler has stopped."""
    try:
        yield
    except (CancelledError, CommClosedError) as error:
        raise MatPhaseError(
            "the Dask scheduler has stopped; start one again and repeat the call, which keeps the "
            "finished blocks"
        ) from error


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """Start worker processes on this machine, each with its share of the cores.

    Args:
        workers: number of processes.
    """
    threads = str(max(1, cores() // workers))
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    with (
        dask.config.set(DASK_SETTINGS),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            # `memory` limits each block, so Dask must not pause or end a worker near its limit
            memory_limit=0,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            env=environment,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def cluster_at(address: str) -> Iterator[Client]:
    """Connect to the Dask cluster whose scheduler has this address, for example tcp://node:8786.

    Raises:
        InputError: no scheduler answers there, or the address is invalid.
    """
    try:
        with _quiet():
            with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop in this one
                thread.submit(asyncio.run, _answer(address)).result()
            client = Client(address, timeout=SECONDS_TO_ANSWER)
    except Exception as error:  # another kind of server makes Dask raise any kind
        raise InputError(
            f"no Dask scheduler answers at {address}; start one (`dask scheduler`), and give its "
            "address as tcp://HOST:8786"
        ) from error
    with client:
        yield client


async def _answer(address: str) -> None:
    """Wait until a scheduler answers; a client would wait for ever for a server that is silent."""
    async with rpc(address) as scheduler:
        await asyncio.wait_for(scheduler.identity(), SECONDS_TO_ANSWER)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask's log, whose lines would surround a message of one sentence."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _work(own: tuple[str, str], folder: Path, checksum: str, job: Job, block: Tile) -> Note:
    """Predict one block, on a worker.

    Raises:
        InputError: this worker would compute other results than the others.
    """
    expected, wanted = own
    if version("matphase") != expected:
        raise InputError(
            f"a Dask worker has MatPhase {version('matphase')}, but this is {expected}; install "
            "the same version there"
        )
    # networks store their dropout masks while they compute, and a block may need all memory
    with _ONE_AT_A_TIME:
        model = _model(folder, checksum)
        if (found := arithmetic(model.settings.precision)) != wanted:
            raise InputError(
                f"a Dask worker computes in {found}, but this machine in {wanted}, which gives "
                "other dropout masks; use workers of one kind, and start the prediction on such a "
                "machine"
            )
        store = job.store
        assert isinstance(store, FileStore)
        if not store.is_there:
            raise InputError(
                f"a Dask worker does not see {store.folder}; let all workers see the same files"
            )
        return predict_block(model, job, block)


@lru_cache(maxsize=1)
def _model(folder: Path, checksum: str) -> Model:
    """Read the model once per worker.

    Raises:
        InputError: the worker sees another model there.
    """
    if checksum_of(folder) != checksum:
        raise InputError(
            f"a Dask worker sees another model in {folder}; let all workers see the same files"
        )
    return read(folder)
