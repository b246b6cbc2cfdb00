"""Cost of a network: weights, operations, memory."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ALLOCATOR_OVERHEAD = 1.8
"""Memory that torch allocates, relative to what is in use, since freed blocks have other sizes than
needed later. It varies from run to run; the largest of twenty runs was 1.5."""


def parameters(network: nn.Module) -> int:
    """Number of weights, trained or fixed, without the running statistics of norms."""
    return sum(weight.numel() for weight in network.parameters())


def macs(network: nn.Module, *inputs: Tensor) -> int:
    """Number of multiply-accumulates of one forward pass in evaluation mode.

    As usual, only convolutions and matrix products are counted.
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


def pass_bytes(network: nn.Module, height: int, width: int) -> int:
    """Upper bound of the memory of one pass over one slice, in bytes.

    Networks may have their own bound (`pass_bytes`). For the others, the outputs of all layers are
    summed as if none were freed, with four bytes per value.

    Args:
        network: network that segments whole images.
        height: of the slice in pixels.
        width: of the slice in pixels.
    """
    known = getattr(network, "pass_bytes", None)
    if known is not None:
        return int(known(height, width))
    return 4 * _output_values(network, height, width)


def _output_values(network: nn.Module, height: int, width: int) -> int:
    """Number of values in the outputs of all layers, computed on meta tensors."""
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
