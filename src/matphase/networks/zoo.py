"""Every model by name: which networks it is made of, how to build and how to measure them."""

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from matphase.networks.fcn import FCN8s
from matphase.networks.lcgar import LCGAR
from matphase.networks.library import LibraryName, library_network
from matphase.networks.reach import Reach
from matphase.networks.resnet import PatchResNet
from matphase.networks.segnet import SegNet
from matphase.networks.torchvision_shim import baseline_package
from matphase.networks.unet import UNet
from matphase.settings import LCGARSettings, Settings, UGSMSettings
from matphase.support.errors import InputError


@dataclass(frozen=True)
class Kind:
    """What a model is made of.

    Args:
        network: the global network, a name that `segmenter` knows.
        local: the model that answers for hard pixels: a name that `patch_classifier` knows,
            `local_unet`, or none.
        everywhere: the local model answers for every pixel rather than for the IDK set.
        average: what is averaged over dropout samples before the answer.
    """

    network: str
    local: str | None = None
    everywhere: bool = False
    average: Literal["logits", "softmax"] = "logits"


KINDS: dict[str, Kind] = {
    "matphase": Kind("mcd_unet", local="lcgar"),
    "ugsm": Kind("mcd_unet"),
    "mcd_unet": Kind("mcd_unet", average="softmax"),
    "unet": Kind("unet"),
    "unetpp": Kind("unetpp"),
    "manet": Kind("manet"),
    "deeplabv3": Kind("deeplabv3"),
    "fcn": Kind("fcn"),
    "segnet": Kind("segnet"),
    "local_unet": Kind("mcd_unet", local="local_unet"),
    "resnet18": Kind("mcd_unet", local="resnet18", everywhere=True),
    "resnet34": Kind("mcd_unet", local="resnet34", everywhere=True),
    "resnet50": Kind("mcd_unet", local="resnet50", everywhere=True),
    "adapted_lcgar": Kind("mcd_unet", local="lcgar", everywhere=True),
}
"""The models by the names that settings and the command line use."""

UNUSABLE = 1.8
"""So many bytes are taken where one is needed: what was freed comes in pieces of other sizes. How
many changes from run to run; the worst of twenty took 1.5."""


def segmenter(network: str, in_channels: int, n_phases: int, settings: UGSMSettings) -> nn.Module:
    """An untrained network that maps (n, in_channels, h, w) to logits (n, n_phases, h, w).

    Its initial weights come from torch's global generator. Image sides of 32 px and more work.

    Args:
        network: `unet`, `mcd_unet`, `fcn`, `segnet`, `deeplabv3`, `manet` or `unetpp`.
        in_channels: channels of the input.
        n_phases: logits per pixel.
        settings: width; for the U-Nets depth, and for `mcd_unet` dropout.

    Raises:
        InputError: no network has that name, or its package is not installed.
    """
    match network:
        case "unet":
            return UNet(in_channels, n_phases, settings.width, settings.depth, dropout=0)
        case "mcd_unet":
            return UNet(
                in_channels,
                n_phases,
                settings.width,
                settings.depth,
                settings.dropout,
                settings.dropout_kind,
            )
        case "fcn":
            return FCN8s(in_channels, n_phases, settings.width)
        case "segnet":
            return SegNet(in_channels, n_phases, settings.width)
        case "deeplabv3" | "manet" | "unetpp":
            return library_network(network, in_channels, n_phases, settings.width)
    raise InputError(
        f"there is no network {network!r}; choose unet, mcd_unet, fcn, segnet, deeplabv3, manet "
        "or unetpp"
    )


def check_installed(model: str) -> None:
    """See that the packages of a model are there, before anything is trained.

    Raises:
        InputError: naming what to install.
    """
    kind = KINDS[model]
    if kind.network in get_args(LibraryName):
        baseline_package("segmentation_models_pytorch")
    if kind.local is not None and kind.local.startswith("resnet"):
        baseline_package("torchvision.models")


def fewest_examples(network: str) -> int:
    """How many examples a training of the network needs at least.

    DeepLabV3 normalises an average over the whole image, which of one image alone has no spread.
    """
    return 2 if network == "deeplabv3" else 1


