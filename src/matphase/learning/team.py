"""Processes that train one model together: several devices, on one machine or on many.

Every process runs the whole program, with the same data. They share each training step's batch
and average their gradients (data-parallel training, by Lightning); all else each does for itself,
but for what `Team.first` does once for all: writing files, and whatever decides how long a
training is, since processes that disagree on that would wait for each other forever.
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
    """The processes that train together.

    Attributes:
        devices: of each machine.
        nodes: machines.
        rank: of this process, from 0; the first one writes and reports.
    """

    devices: int
    nodes: int
    rank: int

    @property
    def size(self) -> int:
        """Number of processes."""

    def first(self, work: Callable[[], Result]) -> Result:
        """Let the first process do it, and give its result to all.

        Raises:
            EndedElsewhere: in the other processes, where it failed in the first.
        """


class Alone:
    """A team of one."""

    devices = 1
    nodes = 1
    rank = 0
    size = 1

    def first(self, work: Callable[[], Result]) -> Result:
        """Do it."""
        return work()


class Together:
    """A team of several, which is there once all its processes are.

    On one machine the first process starts the others: it calls the program once more for each,
    with the same arguments. Under SLURM or torchrun all are started from outside.
    """

    def __init__(self, devices: int, nodes: int) -> None:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies.ddp import DDPStrategy

        self.devices = devices
        self.nodes = nodes
        accelerator = best_device().type
        self._fabric = Fabric(
            accelerator=accelerator,
            # the others wait while the first does what it does for all, however long that takes
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
                raise EndedElsewhere("the first process failed; it says why")
            return results[0]
        try:
            result = work()
        except BaseException:  # whatever it is, the others must not wait for a result
            self._fabric.broadcast([])
            raise
        self._fabric.broadcast([result])
        return result


def join(devices: int = 1, nodes: int = 1) -> Team:
    """The team of this process; call it once, before anything is written.

    Args:
        devices: processes on each machine, one a GPU, or one a part of the CPU's cores.
        nodes: machines.

    Raises:
        InputError: there are no such devices, or the processes cannot find each other.
    """
    if devices < 1 or nodes < 1:
        raise InputError(f"{devices} devices on {nodes} nodes train nothing; give at least one")
    if devices * nodes == 1:
        return Alone()
    make_torchvision_importable()
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        return Together(devices, nodes)
    except (MisconfigurationException, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{devices} devices on {nodes} nodes cannot train together: {reason}"
        ) from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advertisements and hints, which concern no user of ours."""
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
