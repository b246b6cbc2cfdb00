"""Where the training of a U-Net begins: the base model, or a model of another scan.

The base model is a U-Net that was trained on virtual electrodes (`benchmarks/base_model.py`) and
lies in the package as a model folder.
"""

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matphase.images.phases import ROLES, PhaseTable
from matphase.method import model_folder
from matphase.method.combined import CombinedSegmenter
from matphase.method.model import Model
from matphase.method.ugsm import NetworkSegmenter, segmenter_of
from matphase.networks import registry
from matphase.networks.unet import UNet
from matphase.settings import Settings
from matphase.support.errors import InputError, ModelError

BASE = "base"
"""Name of the model in the package; a folder of that name is ./base."""

_FIRST, _HEAD = "down.0.0.weight", ("head.weight", "head.bias")
"""Weights of a U-Net that depend on the images of a slice, and on the phases."""


def folder_of(name: str | os.PathLike[str]) -> Path:
    """Folder of a model, or of the base model."""
    if name == BASE:
        return Path(str(files("matphase.method").joinpath("base_model")))
    return Path(name)


def name_of(folder: Path) -> str:
    """Name of the model in a folder, as `folder_of` takes it."""
    return BASE if folder == folder_of(BASE) else str(folder)


def read(name: str | os.PathLike[str]) -> Model:
    """Read a model folder, or the base model.

    Raises:
        ModelError: a file is missing, altered or foreign.
    """
    try:
        return model_folder.read(folder_of(name))
    except ModelError as error:
        if name != BASE:
            raise
        reason = str(error).split(";")[0]
        raise ModelError(
            f"the base model of this installation is damaged ({reason}); install matphase again"
        ) from error


def resolved(settings: Settings, phases: PhaseTable) -> tuple[Settings, str | None]:
    """Settings whose U-Net has the width and depth of the model that it starts from.

    Args:
        settings: of the training; without `ugsm.start` they stay as they are.
        phases: phases of the labels.

    Returns:
        the settings; and a sentence for the user, if the phases are not those of that model.

    Raises:
        InputError: one of the two models is no U-Net.
        ModelError: the model to start from is missing or damaged.
    """
    name = settings.ugsm.start
    if not name:
        return settings, None
    if registry.composition(settings.model).segmenter not in ("unet", "mcd_unet"):
        raise InputError(
            f"the model {settings.model} has no U-Net that could start from {name}; leave out "
            "start=, or train a model that has one, such as unet"
        )
    model = read(name)
    network = _unet(model, name)
    shape = {"width": network.width, "depth": network.depth}
    note = None
    if phase_order(model.phases, phases) is None:
        known = ", ".join(model.phases.names)
        note = (
            f"{name} knows the phases {known}, not {', '.join(phases.names)}, so the last layer of "
            "the network starts from random weights"
        )
    return settings.updated({"ugsm": shape}), note


def fits(settings: Settings) -> bool:
    """Whether a U-Net of these settings can start from the base model as it is."""
    network = _unet(read(BASE), BASE)
    return (network.width, network.depth) == (settings.ugsm.width, settings.ugsm.depth)


def segmenter(settings: Settings, phases: PhaseTable) -> NetworkSegmenter | None:
    """Segmenter that the training starts from; None: random weights.

    Channels that the model has not seen start with weights of 0: neighbouring slices, or another
    grey scale. Where it knows the phases of the labels, its last layer brings their logits in
    order; else that layer is new.
    """
    name = settings.ugsm.start
    made_of = registry.composition(settings.model).segmenter
    if not name or made_of is None:
        return None
    model = read(name)
    trained = _unet(model, name).state_dict()
    network = registry.segmenter(made_of, settings.channels, len(phases), settings.ugsm)
    weights = network.state_dict()
    order = phase_order(model.phases, phases)
    for key, values in trained.items():
        if key == _FIRST:
            weights[key] = _first_layer(values, model.settings, settings)
        elif key not in _HEAD:
            weights[key] = values
        elif order is not None:
            weights[key] = values[torch.from_numpy(order)]
    network.load_state_dict(weights)
    return segmenter_of(network, len(phases), settings)


def record(settings: Settings) -> dict[str, Any]:
    """Entry of a model's record: what it started from, if anything."""
    name = settings.ugsm.start
    if not name or registry.composition(settings.model).segmenter is None:
        return {}
    checksum = model_folder.checksum_of(folder_of(name))
    return {"start": {"model": name, "checksum": checksum}}


def phase_order(known: PhaseTable, wanted: PhaseTable) -> NDArray[np.int64] | None:
    """Index of each wanted phase among the known ones; None unless they are the same phases.

    Names are compared by their role in an electrode, so that carbon is carbon_binder.
    """
    roles = [_role(name) for name in known.names]
    own = [_role(name) for name in wanted.names]
    if sorted(roles) != sorted(own) or len(set(own)) < len(own):
        return None
    return np.array([roles.index(role) for role in own])


def _role(name: str) -> str:
    name = name.lower()
    return next((role for role, names in ROLES.items() if name in names), f"phase {name}")


def _unet(model: Model, name: str) -> UNet:
    """The U-Net of a model, the first one if it has several."""
    members = [model.segmenter]
    if isinstance(model.segmenter, CombinedSegmenter):
        members = list(model.segmenter.members)
    for member in members:
        if isinstance(member, NetworkSegmenter) and isinstance(member.network, UNet):
            return member.network
    raise InputError(
        f"the model {name} has no U-Net to start from; give start='{BASE}', or a model that has one"
    )


def _first_layer(values: Tensor, before: Settings, after: Settings) -> Tensor:
    """Weights (width, slices * channels, 3, 3) of the first layer for other images of a slice."""
    width, _, *kernel = values.shape
    old = values.reshape(width, before.ugsm.slices, before.data.channels, *kernel)
    new = old.new_zeros(width, after.ugsm.slices, after.data.channels, *kernel)
    n = min(before.ugsm.slices, after.ugsm.slices)
    there, here = (slice((of - n) // 2, (of + n) // 2) for of in (old.shape[1], new.shape[1]))
    if before.data.channels == after.data.channels:
        new[:, here] = old[:, there]
    else:  # the volume's scale is the first of two, the slice's own the second
        one = after if after.data.channels == 1 else before
        scale = 1 if one.data.scale == "slice" else 0
        if after.data.channels == 1:
            new[:, here, 0] = old[:, there, scale]
        else:
            new[:, here, scale] = old[:, there, 0]
    return new.reshape(width, -1, *kernel)
