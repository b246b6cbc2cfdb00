"""Every network and every model by its name. To add a network, write its file and a line here.

Nothing here imports torch, so that names can be checked and listed at once.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from matphase.support.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from matphase.settings import PatchSettings, UNetSettings

MATPHASE = "matphase"


@dataclass(frozen=True)
class Network:
    """How a network is made.

    Attributes:
        factory: "module:function" in this room, or "module:function:variant", whose last part is
            the function's first argument.
        package: that has to be installed for it.
        fewest_examples: that its training needs.
    """

    factory: str
    package: str | None = None
    fewest_examples: int = 1

    def build(self, *arguments: Any) -> "nn.Module":
        """The untrained network; its initial weights come from torch's global generator.

        Raises:
            InputError: its package is not installed.
        """
        module, function, *variant = self.factory.split(":")
        made: nn.Module = partial(
            getattr(import_module(f"matphase.networks.{module}"), function), *variant
        )(*arguments)
        return made


_SMP = "segmentation_models_pytorch"

SEGMENTERS = {
    "unet": Network("unet:plain"),
    "mcd_unet": Network("unet:with_dropout"),
    "unetpp": Network("library:build:unetpp", _SMP),
    "manet": Network("library:build:manet", _SMP),
    # DeepLabV3 normalises an average over the whole image, which of one image has no spread
    "deeplabv3": Network("library:build:deeplabv3", _SMP, fewest_examples=2),
    "fcn": Network("fcn:build"),
    "segnet": Network("segnet:build"),
}
"""Networks that name the phases of whole images: made with (channels, phases, UNetSettings)."""

PATCH_CLASSIFIERS = {
    "lcgar": Network("lcgar:build"),
    "resnet18": Network("resnet:build:18", "torchvision"),
    "resnet34": Network("resnet:build:34", "torchvision"),
    "resnet50": Network("resnet:build:50", "torchvision"),
}
"""Networks that name a patch's centre: (channels, phases, length of the logits, PatchSettings)."""


@dataclass(frozen=True)
class Composition:
    """What a model is made of.

    Attributes:
        segmenter: of `SEGMENTERS`.
        local: what answers for hard pixels in the refiner: of `PATCH_CLASSIFIERS`, or
            `local_unet`; none: there is no refiner.
        everywhere: the local network answers for every pixel rather than for the IDK set.
        average: what is averaged over dropout samples before the answer.
    """

    segmenter: str
    local: str | None = None
    everywhere: bool = False
    average: Literal["logits", "softmax"] = "logits"


MODELS = {
    MATPHASE: Composition("mcd_unet", local="lcgar"),
    "ugsm": Composition("mcd_unet"),
    **{name: Composition(name) for name in SEGMENTERS},
    "mcd_unet": Composition("mcd_unet", average="softmax"),
    "local_unet": Composition("mcd_unet", local="local_unet"),
    **{
        name: Composition("mcd_unet", local=name, everywhere=True)
        for name in PATCH_CLASSIFIERS
        if name != "lcgar"
    },
    "adapted_lcgar": Composition("mcd_unet", local="lcgar", everywhere=True),
}
"""The models by the names that settings and the command line use."""


def names() -> tuple[str, ...]:
    """The names of the models, MatPhase first."""
    return tuple(MODELS)


def composition(model: str) -> Composition:
    """What the model of that name is made of.

    Raises:
        InputError: there is none.
    """
    if model not in MODELS:
        near = get_close_matches(model, MODELS, 1)
        meant = f" did you mean {near[0]!r}?" if near else ""
        raise InputError(f"there is no model {model!r};{meant} choose one of {', '.join(MODELS)}")
    return MODELS[model]


def segmenter(
    network: str, in_channels: int, n_phases: int, settings: "UNetSettings"
) -> "nn.Module":
    """An untrained network that maps (n, in_channels, h, w) to logits (n, n_phases, h, w).

    Image sides of 32 px and more work.

    Args:
        network: of `SEGMENTERS`.
        in_channels: channels of the input.
        n_phases: logits per pixel.
        settings: width; for the U-Nets depth, and for `mcd_unet` dropout.

    Raises:
        InputError: its package is not installed.
    """
    return SEGMENTERS[network].build(in_channels, n_phases, settings)


def patch_classifier(
    network: str, in_channels: int, n_phases: int, n_logits: int, settings: "PatchSettings"
) -> "nn.Module":
    """An untrained network that maps patches and centre logits to (n, n_phases).

    Args:
        network: of `PATCH_CLASSIFIERS`.
        in_channels: channels of the patch.
        n_phases: logits per patch.
        n_logits: length of the vector of centre logits, or 0.
        settings: side of the patch, and LCGAR's dropout and padding.

    Raises:
        InputError: its package is not installed.
    """
    return PATCH_CLASSIFIERS[network].build(in_channels, n_phases, n_logits, settings)


def check_installed(model: str) -> None:
    """See that the packages of a model are there, before anything is trained.

    Raises:
        InputError: naming what to install.
    """
    made_of = composition(model)
    parts = [SEGMENTERS[made_of.segmenter], PATCH_CLASSIFIERS.get(made_of.local or "")]
    for part in parts:
        if part is not None and part.package is not None:
            require_package(part.package)


def require_package(package: str) -> None:
    """See that a package is there which only the networks of others need.

    Raises:
        InputError: saying how to install it.
    """
    if find_spec(package) is None:
        raise InputError(
            f"this network needs the package {package}; "
            "install it with: pip install 'matphase[baselines]'"
        )