def patch_classifier(
    local: str, in_channels: int, n_phases: int, n_logits: int, settings: LCGARSettings
) -> nn.Module:
    """An untrained network that maps patches and centre logits to (n, n_phases).

    Args:
        local: `lcgar`, `resnet18`, `resnet34` or `resnet50`.
        in_channels: channels of the patch.
        n_phases: logits per patch.
        n_logits: length of the vector of centre logits, or 0.
        settings: side of the patch, and LCGAR's dropout and padding.

    Raises:
        InputError: no network has that name, or its package is not installed.
    """
    match local:
        case "lcgar":
            return LCGAR(
                in_channels,
                n_phases,
                settings.h,
                n_logits,
                settings.dropout,
                padded=settings.padding == "zeros",
            )
        case "resnet18":
            return PatchResNet(in_channels, n_phases, 18, n_logits)
        case "resnet34":
            return PatchResNet(in_channels, n_phases, 34, n_logits)
        case "resnet50":
            return PatchResNet(in_channels, n_phases, 50, n_logits)
    raise InputError(
        f"there is no local network {local!r}; choose lcgar, resnet18, resnet34 or resnet50"
    )


def local_unet(n_phases: int, settings: UGSMSettings, lcgar: LCGARSettings) -> nn.Module:
    """An untrained U-Net without dropout that sees on whole slices what LCGAR sees in patches.

    Args:
        n_phases: logits per pixel.
        settings: width and depth.
        lcgar: which inputs it sees: grey slices, one-hot labels and logits of UGSM
            (n_phases channels each), in this order.
    """
    channels = lcgar.patch_channels(n_phases) + n_phases * lcgar.logits
    return UNet(channels, n_phases, settings.width, settings.depth, dropout=0)


def reach(network: nn.Module, local: nn.Module | None, settings: Settings) -> Reach | None:
    """How far a model's answers for a block of a slice look beyond the block.

    Args:
        network: the global network.
        local: the local network, if there is one.
        settings: that both were built with.

    Returns:
        None where the global network takes an average, or attention, over the whole image.
    """
    if not isinstance(network, UNet | FCN8s | SegNet):
        return None
    own = network.reach
    if local is None:
        return own
    # a patch classifier sees the patch, and UGSM's answers in it
    beyond = local.reach if isinstance(local, UNet) else Reach(settings.lcgar.patch_side // 2)
    return beyond.then(own)


def parameters(network: nn.Module) -> int:
    """Number of weights, learned or fixed; the running means of norms are none."""
    return sum(weight.numel() for weight in network.parameters())


def macs(network: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of one forward pass in evaluation, in convolutions and products.

    Additions, norms, activations and resampling are not counted, as is usual.
    """
    training = network.training
    network.eval()
    try:
        device = next(network.parameters()).device
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(*(tensor.to(device) for tensor in inputs))
    finally:
        network.train(training)
    return int(counter.get_total_flops()) // 2


def activation_bytes(network: nn.Module, height: int, width: int) -> int:
    """Upper bound of the memory that one pass over one slice takes, in bytes.

    At full resolution a U-Net holds the skip (w channels), the upsampled map and both joined
    (w + 2 w), and a convolution's input and output (2 w): 6 w values a pixel. The levels below
    add half of that each, so less than once more in all; and of what is freed the allocator cannot
    use all again (`UNUSABLE`). Of another network every layer's output is added up, as if none were
    freed. Four bytes a value cover float32.

    Args:
        network: what `segmenter` or `local_unet` built.
        height: of the slice, in pixels.
        width: of the slice, in pixels.
    """
    if isinstance(network, UNet):
        return int(UNUSABLE * 2 * 6 * network.width * height * width * 4)
    return 4 * _output_values(network, height, width)


def _output_values(network: nn.Module, height: int, width: int) -> int:
    """Values in the outputs of all layers, found on tensors that have a shape and no storage."""
    shapes = copy.deepcopy(network).to("meta").eval()
    total = 0

    def add(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        outputs = output if isinstance(output, tuple) else (output,)
        total += sum(part.numel() for part in outputs if isinstance(part, Tensor))

    layers = [module for module in shapes.modules() if not any(module.children())]
    for layer in layers:
        layer.register_forward_hook(add)
    first = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        shapes(torch.empty(1, first.in_channels, height, width, device="meta"))
    return total
