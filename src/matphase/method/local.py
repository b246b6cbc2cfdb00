"""The local network of a model: LCGAR, or that of a baseline."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.learning.run import Run
from matphase.method import lcgar, local_segmenter
from matphase.method.results import GlobalPrediction, LocalPool, LocalPrediction, Partition
from matphase.networks import registry
from matphase.networks.reach import Reach
from matphase.settings import Settings


class LocalNetworks(Protocol):
    """A kind of local network; the modules `lcgar` and `local_segmenter` are two."""

    def build(self, n_phases: int, settings: Settings) -> nn.Module:
        """Build the untrained local network of `settings.model`."""

    def fit(self, data: LocalPool, settings: Settings, run: Run, *, suffix: str = "") -> nn.Module:
        """Train the local network of `settings.model`.

        Args:
            data: training images, with UGSM's predictions and HCL-IDK's split.
            settings: settings of all stages.
            run: seed, precision, folder, reporter.
            suffix: added to the name of the stage, for its files and random seed.

        Raises:
            Interrupted: the user stopped it.
        """

    def predict(
        self,
        network: nn.Module,
        images: NDArray[np.float32],
        known: GlobalPrediction,
        partition: Partition,
        settings: Settings,
        *,
        where: NDArray[np.bool_] | None = None,
        memory: int = 10**9,
    ) -> LocalPrediction:
        """Predict the phase of every IDK pixel.

        Args:
            network: trained by `fit`.
            images: (n, slices, height, width), scaled to [-1, 1].
            known: UGSM's prediction of the images.
            partition: HCL-IDK's split of the images, which is also an input of the network.
            settings: settings with which the network was built.
            where: (n, height, width) pixels to predict instead of the IDK set.
            memory: bytes that a pass may take.
        """

    def reach(self, network: nn.Module, settings: Settings) -> Reach | None:
        """How far a prediction depends on pixels around it; None: on the whole slice."""

    def pass_bytes(self, network: nn.Module, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes; 0 if it adapts to the memory."""


def kind(settings: Settings) -> LocalNetworks:
    """Kind of the local network of `settings.model`."""
    return lcgar if registry.composition(settings.model).by_patches else local_segmenter


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

    Arguments are those of `LocalNetworks.predict`, but `where` (n, height, width) limits the pixels
    to predict.

    Returns:
        the predicted pixels, as a partition for `aggregate`, and their prediction.
    """
    everywhere = registry.composition(settings.model).everywhere
    pixels = np.ones_like(partition.idk) if everywhere else partition.idk
    asked = Partition(pixels if where is None else pixels & where, partition.score)
    return asked, kind(settings).predict(
        network, images, known, partition, settings, where=asked.idk, memory=memory
    )
