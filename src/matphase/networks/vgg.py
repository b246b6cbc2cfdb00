"""The convolutions of VGG-16 (Simonyan and Zisserman 2015), with batch norm.

VGG-16 has no batch norm (Ioffe and Szegedy 2015), but without pretrained weights thirteen
convolutions in a row hardly learn without it.
"""

from torch import nn

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Number of convolutions of each stage; each stage is followed by a 2 x 2 pooling."""
MULTIPLE = 2 ** len(CONVOLUTIONS)
"""Image sides have to be multiples of this number of pixels."""


def stage_widths(width: int) -> list[int]:
    """Number of channels of the five stages: doubled three times, then constant."""
    return [width, 2 * width, 4 * width, 8 * width, 8 * width]


def encoder(in_channels: int, width: int) -> nn.ModuleList:
    """Build the five stages without poolings; stage i has `stage_widths(width)[i]` channels."""
    widths = stage_widths(width)
    return nn.ModuleList(
        stage(before, [after] * number)
        for before, after, number in zip([in_channels, *widths], widths, CONVOLUTIONS, strict=False)
    )


def stage(before: int, widths: list[int]) -> nn.Sequential:
    """Build 3 x 3 convolutions with `widths` output channels, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for after in widths:
        # no bias, since batch norm has its own
        convolution = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        before = after
    return nn.Sequential(*layers)
