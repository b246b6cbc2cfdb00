"""The machine that numbers come from, as far as it decides speed."""

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from matphase.device import best_device, resolve


def facts() -> dict[str, Any]:
    """What this machine is, ready for JSON.

    Returns:
        `cpu` (its name), `cores`, `gpu` (its name, or None), `bf16` (whether networks run in
        bfloat16 by default), and the versions of `python`, `torch` and `matphase`.
    """
    device = best_device()
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "cpu": capabilities.get("cpu_name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": _name(device) if device.type != "cpu" else None,
        "bf16": resolve("auto", device) == "bfloat16",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "matphase": version("matphase"),
    }


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
