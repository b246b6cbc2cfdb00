"""Monte-Carlo dropout whose masks are named by a seed, so that a sample is reproducible."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.seeds import mix


class MCDropout(nn.Module):
    """Dropout that stays live at inference while samples are drawn (Gal and Ghahramani 2016).

    In training it is ordinary dropout. In evaluation it does nothing, except inside
    `dropout_samples`: there the mask of sample t depends on its seed, the layer and the map size
    alone, so every slice of a volume meets the same thinned network and the result does not
    depend on how slices were put into batches. Normalisation layers are never touched.

    Args:
        probability: share of activations (or channels) that are set to zero.
        kind: drop single activations (`element`) or whole channels (`channel`).
    """

    def __init__(self, probability: float, kind: Literal["element", "channel"]) -> None:
        super().__init__()
        self.probability = probability
        self.kind = kind
        self.seeds: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to the same shape; while sampling, n is samples times slices."""
        if self.probability == 0:
            return x
        if self.seeds:
            masks = torch.stack([self._mask(x, seed) for seed in self.seeds])
            return x * masks.repeat_interleave(x.shape[0] // len(self.seeds), dim=0)
        if not self.training:
            return x
        drop = F.dropout if self.kind == "element" else F.dropout2d
        return drop(x, self.probability, training=True)

    def _mask(self, x: Tensor, seed: int) -> Tensor:
        shape = x.shape[1:] if self.kind == "element" else (x.shape[1], 1, 1)
        generator = torch.Generator(device=x.device).manual_seed(seed)
        keep = 1 - self.probability
        mask = torch.empty(shape, dtype=x.dtype, device=x.device)
        return mask.bernoulli_(keep, generator=generator).div_(keep)


@contextmanager
def dropout_samples(network: nn.Module, seeds: Sequence[int]) -> Iterator[None]:
    """Within the block, `network` treats its batch as `len(seeds)` samples, sample by sample."""
    layers = [module for module in network.modules() if isinstance(module, MCDropout)]
    for number, layer in enumerate(layers):
        layer.seeds = tuple(mix(seed, number) for seed in seeds)
    try:
        yield
    finally:
        for layer in layers:
            layer.seeds = ()
