"""Nothing farther away than a network says moves its answers, and what is nearer does."""

import pytest
import torch
from torch import Tensor, nn

from matphase.networks import reach, registry
from matphase.networks.reach import Reach, pyramid_reach
from matphase.settings import UGSMSettings
from samples import skip_without

NETWORKS = [("unet", 1), ("unet", 3), ("mcd_unet", 4), ("fcn", 4), ("segnet", 4)]
SIDE = 32


def build(name: str, depth: int) -> nn.Module:
    torch.manual_seed(0)
    return registry.segmenter(name, 1, 2, UGSMSettings(width=2, depth=depth)).double().eval()


def reach_of(network: nn.Module) -> Reach:
    found = reach.reach_of(network)
    assert found is not None
    return found


def beside(image: Tensor, first: int, last: int, by: float) -> Tensor:
    """The image with other values in columns `first` to `last` - 1."""
    changed = image.clone()
    noise = torch.rand(image[..., first:last].shape, dtype=image.dtype)
    changed[..., first:last] += by * noise
    return changed


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize(("name", "depth"), NETWORKS)
def test_an_answer_sees_as_far_as_the_radius_and_no_farther(
    name: str, depth: int, axis: str
) -> None:
    network = build(name, depth)
    far = reach_of(network)
    begin = far.multiple * (far.radius // far.multiple + 2)
    end = begin + far.multiple
    image = torch.rand(1, 1, SIDE, end + begin, dtype=torch.float64)

    def answer(image: Tensor) -> Tensor:
        with torch.no_grad():
            if axis == "y":
                return network(image.transpose(-1, -2)).transpose(-1, -2)[..., begin:end]
            return network(image)[..., begin:end]

    before, after = begin - far.radius, end + far.radius
    for positive in (False, True):
        if positive:
            # then every change arrives: no path ends in a ReLU, or is outdone in a pooling
            for weight in network.parameters():
                weight.data.abs_()
        known = answer(image)
        beyond = beside(beside(image, 0, before, 50), after, image.shape[-1], 50)
        torch.testing.assert_close(answer(beyond), known, rtol=1e-12, atol=1e-12)
    if name == "segnet":
        # places of maxima are put back where they were found, which a large value may well hide
        near = (before + far.multiple, after - far.multiple)
        assert not torch.equal(answer(beside(image, near[0], near[0] + far.multiple, 50)), known)
        return
    for column in (before, after - 1):
        assert not torch.equal(answer(beside(image, column, column + 1, 1e9)), known)


def test_radii_worked_out_by_hand() -> None:
    # two convolutions, pooling, two convolutions, back, two convolutions: 2 + 4 + 2
    assert pyramid_reach([2], 2, [2]) == Reach(8, 2)
    assert pyramid_reach([], 3, []) == Reach(3, 1)
    assert reach_of(build("unet", 4)) == Reach(94, 16)


def test_what_one_network_needs_of_another_adds_up_on_the_grid_of_both() -> None:
    unet = Reach(46, 8)
    # a patch of 11 px needs 5 px around a pixel, which the U-Net answers in blocks of 8 px
    assert Reach(5).then(unet) == Reach(46 + 8, 8)
    assert Reach(17).then(unet) == Reach(46 + 24, 8)
    assert unet.then(unet) == Reach(48 + 46, 8)
    assert Reach(3, 16).then(unet) == Reach(8 + 46, 16)


@pytest.mark.parametrize("name", ["deeplabv3", "manet", "unetpp"])
def test_networks_that_look_at_the_whole_image_say_so(name: str) -> None:
    skip_without("segmentation_models_pytorch")
    network = registry.segmenter(name, 1, 3, UGSMSettings(width=4))
    assert reach.reach_of(network) is None
