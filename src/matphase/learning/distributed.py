"""Data-parallel training: processes on one or more devices and machines train one model.

Every process runs the whole program with the same data. The processes share the batch of each
training step and average their gradients, by Lightning. Everything else runs in each process,
except for calls of `Team.first`, which run in the first one: writing files, and decisions about the
length of a training, since processes that disagree would wait for each other forever.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

from matphase.networks.torchvision_shim import make_torchvision_importable
from matphase.support.device import best_device
from matphase.support.errors import EndedElsewhere, InputError

Result = TypeVar("Result")


class Team(Protocol):
    """Group of processes that train one model together.

    Attributes:
        devices: number of devices of each machine.
        nodes: number of machines.
        rank: number of this process, from 0; the first process writes and reports.
    """

    devices: int
    nodes: int
    rank: int

    @property
    def size(self) -> int:
        """Number of processes."""

    def first(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the first process, and return its result in all processes.

        Raises:
            EndedElsewhere: in the other processes, if `work` failed in the first.
        """


class SingleProcess:
    """Team of a single process."""

    devices = 1
    nodes = 1
    rank = 0
    size = 1

    def first(self, work: Callable[[], Result]) -> Result:
        """Run `work`."""
        return work()


class MultiProcess:
    """Team of several processes; creating it waits until all of them have started.

    On one machine the first process starts the others by running the program again with the same
    arguments. SLURM and torchrun start all processes themselves.
    """

    def __init__(self, devices: int, nodes: int) -> None:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies.ddp import DDPStrategy

        self.devices = devices
        self.nodes = nodes
        accelerator = best_device().type
        self._fabric = Fabric(
            accelerator=accelerator,
            # the other processes may wait long for `first`
            strategy=DDPStrategy(timeout=timedelta(days=30)),
            devices=devices,
            num_nodes=nodes,
        )
        with quiet_lightning():
            self._fabric.launch()
        self.rank: int = self._fabric.global_rank

    @property
    def size(self) -> int:
        return self.devices * self.nodes

    def first(self, work: Callable[[], Result]) -> Result:
        if self.rank > 0:
            results: list[Result] = self._fabric.broadcast([])
            if not results:
                raise EndedElsewhere("the first process failed; see its message")
            return results[0]
        try:
            result = work()
        except BaseException:  # after any error the others must not wait for a result
            self._fabric.broadcast([])
            raise
        self._fabric.broadcast([result])
        return result


def join(devices: int = 1, nodes: int = 1) -> Team:
    """Join the team of this process; call it once, before anything is written.

    Args:
        devices: processes per machine: one per GPU, or each with a part of the CPU's cores.
        nodes: number of machines.

    Raises:
        InputError: the devices do not exist, or the processes cannot connect.
    """
    if devices < 1 or nodes < 1:
        raise InputError(
            f"got {devices} devices and {nodes} nodes; give at least one of each (devices=, nodes=)"
        )
    if devices * nodes == 1:
        return SingleProcess()
    make_torchvision_importable()
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        return MultiProcess(devices, nodes)
    except (MisconfigurationException, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{devices} devices on {nodes} nodes cannot train together: {reason}"
        ) from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's hints, which do not concern users of MatPhase."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*lightning.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
