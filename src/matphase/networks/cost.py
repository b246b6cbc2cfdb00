"""What a network costs: weights, operations, memory."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

UNUSABLE = 1.8
"""So many bytes are taken where one is needed: what was freed comes in pieces of other sizes. How
many changes from run to run; the worst of twenty took 1.5."""


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


def pass_bytes(network: nn.Module, height: int, width: int) -> int:
    """Upper bound of the memory that one pass over one slice takes, in bytes.

    A network may know it better (`pass_bytes`); of others every layer's output is added up, as if
    none were freed, four bytes a value.

    Args:
        network: that maps whole images.
        height: of the slice, in pixels.
        width: of the slice, in pixels.
    """
    known = getattr(network, "pass_bytes", None)
    if known is not None:
        return int(known(height, width))
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
