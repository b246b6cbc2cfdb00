"""ResNets on small patches, which end in single pixels."""

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from matphase.networks.registry import patch_classifier
from matphase.settings import LCGARSettings

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")


@pytest.mark.parametrize("depth", [18, 50])
def test_weights_that_see_padding_alone_learn_nothing(depth: int) -> None:
    """Also in bfloat16, where a library leaves their gradients as the memory was before."""
    torch.manual_seed(0)
    network = patch_classifier(f"resnet{depth}", 1, 3, 0, LCGARSettings()).train()
    # what is freed here is what a gradient that is not written holds later
    used = [torch.full((n,), torch.nan, dtype=torch.bfloat16) for n in (10**5, 10**6, 3 * 10**6)]
    del used
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(128, 1, 11, 11)).float().square().sum().backward()
    block = network.features.layer4[0]
    strided = block.conv1 if depth == 18 else block.conv2
    assert strided.stride == (2, 2)
    gradient = strided.weight.grad.clone()
    assert gradient[..., 1, 1].abs().max() > 0
    gradient[..., 1, 1] = 0
    assert not gradient.any()


def test_a_single_pixel_is_convolved_as_any_image() -> None:
    network = patch_classifier("resnet18", 1, 3, 0, LCGARSettings())
    layer = network.features.layer4[0].conv1
    pixel = torch.randn(4, 256, 1, 1)
    whole = nn.functional.conv2d(pixel, layer.weight, stride=2, padding=1)
    torch.testing.assert_close(layer(pixel), whole)
