"""Networks of segmentation-models-pytorch (Iakubovskii 2019), made for grey slices."""

from typing import Any, Literal

from torch import nn

from matphase.networks.padding import Mirrored
from matphase.networks.torchvision_shim import baseline_package
from matphase.settings import UNetSettings

LibraryName = Literal["deeplabv3", "manet", "unetpp"]

WIDE = 32
"""From this width on the encoder is a ResNet-34 rather than a ResNet-18."""


def build(name: LibraryName, in_channels: int, n_phases: int, settings: UNetSettings) -> nn.Module:
    """A network of the library with random weights, for images of any size from 16 px.

    `deeplabv3` (Chen et al. 2017) works at output stride 16 with the atrous rates 6, 12 and 18
    that its authors use at that stride. `manet` (Fan et al. 2020) and `unetpp` (U-Net++, Zhou et
    al. 2018) have four levels as UGSM has. The encoder is a ResNet of its usual width (He et al.
    2016); the setting `width` sets its depth and the decoder's channels.

    Args:
        name: of the network.
        in_channels: grey channels of the input.
        n_phases: logits per pixel.
        settings: width, the channels of the decoder at full resolution.

    Raises:
        InputError: the library is not installed.
    """
    library, width = baseline_package("segmentation_models_pytorch"), settings.width
    common = {
        "encoder_name": "resnet18" if width < WIDE else "resnet34",
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
        # the library builds the encoder's last stage even where nothing runs it: eight million
        # weights that would be stored and counted
        network.encoder.layer4 = nn.Identity()
    return Mirrored(network, multiple=16)
