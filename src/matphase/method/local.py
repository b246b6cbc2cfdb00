"""The local network of a model: LCGAR, or that of a baseline."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.learning.trainer import Run
from matphase.learning.training_pool import Pool
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
    """Build the untrained local network of `settings.model`."""
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
        pool: training images and labels.
        known: UGSM's predictions of the images.
        partition: HCL-IDK's split of the images.
        weights: (phases,) weights of the cross-entropy.
        settings: settings of all stages.
        run: seed, precision, folder, reporter.
        suffix: added to the name of the stage, for its files and random seed.

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
    """Predict with the local network, in the IDK set or everywhere, depending on the model.

    Args:
        network: local network trained by `fit`.
        images: (n, slices, height, width), scaled to [-1, 1].
        known: UGSM's prediction of the images.
        partition: HCL-IDK's split of the images, which is also an input of the network.
        settings: settings of all stages.
        where: (n, height, width) limits the pixels to predict; None: no limit.
        memory: bytes that the patches of a pass may take.

    Returns:
        the predicted pixels, as a partition for `aggregate`, and their prediction.
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
