"""What every segmenter can do, whatever it is made of; `segmenters` has the kinds."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.method.passes import Passes
from matphase.method.results import GlobalPrediction
from matphase.networks.reach import Reach


class Segmenter(Protocol):
    """Predictor of the phase of every pixel, and of its uncertainty."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its networks, by the names of their files."""

    @property
    def reach(self) -> Reach | None:
        """How far a prediction depends on pixels around a tile; None: on the whole slice."""

    @property
    def draws_samples(self) -> bool:
        """Whether passes are stochastic."""

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes."""

    def predict(
        self,
        images: NDArray[np.float32],
        passes: Passes = Passes(),
        *,
        origin: tuple[int, int] = (0, 0),
    ) -> GlobalPrediction:
        """Predict images (n, slices, height, width); see `NetworkSegmenter.predict`."""
