"""Device and number format of the networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

Precision = Literal["float32", "bfloat16"]
PrecisionSetting = Literal["auto", "float32", "bfloat16"]


def best_device() -> torch.device:
    """GPU if PyTorch finds one, else CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def resolve(precision: PrecisionSetting, device: torch.device) -> Precision:
    """Number format on `device`; `auto` is bfloat16 if the hardware supports it, else float32."""
    if precision != "auto":
        return precision
    return "bfloat16" if _has_bfloat16(device) else "float32"


def arithmetic(precision: PrecisionSetting) -> str:
    """Device and number format on this machine, as a text; dropout masks depend on both."""
    device = best_device()
    return f"{resolve(precision, device)} on {device.type}"


@contextmanager
def running(network: nn.Module, precision: PrecisionSetting) -> Iterator[torch.device]:
    """Context manager that moves `network` to the best device, for inference in `precision`.

    Gives the device. Gradients are off within the block.
    """
    device = best_device()
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval()
    half = resolve(precision, device) == "bfloat16"
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        yield device


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        # compute capability 8 (Ampere) brought bfloat16 units; older cards only emulate it
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False
