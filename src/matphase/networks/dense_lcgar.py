"""LCGAR on a whole slice at once, and its cost compared with single patches."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.networks import cost
from matphase.networks.batches import batch_sizes
from matphase.networks.lcgar import LCGAR
from matphase.settings import PatchSettings

PIXELS_PER_BATCH = 4096
"""Maximum number of pixels whose flattened maps are classified at once."""


class DenseLCGAR(nn.Module):
    """LCGAR without zero padding, computed from maps that all pixels of a slice share.

    The patches of neighbouring pixels overlap, so they share convolutions, but not the positions
    that are pooled together. Here pooling has stride 1, and each layer after a pooling skips the
    positions of other patches (dilation 2, and 4 where the maps are flattened). The result equals
    that of the network on each pixel's patch, up to rounding.

    Args:
        network: LCGAR whose weights are used; in evaluation mode, and not `padded`.
    """

    def __init__(self, network: LCGAR) -> None:
        super().__init__()
        if network.padded:
            raise ValueError("zero padding of each patch leaves nothing to share between patches")
        self.network = network

    def forward(
        self, maps: Tensor, rows: Tensor, columns: Tensor, logits: Tensor | None = None
    ) -> Tensor:
        """Predict the phases of some pixels.

        Args:
            maps: (1, in_channels, height + side - 1, width + side - 1): the image, mirrored at its
                border, where `side` is that of a patch in pixels (`PatchSettings.patch_side`).
            rows: (n,) rows of the pixels, from 0 to height - 1.
            columns: (n,) columns of the pixels, from 0 to width - 1.
            logits: (n, n_logits) at these pixels.

        Returns:
            logits (n, n_phases).
        """
        reach = 4 * (self.network.side - 1) + 1
        windows = self._features(maps)[0].unfold(1, reach, 1).unfold(2, reach, 1)[..., ::4, ::4]
        of_pixels = windows.movedim(0, 2)
        answers = []
        sizes = batch_sizes(len(rows), PIXELS_PER_BATCH)
        for here in torch.split(torch.arange(len(rows)), sizes or 1):
            flat = of_pixels[rows[here], columns[here]].flatten(1)
            answers.append(self.network.classify(flat, None if logits is None else logits[here]))
        return torch.cat(answers)

    def _features(self, maps: Tensor) -> Tensor:
        """Maps (1, 8, ...) whose every 4th pixel belongs to the flattened maps of one patch."""
        x = F.max_pool2d(self.network.first(maps), 2, stride=1)
        for layer in self.network.second:
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, layer.bias, dilation=2)
            else:
                x = layer(x)
        features: Tensor = self.network.third(F.max_pool2d(x, 2, stride=1, dilation=2))
        return features


def strip_rows(settings: PatchSettings, n_phases: int, width: int, memory: int) -> int:
    """Number of rows, at least one, that `DenseLCGAR` can process within `memory` bytes.

    Args:
        settings: settings of the network.
        n_phases: number of phases.
        width: of a slice in pixels.
        memory: in bytes.
    """
    # per pixel of the maps: the input and two maps of 32 channels; per predicted pixel: the
    # flattened maps, without and with the logits, and two vectors of 128; four bytes per value
    beyond = settings.patch_side - 1
    maps = 4 * (width + beyond) * (settings.patch_channels(n_phases) + 2 * 32)
    answers = 4 * width * (2 * 8 * (settings.h // 4) ** 2 + n_phases + 2 * 128)
    return max(1, (memory - beyond * maps) // (maps + answers))


@dataclass(frozen=True)
class Costs:
    """Multiply-accumulates of LCGAR without zero padding, for slices of one size.

    Args:
        patch: for one pixel, from its patch.
        maps: for the maps of a slice, independent of the pixels to predict.
        pixel: for one pixel, from the maps.
    """

    patch: int
    maps: int
    pixel: int

    def cheapest(self, asked: float) -> float:
        """Multiply-accumulates of the cheaper way to predict `asked` pixels of a slice."""
        return min(asked * self.patch, self.maps + asked * self.pixel)

    def whole_is_cheaper(self, asked: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a whole slice is cheaper than its patches, for `asked` pixels of each slice."""
        cheaper: NDArray[np.bool_] = asked * self.patch > self.maps + asked * self.pixel
        return cheaper


@cache
def costs(settings: PatchSettings, n_phases: int, height: int, width: int) -> Costs:
    """Count the multiply-accumulates of a network on slices of one size.

    Args:
        settings: settings of the network.
        n_phases: number of phases.
        height: of a slice in pixels.
        width: of a slice in pixels.
    """
    channels, side = settings.patch_channels(n_phases), settings.patch_side
    n_logits = n_phases * settings.logits
    # meta tensors have no values, so nothing is computed
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
