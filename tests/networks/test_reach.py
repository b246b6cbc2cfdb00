"""Nothing farther away than a network says moves its answers, and what is nearer does."""

import pytest
import torch
from torch import Tensor, nn

from matphase.networks import zoo
from matphase.networks.reach import Reach, pyramid
from matphase.networks.unet import UNet
from matphase.settings import LCGARSettings, Settings, UGSMSettings

NETWORKS = [("unet", 1), ("unet", 3), ("mcd_unet", 4), ("fcn", 4), ("segnet", 4)]
SIDE = 32


def build(name: str, depth: int) -> nn.Module:
    torch.manual_seed(0)
    return zoo.segmenter(name, 1, 2, UGSMSettings(width=2, depth=depth)).double().eval()


def reach_of(network: nn.Module) -> Reach:
    found = zoo.reach(network, None, Settings())
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
    reach = reach_of(network)
    begin = reach.multiple * (reach.radius // reach.multiple + 2)
    end = begin + reach.multiple
    image = torch.rand(1, 1, SIDE, end + begin, dtype=torch.float64)

    def answer(image: Tensor) -> Tensor:
        with torch.no_grad():
            if axis == "y":
                return network(image.transpose(-1, -2)).transpose(-1, -2)[..., begin:end]
            return network(image)[..., begin:end]

    before, after = begin - reach.radius, end + reach.radius
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
        near = (before + reach.multiple, after - reach.multiple)
        assert not torch.equal(answer(beside(image, near[0], near[0] + reach.multiple, 50)), known)
        return
    for column in (before, after - 1):
        assert not torch.equal(answer(beside(image, column, column + 1, 1e9)), known)


def test_radii_worked_out_by_hand() -> None:
    # two convolutions, pooling, two convolutions, back, two convolutions: 2 + 4 + 2
    assert pyramid([2], 2, [2]) == Reach(8, 2)
    assert pyramid([], 3, []) == Reach(3, 1)
    assert reach_of(build("unet", 4)) == Reach(94, 16)


def test_a_patch_classifier_asks_for_answers_around_the_block() -> None:
    unet, settings = build("mcd_unet", 3), Settings()
    own = reach_of(unet)
    classifier = zoo.patch_classifier("lcgar", 4, 3, 3, settings.lcgar)
    assert zoo.reach(unet, classifier, settings) == Reach(own.radius + 8, 8)
    wide = Settings(lcgar=LCGARSettings(h=25, padding="image"))
    assert zoo.reach(unet, classifier, wide) == Reach(own.radius + 24, 8)


def test_a_local_unet_looks_as_far_again() -> None:
    unet, settings = build("mcd_unet", 3), Settings()
    local = UNet(4, 3, width=2, depth=3, dropout=0)
    assert zoo.reach(unet, local, settings) == Reach(48 + 46, 8)


@pytest.mark.parametrize("name", ["deeplabv3", "manet", "unetpp"])
def test_networks_that_look_at_the_whole_image_say_so(name: str) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    network = zoo.segmenter(name, 1, 3, UGSMSettings(width=4))
    assert zoo.reach(network, None, Settings()) is None
