"""Networks of segmentation-models-pytorch (Iakubovskii 2019) for grey slices."""

from typing import Any, Literal

from torch import nn

from matphase.networks.padding import Mirrored
from matphase.networks.torchvision_shim import baseline_package
from matphase.settings import UNetSettings

LibraryName = Literal["deeplabv3", "manet", "unetpp"]

RESNET34_MIN_WIDTH = 32
"""Minimum width at which the encoder is a ResNet-34 instead of a ResNet-18."""


def build(name: LibraryName, in_channels: int, n_phases: int, settings: UNetSettings) -> nn.Module:
    """Build a network of the library with random weights, for images of at least 16 x 16 px.

    `deeplabv3` (Chen et al. 2017) has output stride 16 and its authors' atrous rates for that
    stride: 6, 12 and 18. `manet` (Fan et al. 2020) and `unetpp` (U-Net++, Zhou et al. 2018) have
    four levels, like UGSM. The encoder is a ResNet of the usual width (He et al. 2016); the setting
    `width` determines its depth and the channels of the decoder.

    Args:
        name: name of the network.
        in_channels: grey channels of the input.
        n_phases: logits per pixel.
        settings: give the width: channels of the decoder at full resolution.

    Raises:
        InputError: the library is not installed.
    """
    library, width = baseline_package("segmentation_models_pytorch"), settings.width
    common = {
        "encoder_name": "resnet18" if width < RESNET34_MIN_WIDTH else "resnet34",
        "encoder_weights": None,
        "in_channels": in_channels,
        "classes": n_phases,
    }
    network: Any
    if name == "deeplabv3":
        network = library.DeepLabV3(
            **common,
            encoder_output_stride=16,
            decoder_channels=min(256, 8 * width),
            decoder_atrous_rates=(6, 12, 18),
        )
    else:
        build = library.MAnet if name == "manet" else library.UnetPlusPlus
        channels = (8 * width, 4 * width, 2 * width, width)
        network = build(**common, encoder_depth=4, decoder_channels=channels)
        # the library builds the encoder's last stage although it is not used: eight million
        # weights that would be stored and counted
        network.encoder.layer4 = nn.Identity()
    return Mirrored(network, multiple=16)
