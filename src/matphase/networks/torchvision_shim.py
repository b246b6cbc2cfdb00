"""Workaround that makes torchvision importable with a CPU build of torch.

Torchvision's wheel on PyPI is compiled for the CUDA build of torch. With a CPU build its compiled
part does not load, and importing torchvision fails at an operator that only this part defines.
Packages that import torchvision if it is installed (timm; torchmetrics, and so Lightning) then fail
too, although they do not need the operator.
"""

import importlib
import sys
from importlib.util import find_spec
from typing import Any

import torch

from matphase.networks.registry import require_package

_MISSING = "operator torchvision::nms does not exist"
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def make_torchvision_importable() -> None:
    """Declare the operators that importing torchvision needs, without implementing them.

    Nothing happens if torchvision is not installed, is already imported, or can be imported anyway.
    Call it before the first import of a package that imports torchvision; more calls do no harm.

    Raises:
        Exception: importing torchvision fails for another reason.
    """
    if "torchvision" in sys.modules or find_spec("torchvision") is None:
        return
    try:
        # first try without: a compiled part that loads declares the operators itself, and fails
        # if they exist already
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    else:
        return
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _SIGNATURE)


def baseline_package(name: str) -> Any:
    """Import a package that only baselines need.

    Args:
        name: name of the module, for example `torchvision.models`.

    Raises:
        InputError: it is not installed.
    """
    require_package(name.split(".")[0])
    make_torchvision_importable()
    return importlib.import_module(name)
