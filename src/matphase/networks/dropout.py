"""Monte-Carlo dropout whose masks are named by a seed, so that a sample is reproducible."""

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
    """Dropout that stays live at inference while samples are drawn (Gal and Ghahramani 2016).

    In training it is ordinary dropout. In evaluation it does nothing, except inside
    `dropout_samples`: there the mask of sample t depends on its seed, the layer and the place in
    the slice alone. So all slices of a volume, and all windows of a slice, meet the same thinned
    network, and the result does not depend on how they were cut up and put into batches.
    Normalisation layers are never touched.

    Args:
        probability: share of activations (or channels) that are set to zero.
        kind: drop single activations (`element`) or whole channels (`channel`).
        stride: pixels of the slice along a pixel of the layer's maps; a power of 2.
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
        """(samples, c, h, w); of channel dropout (samples, c, 1, 1)."""
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
        """Fill `mask` (h, w, c) from the cells that it lies in.

        A cell has a generator of its own, and as many pixels of the slice at every layer: the
        maps of deep layers are small, and a cell of theirs with as many pixels would be drawn
        for a few of them only.
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
        """A mask (n, h, w, c) of what is kept, as the factor (n, c, h, w) that keeps the mean."""
        # drawn channels last, which is how the networks keep their maps: multiplying two tensors
        # of unlike layout takes ten times as long
        return keep.permute(0, 3, 1, 2).to(dtype) / (1 - self.probability)


def random_mask(
    shape: tuple[int, ...],
    probability: float,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A bool tensor whose entries are True with `probability`, to the nearest 1/65536.

    Four 16-bit numbers are cut from each random 64-bit one. `torch.bernoulli` takes several
    times as long on a CPU (`benchmarks/speed.py`), more than the convolutions around it.
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
    """Within the block, `network` treats its batch as `len(seeds)` samples, sample by sample.

    Args:
        network: whose dropout layers are to draw.
        seeds: one a sample.
        origin: row and column of the slice at which the network's input begins.

    Raises:
        ValueError: a layer's maps do not begin at a whole pixel of theirs.
    """
    layers = [module for module in network.modules() if isinstance(module, MCDropout)]
    for layer in layers:
        if any(place % layer.stride for place in origin):
            raise ValueError(f"{origin} is between pixels of maps that have one in {layer.stride}")
    for number, layer in enumerate(layers):
        layer.seeds = tuple(mix(seed, number) for seed in seeds)
        layer.origin = origin
    try:
        yield
    finally:
        for layer in layers:
            layer.seeds, layer.origin = (), (0, 0)
