"""U-Net (Ronneberger et al. 2015) with dropout after each block, the network of UGSM."""

import itertools
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.networks.cost import ALLOCATOR_OVERHEAD
from matphase.networks.dropout import MCDropout
from matphase.networks.padding import mirrored
from matphase.networks.reach import Reach, pyramid_reach
from matphase.settings import UNetSettings

BLOCK_RADIUS = 2
"""Radius in pixels of the two convolutions of a block."""


class UNet(nn.Module):
    """U-Net: encoder and decoder of `depth` levels, joined by skip connections.

    Images of at least 2^depth x 2^depth px work: the input is mirrored to the next multiple of
    2^depth, and the output is cropped.

    Args:
        in_channels: grey channels of the input.
        n_phases: logits per pixel.
        width: channels at full resolution, doubled at each level down.
        depth: number of times the resolution is halved.
        dropout: dropout probability after each block (DeVries and Taylor 2018).
        dropout_kind: see `MCDropout`.
    """

    def __init__(
        self,
        in_channels: int,
        n_phases: int,
        width: int = 64,
        depth: int = 4,
        dropout: float = 0.5,
        dropout_kind: Literal["element", "channel"] = "element",
    ) -> None:
        super().__init__()
        self.depth: int = depth
        self.width: int = width
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _block(before, after, dropout, dropout_kind, stride=2**level)
            for level, (before, after) in enumerate(
                zip([in_channels, *widths], widths, strict=False)
            )
        )
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(deep, shallow, kernel_size=2, stride=2)
            for shallow, deep in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(
            _block(2 * after, after, dropout, dropout_kind, stride=2**level)
            for level, after in enumerate(widths[:-1])
        )
        self.head = nn.Conv2d(width, n_phases, kernel_size=1)

    @property
    def reach(self) -> Reach:
        """How far the prediction of a tile depends on pixels around it."""
        both = [BLOCK_RADIUS] * self.depth
        return pyramid_reach(both, BLOCK_RADIUS, both)

    def pass_bytes(self, height: int, width: int) -> int:
        """Upper bound of the memory of one pass over one slice, in bytes.

        With w channels at full resolution, a pass holds the skip (w), the upsampled map and both
        joined (w + 2 w), and the input and output of a convolution (2 w): 6 w values per pixel.
        Each lower level adds half of the level above, so all together add less than the first. The
        allocator cannot reuse all freed memory. Float32 takes four bytes per value.
        """
        return int(ALLOCATOR_OVERHEAD * 2 * 6 * self.width * height * width * 4)

    def forward(self, image: Tensor) -> Tensor:
        """Map grey images (n, in_channels, h, w) to logits (n, n_phases, h, w)."""
        height, width = image.shape[-2:]
        x = mirrored(image, 2**self.depth)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(self.depth)):
            x = torch.cat([skips[level], self.rise[level](x)], dim=1)
            x = self.up[level](x)
        logits: Tensor = self.head(x)
        return logits[..., :height, :width]


def plain(in_channels: int, n_phases: int, settings: UNetSettings) -> UNet:
    """Build a U-Net without dropout."""
    return UNet(in_channels, n_phases, settings.width, settings.depth, dropout=0)


def with_dropout(in_channels: int, n_phases: int, settings: UNetSettings) -> UNet:
    """Build a U-Net with Monte-Carlo dropout, the network of UGSM."""
    return UNet(
        in_channels,
        n_phases,
        settings.width,
        settings.depth,
        settings.dropout,
        settings.dropout_kind,
    )


def _block(
    before: int, after: int, dropout: float, kind: Literal["element", "channel"], stride: int
) -> nn.Sequential:
    return nn.Sequential(
        # no bias, since batch norm has its own
        nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        MCDropout(dropout, kind, stride),
    )
