"""What networks cost: weights and operations counted by hand, and memory."""

import pytest
import torch
from torch import nn

from matphase.networks.cost import macs, parameters, pass_bytes
from matphase.networks.registry import SEGMENTERS, require_package, segmenter
from matphase.networks.unet import UNet
from matphase.settings import UGSMSettings
from matphase.support.errors import InputError
from samples import skip_without


def test_macs_of_a_convolution_are_those_counted_by_hand() -> None:
    layer = nn.Conv2d(2, 5, kernel_size=3, padding=1)
    assert macs(layer, torch.rand(1, 2, 7, 6)) == 7 * 6 * 5 * 2 * 3 * 3
    assert parameters(layer) == 5 * 2 * 3 * 3 + 5
    assert layer.training


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_pass_takes_memory_by_the_area_and_covers_the_output(name: str) -> None:
    package = SEGMENTERS[name].package
    if package is not None:
        skip_without(package)
    network = segmenter(name, 1, 3, UGSMSettings(width=4, depth=3))
    small, large = pass_bytes(network, 64, 64), pass_bytes(network, 128, 128)
    assert small > 4 * 3 * 64 * 64
    # attention over all pairs of places grows faster than the area
    assert 3.9 * small < large < 5 * small
    assert network.training
    assert next(network.parameters()).device.type == "cpu"


def test_the_outputs_of_all_layers_are_added_up() -> None:
    network = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 2, 1))
    assert pass_bytes(network, 7, 6) == 4 * 7 * 6 * (5 + 5 + 2)


def test_a_network_that_knows_it_better_is_believed() -> None:
    unet = UNet(1, 3, width=8, depth=2)
    assert pass_bytes(unet, 40, 50) == unet.pass_bytes(40, 50)


def test_a_package_that_is_not_there() -> None:
    require_package("torch")
    with pytest.raises(InputError, match="needs the package no_such_package; install it with"):
        require_package("no_such_package")
