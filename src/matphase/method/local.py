"""The local part of a model: LCGAR, or what a baseline has in its place."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.learning.pool import Pool
from matphase.learning.trainer import Run
from matphase.method import lcgar, local_unet
from matphase.method.results import (
    GlobalPrediction,
    GlobalStack,
    LocalPrediction,
    Partition,
    PartitionStack,
)
from matphase.networks import registry
from matphase.settings import Settings


def build(n_phases: int, settings: Settings) -> nn.Module:
    """The untrained local network of `settings.model`."""
    kind = _local(settings)
    if kind == "local_unet":
        return local_unet.build(n_phases, settings.ugsm, settings.lcgar)
    return lcgar.build(n_phases, settings.lcgar, kind)


def fit(
    pool: Pool,
    known: GlobalStack,
    partition: PartitionStack,
    weights: NDArray[np.float32],
    settings: Settings,
    run: Run,
    *,
    suffix: str = "",
) -> nn.Module:
    """Train the local network of `settings.model`.

    Args:
        pool: images and labels to learn from.
        known: UGSM's prediction of them.
        partition: HCL-IDK's split of them.
        weights: (phases,) of the cross-entropy.
        settings: of all stages.
        run: seed, precision, folder, reporter.
        suffix: tells its files and random numbers from those of others in the same run.

    Raises:
        Interrupted: the user stopped it.
    """
    kind, data = _local(settings), (pool, known, partition, weights)
    if kind == "local_unet":
        return local_unet.fit(
            *data, settings.ugsm, settings.lcgar, settings.data, run, suffix=suffix
        )
    return lcgar.fit(*data, settings.lcgar, settings.usi, run, classifier=kind, suffix=suffix)


def predict(
    network: nn.Module,
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    settings: Settings,
    *,
    where: NDArray[np.bool_] | None = None,
    memory: int = 10**9,
) -> tuple[Partition, LocalPrediction]:
    """Ask the local network: in the IDK set, or everywhere, as its kind has it.

    Args:
        network: trained by `fit`.
        images: (n, slices, height, width), scaled to [-1, 1].
        known: UGSM's prediction of them.
        partition: HCL-IDK's split of them, which the network's inputs show.
        settings: of all stages.
        where: (n, height, width) pixels to ask about; all by default.
        memory: bytes that the patches of a pass may take.

    Returns:
        where it was asked, for `aggregate`, and its answers.
    """
    everywhere = registry.composition(settings.model).everywhere
    pixels = np.ones_like(partition.idk) if everywhere else partition.idk
    asked = Partition(pixels if where is None else pixels & where, partition.score)
    data, precision = (images, known, partition), settings.precision
    if _local(settings) == "local_unet":
        return asked, local_unet.predict(
            network, *data, settings.lcgar, where=asked.idk, precision=precision
        )
    return asked, lcgar.predict(
        network, *data, settings.lcgar, where=asked.idk, precision=precision, memory=memory
    )


def _local(settings: Settings) -> str:
    local = registry.composition(settings.model).local
    assert local is not None
    return local
