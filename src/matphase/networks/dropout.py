"""Monte-Carlo dropout with seeded masks, so that samples are reproducible."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.support.seeds import mix

CELL = 128
"""Side of the cells in which masks are drawn, in pixels of the slice."""


class MCDropout(nn.Module):
    """Dropout that stays active at inference while samples are drawn (Gal and Ghahramani 2016).

    In training it is ordinary dropout. In evaluation it does nothing, except inside
    `dropout_samples`: there the mask of sample t depends only on its seed, the layer and the
    position in the slice. All slices of a volume, and all windows of a slice, therefore see the
    same masks, and the result does not depend on tiles and batches. Normalisation layers do not
    change.

    Args:
        probability: share of activations (or channels) that are set to zero.
        kind: drop single activations (`element`) or whole channels (`channel`).
        stride: size of a pixel of the layer's maps, in pixels of the slice; a power of 2.
    """

    def __init__(
        self, probability: float, kind: Literal["element", "channel"], stride: int = 1
    ) -> None:
        super().__init__()
        self.probability = probability
        self.kind = kind
        self.stride = stride
        self.seeds: tuple[int, ...] = ()
        self.origin: tuple[int, int] = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to the same shape; while sampling, n is samples times slices."""
        if self.probability == 0:
            return x
        if self.seeds:
            # slices share the masks of a sample by broadcasting
            by_sample = x.reshape(len(self.seeds), -1, *x.shape[1:])
            return (by_sample * self._masks(x)[:, None]).flatten(0, 1)
        if not self.training:
            return x
        if self.kind == "channel":
            return F.dropout2d(x, self.probability, training=True)
        if x.device.type != "cpu":
            return F.dropout(x, self.probability, training=True)
        shape = (len(x), *x.shape[2:], x.shape[1])
        return x * self._scaled(random_mask(shape, 1 - self.probability, x.device), x.dtype)

    def _masks(self, x: Tensor) -> Tensor:
        """Masks (samples, c, h, w); for channel dropout (samples, c, 1, 1)."""
        channels, height, width = x.shape[1:]
        if self.kind == "channel":
            height, width = 1, 1
        keep = torch.empty(
            (len(self.seeds), height, width, channels), dtype=torch.bool, device=x.device
        )
        for seed, mask in zip(self.seeds, keep, strict=True):
            self._draw(seed, mask)
        return self._scaled(keep, x.dtype)

    def _draw(self, seed: int, mask: Tensor) -> None:
        """Fill `mask` (h, w, c) from the cells that it overlaps.

        Each cell has its own generator. Cells have the same size in pixels of the slice at every
        layer: deep layers have small maps, so large cells would be drawn mostly in vain.
        """
        generator = torch.Generator(device=mask.device)
        if self.kind == "channel":
            generator.manual_seed(seed)
            mask.copy_(random_mask(mask.shape, 1 - self.probability, mask.device, generator))
            return
        side = max(1, CELL // self.stride)
        top, left = (place // self.stride for place in self.origin)
        height, width, channels = mask.shape
        for row in range(top // side, (top + height - 1) // side + 1):
            for column in range(left // side, (left + width - 1) // side + 1):
                generator.manual_seed(mix(seed, row, column))
                cell = random_mask(
                    (side, side, channels), 1 - self.probability, mask.device, generator
                )
                y, x = row * side - top, column * side - left
                part = mask[max(y, 0) : y + side, max(x, 0) : x + side]
                part.copy_(cell[max(-y, 0) :, max(-x, 0) :][: len(part), : part.shape[1]])

    def _scaled(self, keep: Tensor, dtype: torch.dtype) -> Tensor:
        """Factors (n, c, h, w) that keep the mean, from a mask (n, h, w, c) of what is kept."""
        # drawn channels last, like the maps of the networks: multiplying two tensors of different
        # layout takes ten times as long
        return keep.permute(0, 3, 1, 2).to(dtype) / (1 - self.probability)


def random_mask(
    shape: tuple[int, ...],
    probability: float,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random bool tensor whose entries are True with `probability`, to the nearest 1/65536.

    Each random 64-bit number gives four 16-bit numbers. `torch.bernoulli` takes several times as
    long on a CPU (`benchmarks/speed.py`), longer than the convolutions before and after it.
    """
    number = math.prod(shape)
    words = torch.empty(-(-number // 4), dtype=torch.int64, device=device)
    words.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    drawn = words.view(torch.int16)[:number].view(shape)
    threshold = round(probability * 2**16) - 2**15
    return drawn < threshold if threshold < 2**15 else torch.ones_like(drawn, dtype=torch.bool)


@contextmanager
def dropout_samples(
    network: nn.Module, seeds: Sequence[int], origin: tuple[int, int] = (0, 0)
) -> Iterator[None]:
    """Context in which a network draws dropout samples; its batch is ordered by sample.

    Args:
        network: network with `MCDropout` layers.
        seeds: random seed of each sample; the batch has `len(seeds)` times the slices.
        origin: row and column of the slice at which the network's input begins.

    Raises:
        ValueError: `origin` is not a multiple of the stride of each layer.
    """
    layers = [module for module in network.modules() if isinstance(module, MCDropout)]
    for layer in layers:
        if any(place % layer.stride for place in origin):
            raise ValueError(
                f"origin {origin} is not a multiple of the layer stride {layer.stride}"
            )
    for number, layer in enumerate(layers):
        layer.seeds = tuple(mix(seed, number) for seed in seeds)
        layer.origin = origin
    try:
        yield
    finally:
        for layer in layers:
            layer.seeds, layer.origin = (), (0, 0)
