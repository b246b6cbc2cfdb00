"""All networks and models by name. To add a network, write its file and add a line here.

This module does not import torch, so that checking and listing names is fast.
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
    """Entry of a network in the registry.

    Attributes:
        factory: "module:function" in this package, or "module:function:variant", where the variant
            is the function's first argument.
        package: package that has to be installed.
        min_examples: minimum number of training examples.
    """

    factory: str
    package: str | None = None
    min_examples: int = 1

    def build(self, *arguments: Any) -> "nn.Module":
        """Build the untrained network, with random weights from torch's global generator.

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
    "unetpp": Network("segmentation_models:build:unetpp", _SMP),
    "manet": Network("segmentation_models:build:manet", _SMP),
    # DeepLabV3 has batch norm on an average over the whole image, which fails for one image
    "deeplabv3": Network("segmentation_models:build:deeplabv3", _SMP, min_examples=2),
    "fcn": Network("fcn:build"),
    "segnet": Network("segnet:build"),
}
"""Networks that segment whole images, built with (channels, phases, UNetSettings)."""

PATCH_CLASSIFIERS = {
    "lcgar": Network("lcgar:build"),
    "resnet18": Network("resnet:build:18", "torchvision"),
    "resnet34": Network("resnet:build:34", "torchvision"),
    "resnet50": Network("resnet:build:50", "torchvision"),
}
"""Networks that classify patches, built with (channels, phases, n_logits, PatchSettings)."""


@dataclass(frozen=True)
class Composition:
    """Composition of a model.

    Attributes:
        segmenter: name in `SEGMENTERS`; None where no network segments.
        local: local network of the refiner: name in `PATCH_CLASSIFIERS`, or in `SEGMENTERS` for one
            that sees whole slices; None: no refiner.
        everywhere: the local network predicts every pixel instead of the IDK set.
        average: what is averaged over dropout samples, and over flips and turns.
        kind: what segments: a network, classical features, or both combined.
    """

    segmenter: str | None
    local: str | None = None
    everywhere: bool = False
    average: Literal["logits", "softmax"] = "logits"
    kind: Literal["network", "classical", "combined"] = "network"

    @property
    def by_patches(self) -> bool:
        """Whether the local network classifies patches; else it segments whole slices."""
        return self.local in PATCH_CLASSIFIERS

    @property
    def networks(self) -> tuple[Network, ...]:
        """Entries of its networks."""
        named = {**SEGMENTERS, **PATCH_CLASSIFIERS}
        return tuple(named[name] for name in (self.segmenter, self.local) if name is not None)


MODELS = {
    MATPHASE: Composition("mcd_unet", local="lcgar"),
    "ugsm": Composition("mcd_unet"),
    **{name: Composition(name, average="softmax") for name in SEGMENTERS},
    "local_unet": Composition("mcd_unet", local="unet"),
    **{
        name: Composition("mcd_unet", local=name, everywhere=True)
        for name in PATCH_CLASSIFIERS
        if name != "lcgar"
    },
    "adapted_lcgar": Composition("mcd_unet", local="lcgar", everywhere=True),
    "classical": Composition(None, kind="classical"),
    "classical_lcgar": Composition(None, local="lcgar", kind="classical"),
    "combined": Composition("mcd_unet", average="softmax", kind="combined"),
}
"""All models by the names used in settings and on the command line."""


def names() -> tuple[str, ...]:
    """Names of the models, MatPhase first."""
    return tuple(MODELS)


def composition(model: str) -> Composition:
    """Composition of a model.

    Raises:
        InputError: there is no model of this name.
    """
    if model not in MODELS:
        near = get_close_matches(model, MODELS, 1)
        meant = f" did you mean {near[0]!r}?" if near else ""
        raise InputError(f"there is no model {model!r};{meant} choose one of {', '.join(MODELS)}")
    return MODELS[model]


def segmenter(
    network: str, in_channels: int, n_phases: int, settings: "UNetSettings"
) -> "nn.Module":
    """Build an untrained network that maps (n, in_channels, h, w) to logits (n, n_phases, h, w).

    Images of at least 32 x 32 px work.

    Args:
        network: name in `SEGMENTERS`.
        in_channels: channels of the input.
        n_phases: logits per pixel.
        settings: width; for the U-Nets also depth, and for `mcd_unet` dropout.

    Raises:
        InputError: its package is not installed.
    """
    return SEGMENTERS[network].build(in_channels, n_phases, settings)


def patch_classifier(
    network: str, in_channels: int, n_phases: int, n_logits: int, settings: "PatchSettings"
) -> "nn.Module":
    """Build an untrained network that maps patches and centre logits to logits (n, n_phases).

    Args:
        network: name in `PATCH_CLASSIFIERS`.
        in_channels: channels of the patch.
        n_phases: logits per patch.
        n_logits: length of the vector of centre logits, or 0.
        settings: side of the patch, and LCGAR's dropout and padding.

    Raises:
        InputError: its package is not installed.
    """
    return PATCH_CLASSIFIERS[network].build(in_channels, n_phases, n_logits, settings)


def check_installed(model: str) -> None:
    """Check before training that the packages of a model are installed.

    Raises:
        InputError: a package is missing; the message says how to install it.
    """
    for network in composition(model).networks:
        if network.package is not None:
            require_package(network.package)


def require_package(package: str) -> None:
    """Check that a package which only baselines need is installed.

    Raises:
        InputError: it is missing; the message says how to install it.
    """
    if find_spec(package) is None:
        raise InputError(
            f"this network needs the package {package}; "
            "install it with: pip install 'matphase[baselines]'"
        )
