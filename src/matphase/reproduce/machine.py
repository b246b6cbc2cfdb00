"""The machine that numbers come from, as far as it decides speed."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import torch

from matphase.support.device import PrecisionSetting, best_device, resolve


def facts(precision: PrecisionSetting = "auto") -> dict[str, Any]:
    """Describe this machine, ready for JSON.

    Args:
        precision: see `Settings.precision`.

    Returns:
        `cpu` (its name), `cores`, `threads` of this process, `gpu` (its name, or None), `bf16`
        (whether networks run in bfloat16), and the versions of `python`, `torch` and `matphase`.
    """
    device = best_device()
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "cpu": capabilities.get("cpu_name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": _name(device) if device.type != "cpu" else None,
        "bf16": resolve(precision, device) == "bfloat16",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "matphase": version("matphase"),
    }


def machines_of(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The machines that results came from, each once."""
    distinct: list[dict[str, Any]] = []
    for result in results:
        if result["machine"] not in distinct:
            distinct.append(result["machine"])
    return distinct


def described(machines: Iterable[dict[str, Any]]) -> str:
    """The machines in a sentence, for the foot of a page; empty for none."""
    texts = "; ".join(map(named, machines))
    return f"Measured on: {texts}." if texts else ""


def named(machine: dict[str, Any]) -> str:
    """One machine, as far as it decides speed and rounding."""
    return (
        f"{machine['gpu'] or machine['cpu']}, {machine['cores']} cores, "
        f"threads a unit: {machine['threads']}, "
        f"{'bfloat16' if machine['bf16'] else 'float32'}, torch {machine['torch']}, "
        f"matphase {machine['matphase']}"
    )


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
