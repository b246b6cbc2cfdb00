"""SegNet (Badrinarayanan, Kendall and Cipolla 2017)."""

from torch import Tensor, nn

from matphase.networks.padding import mirrored
from matphase.networks.reach import Reach, pyramid_reach
from matphase.networks.vgg import CONVOLUTIONS, MULTIPLE, encoder, stage, stage_widths
from matphase.settings import UNetSettings


class SegNet(nn.Module):
    """SegNet: the convolutions of VGG-16 and a mirrored decoder, joined by the pooling indices.

    Each decoder stage puts the values of a map back at the positions of the encoder's maxima, with
    zeros elsewhere, and convolutions fill the gaps. At width 64 it has the channels of its paper.
    Images of at least 32 x 32 px work.

    Args:
        in_channels: grey channels of the input.
        n_phases: logits per pixel.
        width: channels of the first stage.
    """

    def __init__(self, in_channels: int, n_phases: int, width: int = 64) -> None:
        super().__init__()
        widths = stage_widths(width)
        self.down = encoder(in_channels, width)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        # the last convolution of a stage already has the channels of the stage above
        self.up = nn.ModuleList(
            stage(here, [here] * (number - 1) + [above])
            for above, here, number in zip(widths, widths[1:], CONVOLUTIONS[1:], strict=False)
        )
        self.last = stage(width, [width] * (CONVOLUTIONS[0] - 1))
        self.head = nn.Conv2d(width, n_phases, kernel_size=3, padding=1)

    @property
    def reach(self) -> Reach:
        """How far the prediction of a tile depends on pixels around it."""
        return pyramid_reach(up=CONVOLUTIONS, deepest=0, down=CONVOLUTIONS)

    def forward(self, image: Tensor) -> Tensor:
        """Map grey images (n, in_channels, h, w) to logits (n, n_phases, h, w)."""
        height, width = image.shape[-2:]
        x = mirrored(image, MULTIPLE)
        places: list[Tensor] = []
        for block in self.down:
            x, maxima = self.pool(block(x))
            places.append(maxima)
        for block in [*reversed(self.up), self.last]:
            x = block(self.unpool(x, places.pop()))
        logits: Tensor = self.head(x)
        return logits[..., :height, :width]


def build(in_channels: int, n_phases: int, settings: UNetSettings) -> SegNet:
    """Build the untrained network."""
    return SegNet(in_channels, n_phases, settings.width)
