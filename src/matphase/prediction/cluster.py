"""Blocks on several processes or machines, by Dask.

Workers read the volume and the model by themselves and write their blocks into the store, so all of
them have to see the same files. Only notes travel. A worker that dies costs its blocks' time: Dask
gives them to another, and what the dead one wrote of them is written again.
"""

import logging
from collections.abc import Iterator, Sequence
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
)
from distributed.comm.core import CommClosedError

from matphase.images.tiles import Tile
from matphase.method.folder import checksum_of, read
from matphase.method.model import Model
from matphase.prediction.run import Job, predict_block
from matphase.support.device import arithmetic
from matphase.support.errors import InputError, MatPhaseError
from matphase.support.system import cores

AHEAD = 4
"""So many blocks a worker are handed out at a time: enough that none waits, and few enough that a
volume of very many blocks does not fill the scheduler."""
FEWEST_AHEAD = 32
"""Handed out at least, so that a cluster that grows with its work sees some."""
SECONDS_TO_ANSWER = 20
LEFT_TO_COMPUTE = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    "distributed.worker.profile.enabled": False,
}
"""Dask makes its workers hand back all memory at once, and a network that gets it anew for each
layer takes twice the time; and it looks every 10 ms where they are (`benchmarks/workers.py`)."""
_ONE_AT_A_TIME = Lock()
"""Of the threads that a worker may have."""


class Cluster:
    """Computes blocks on the workers of a Dask cluster.

    Args:
        client: of the cluster.
        folder: of the model, as all workers see it.
    """

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder.absolute()

    def __call__(self, job: Job, todo: Sequence[Tile]) -> Iterator[tuple[Tile, dict[str, Any]]]:
        """Compute blocks, and give each with its note when it is done.

        Raises:
            InputError: a worker has another version, or does not see the same files.
            MatPhaseError: a block has ended several workers, or the scheduler has gone.
        """
        checksum = checksum_of(self._folder)
        own = version("matphase"), arithmetic(_model(self._folder, checksum).settings.precision)
        job = replace(job, store=replace(job.store, folder=job.store.folder.absolute()))
        waiting, running = iter(todo), as_completed()
        blocks: dict[Any, Tile] = {}

        def hand_out() -> None:
            if self._client.status != "running":
                raise CancelledError
            wanted = max(FEWEST_AHEAD, AHEAD * sum(self._client.nthreads().values()))
            for block in islice(waiting, max(0, wanted - len(blocks))):
                future = self._client.submit(
                    _work, own, self._folder, checksum, job, block, pure=False
                )
                blocks[future.key] = block
                running.add(future)

        with _told_of_the_scheduler():
            hand_out()
            for future in running:
                block = blocks.pop(future.key)
                try:
                    note = future.result()
                except KilledWorker as error:
                    raise MatPhaseError(
                        f"block {block.number} ended several workers, often for lack of memory; "
                        "give a smaller --memory, or workers with more"
                    ) from error
                except ModuleNotFoundError as error:
                    raise InputError(
                        f"a Dask worker lacks a package of MatPhase: {error}"
                    ) from error
                yield block, note
                hand_out()


@contextmanager
def _told_of_the_scheduler() -> Iterator[None]:
    """Say so where the scheduler has gone."""
    try:
        yield
    except (CancelledError, CommClosedError) as error:
        raise MatPhaseError(
            "the Dask scheduler has gone; start one again and repeat the command, which goes on "
            "with the blocks that are finished"
        ) from error


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """A cluster of so many processes on this machine, each with its share of the cores."""
    threads = str(max(1, cores() // workers))
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    with (
        dask.config.set(LEFT_TO_COMPUTE),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            # the limit of a block is ours, and a worker near it is not to be paused or ended
            memory_limit=0,
            dashboard_address=":0",
            env=environment,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def cluster_at(address: str) -> Iterator[Client]:
    """A cluster whose scheduler is at that address, such as tcp://node:8786.

    Raises:
        InputError: nobody answers there, or it is no address.
    """
    try:
        client = Client(address, timeout=SECONDS_TO_ANSWER)
    except (OSError, ValueError) as error:  # a timeout is an OSError, too
        raise InputError(
            f"no Dask scheduler answers at {address}; start one (`dask scheduler`), and give its "
            "address as tcp://HOST:8786"
        ) from error
    with client:
        yield client


def _work(
    own: tuple[str, str], folder: Path, checksum: str, job: Job, block: Tile
) -> dict[str, Any]:
    """Predict one block, on a worker.

    Raises:
        InputError: this worker would not answer as the others do.
    """
    expected, wanted = own
    if version("matphase") != expected:
        raise InputError(
            f"a Dask worker has MatPhase {version('matphase')}, but this is {expected}; install "
            "the same version there"
        )
    # a network keeps what it samples while it does, and a block may take all of the memory
    with _ONE_AT_A_TIME:
        model = _model(folder, checksum)
        if (found := arithmetic(model.settings.precision)) != wanted:
            raise InputError(
                f"a Dask worker computes in {found}, but this machine in {wanted}, which gives "
                "other dropout masks; take workers of one kind, and start from such a machine"
            )
        if not job.store.is_there:
            raise InputError(
                f"a Dask worker does not see {job.store.folder}; let all workers see the same files"
            )
        return predict_block(model, job, block)


@lru_cache(maxsize=1)
def _model(folder: Path, checksum: str) -> Model:
    """The model, read once by each worker.

    Raises:
        InputError: the worker sees another one there.
    """
    if checksum_of(folder) != checksum:
        raise InputError(
            f"a Dask worker sees another model in {folder}; let all workers see the same files"
        )
    return read(folder)
