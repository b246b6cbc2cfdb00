"""LCGAR on a whole slice at once, which costs less than patch by patch, and how much less."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.networks import cost
from matphase.networks.lcgar import LCGAR
from matphase.settings import PatchSettings


class DenseLCGAR(nn.Module):
    """Answers of an LCGAR without zero padding, from maps that all pixels of a slice share.

    The patches of neighbouring pixels overlap, and the same convolutions run over both. They
    differ in which positions are pooled together: here all are, with stride 1, and each layer
    behind a pooling steps over the positions that belong to other patches (dilation 2, and 4
    where the maps are flattened). Equal to the network on each pixel's patch, up to rounding.

    Args:
        network: whose weights are shared; in evaluation mode, and not `padded`.
    """

    def __init__(self, network: LCGAR) -> None:
        super().__init__()
        if network.padded:
            raise ValueError("zeros at the rim of each patch leave nothing to share")
        self.network = network

    def forward(
        self, maps: Tensor, rows: Tensor, columns: Tensor, logits: Tensor | None = None
    ) -> Tensor:
        """Name the phases of some pixels.

        Args:
            maps: (1, in_channels, height + side - 1, width + side - 1): the image, mirrored at its
                border, with patches of `side` px (`PatchSettings.patch_side`).
            rows: (n,) of the pixels, from 0 to height - 1.
            columns: (n,) likewise.
            logits: (n, n_logits) at these pixels.

        Returns:
            (n, n_phases) logits.
        """
        reach = 4 * (self.network.side - 1) + 1
        windows = self._features(maps)[0].unfold(1, reach, 1).unfold(2, reach, 1)[..., ::4, ::4]
        return self.network.classify(windows.movedim(0, 2)[rows, columns].flatten(1), logits)

    def _features(self, maps: Tensor) -> Tensor:
        """Maps (1, 8, ...) that hold, at steps of 4 px, what the network flattens of a patch."""
        x = F.max_pool2d(self.network.first(maps), 2, stride=1)
        for layer in self.network.second:
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, layer.bias, dilation=2)
            else:
                x = layer(x)
        features: Tensor = self.network.third(F.max_pool2d(x, 2, stride=1, dilation=2))
        return features


def strip_rows(settings: PatchSettings, n_phases: int, width: int, memory: int) -> int:
    """How many rows of a slice go through a `DenseLCGAR` within `memory` bytes, at least one.

    Args:
        settings: of the network.
        n_phases: of the network.
        width: of a slice in pixels.
        memory: in bytes.
    """
    # a pixel of the maps takes the input and two maps of 32 channels; an answer takes what is
    # flattened, without and with the logits, and two vectors of 128; four bytes a value
    beyond = settings.patch_side - 1
    maps = 4 * (width + beyond) * (settings.patch_channels(n_phases) + 2 * 32)
    answers = 4 * width * (2 * 8 * (settings.h // 4) ** 2 + n_phases + 2 * 128)
    return max(1, (memory - beyond * maps) // (maps + answers))


@dataclass(frozen=True)
class Costs:
    """Multiply-accumulates of an LCGAR without zero padding on slices of one size.

    Args:
        patch: of one pixel by its patch.
        maps: of a slice's maps, whichever pixels are asked for.
        pixel: of one pixel once the maps are there.
    """

    patch: int
    maps: int
    pixel: int

    def least(self, asked: float) -> float:
        """Multiply-accumulates of a slice with so many pixels asked for."""
        return min(asked * self.patch, self.maps + asked * self.pixel)

    def whole_is_cheaper(self, asked: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where a slice with so many pixels asked for is cheaper as a whole; same shape."""
        cheaper: NDArray[np.bool_] = asked * self.patch > self.maps + asked * self.pixel
        return cheaper


@cache
def costs(settings: PatchSettings, n_phases: int, height: int, width: int) -> Costs:
    """Count them.

    Args:
        settings: of the network.
        n_phases: of the network.
        height: of a slice in pixels.
        width: of a slice in pixels.
    """
    channels, side = settings.patch_channels(n_phases), settings.patch_side
    n_logits = n_phases * settings.logits
    # on tensors that have a shape and no storage nothing is computed
    with torch.device("meta"):
        network = LCGAR(channels, n_phases, settings.h, n_logits, padded=False)
        patch = torch.empty(1, channels, side, side)
        maps = torch.empty(1, channels, height + side - 1, width + side - 1)
        place = torch.empty(1, dtype=torch.long)
        logits = (torch.empty(1, n_logits),) if n_logits else ()
    dense, pixel = DenseLCGAR(network), (place, place, *logits)
    of_maps = cost.macs(dense, maps, *(tensor[:0] for tensor in pixel))
    of_both = cost.macs(dense, maps, *pixel)
    return Costs(cost.macs(network, patch, *logits), of_maps, of_both - of_maps)
