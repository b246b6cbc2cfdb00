"""Monte-Carlo dropout whose masks are named by a seed, so that a sample is reproducible."""

import math
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
            masks = torch.cat([self._mask(x[:1], seed) for seed in self.seeds])
            return x * masks.repeat_interleave(x.shape[0] // len(self.seeds), dim=0)
        if not self.training:
            return x
        if self.kind == "channel":
            return F.dropout2d(x, self.probability, training=True)
        if x.device.type != "cpu":
            return F.dropout(x, self.probability, training=True)
        return x * self._mask(x, seed=None)

    def _mask(self, x: Tensor, seed: int | None) -> Tensor:
        """A mask like `x`, from the generator of that seed, or from the global one."""
        generator = None
        if seed is not None:
            generator = torch.Generator(device=x.device).manual_seed(seed)
        shape = (len(x), *x.shape[2:], x.shape[1])
        if self.kind == "channel":
            shape = (len(x), 1, 1, x.shape[1])
        keep = random_mask(shape, 1 - self.probability, x.device, generator)
        # drawn channels last, which is how the networks keep their maps: multiplying two tensors
        # of unlike layout takes ten times as long
        return keep.permute(0, 3, 1, 2).to(x.dtype) / (1 - self.probability)


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
