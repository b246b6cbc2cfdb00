"""Makes torchvision importable beside a torch that its compiled part was not built for.

Torchvision's wheel on PyPI is compiled against the CUDA build of torch. Beside a CPU build its
compiled part does not load, and importing it then stops at an operator that only that part would
have defined. Whatever imports torchvision where it is installed (torchmetrics, and so Lightning;
timm) stops with it, although none of it needs the operator.
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
    """Declare, without an implementation, the operators that importing torchvision asks for.

    Does nothing where torchvision is not installed, is imported already, or imports as it is. Has
    to run before the first import of anything that imports torchvision; may run many times.

    Raises:
        Exception: whatever else importing torchvision raises.
    """
    if "torchvision" in sys.modules or find_spec("torchvision") is None:
        return
    try:
        # first without help: a compiled part that loads declares the operators itself, and would
        # fail on finding them declared
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
    """Import a package that only the networks of others need.

    Args:
        name: of the module, such as `torchvision.models`.

    Raises:
        InputError: it is not installed.
    """
    require_package(name.split(".")[0])
    make_torchvision_importable()
    return importlib.import_module(name)
