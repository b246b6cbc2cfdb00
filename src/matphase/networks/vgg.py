"""Convolutions in the manner of VGG-16 (Simonyan and Zisserman 2015), with batch norm.

Batch norm (Ioffe and Szegedy 2015) is not in VGG-16, but without pretrained weights thirteen
convolutions in a row hardly learn without it.
"""

from torch import nn

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Of each stage; a pooling that halves the resolution follows each."""
MULTIPLE = 2 ** len(CONVOLUTIONS)
"""An image's sides must be multiples of this many pixels."""


def stage_widths(width: int) -> list[int]:
    """Channels of the five stages: doubled three times, then kept."""
    return [width, 2 * width, 4 * width, 8 * width, 8 * width]


def encoder(in_channels: int, width: int) -> nn.ModuleList:
    """The five stages without their poolings; stage i maps to `stage_widths(width)[i]` channels."""
    widths = stage_widths(width)
    return nn.ModuleList(
        stage(before, [after] * number)
        for before, after, number in zip([in_channels, *widths], widths, CONVOLUTIONS, strict=False)
    )


def stage(before: int, widths: list[int]) -> nn.Sequential:
    """3 x 3 convolutions to each of `widths` channels in turn, with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for after in widths:
        # the norm that follows has a bias of its own
        convolution = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        before = after
    return nn.Sequential(*layers)
