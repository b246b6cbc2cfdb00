"""FCN-8s (Long, Shelhamer and Darrell 2015) on a VGG-16 encoder."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.networks.padding import mirrored
from matphase.networks.reach import Reach, pyramid_reach
from matphase.networks.vgg import CONVOLUTIONS, MULTIPLE, encoder, stage_widths
from matphase.settings import UNetSettings


class FCN8s(nn.Module):
    """FCN-8s: sum of scores at 1/32, 1/16 and 1/8 of the resolution, upsampled to full size.

    At width 64 it has the channels of its paper. Unlike there, the encoder has batch norm, since
    it starts from random weights, and fc6 is padded to keep the size of its map, instead of padding
    the image by 100 px. As there, the last upsampling is bilinear and the other two are learned.
    Images of at least 32 x 32 px work.

    Args:
        in_channels: grey channels of the input.
        n_phases: logits per pixel.
        width: channels of the first stage; fc6 and fc7 have 64 times as many.
        dropout: dropout probability after fc6 and fc7.
    """

    def __init__(
        self, in_channels: int, n_phases: int, width: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        widths = stage_widths(width)
        self.stages = encoder(in_channels, width)
        self.connected = nn.Sequential(
            nn.Conv2d(widths[4], 64 * width, kernel_size=7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(64 * width, 64 * width, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )
        for layer in self.connected:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.score_32 = nn.Conv2d(64 * width, n_phases, kernel_size=1)
        self.score_16 = nn.Conv2d(widths[3], n_phases, kernel_size=1)
        self.score_8 = nn.Conv2d(widths[2], n_phases, kernel_size=1)
        self.rise_32 = bilinear(n_phases, 2)
        self.rise_16 = bilinear(n_phases, 2)
        self.rise_8 = bilinear(n_phases, 8).requires_grad_(False)

    @property
    def reach(self) -> Reach:
        """How far the prediction of a tile depends on pixels around it."""
        # bilinear upsampling reaches half a pixel of its input: 4 px of the slice, then 1 px at
        # 1/8 and 1/16 of the resolution; fc6 reaches 3 px at 1/32
        return pyramid_reach(up=(4, 0, 0, 1, 1), deepest=3, down=CONVOLUTIONS)

    def forward(self, image: Tensor) -> Tensor:
        """Map grey images (n, in_channels, h, w) to logits (n, n_phases, h, w)."""
        height, width = image.shape[-2:]
        x = mirrored(image, MULTIPLE)
        pools: list[Tensor] = []
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)
            pools.append(x)
        scores = self.rise_32(self.score_32(self.connected(x)))
        scores = self.rise_16(scores + self.score_16(pools[3]))
        logits: Tensor = self.rise_8(scores + self.score_8(pools[2]))
        return logits[..., :height, :width]


def bilinear(channels: int, factor: int) -> nn.ConvTranspose2d:
    """Build a transposed convolution that is initialised as bilinear upsampling per channel.

    Args:
        channels: number of channels of its input and output.
        factor: upsampling factor, even.
    """
    layer = nn.ConvTranspose2d(
        channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False
    )
    # a linear ramp over the 2 x factor output pixels to which an input pixel contributes
    away = (torch.arange(2 * factor) - (factor - 0.5)).abs()
    tent = 1 - away / factor
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(channels):
            layer.weight[channel, channel] = tent[:, None] * tent
    return layer


def build(in_channels: int, n_phases: int, settings: UNetSettings) -> FCN8s:
    """Build the untrained network."""
    return FCN8s(in_channels, n_phases, settings.width)
