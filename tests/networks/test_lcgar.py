import pytest
import torch

from matphase.networks.idk import IDKClassifier
from matphase.networks.lcgar import LCGAR
from matphase.settings import LCGARSettings


def test_has_the_layers_of_table_4() -> None:
    network = LCGAR(in_channels=4, n_phases=3, h=11, n_logits=3)
    shapes = [tuple(weight.shape) for weight in network.parameters() if weight.ndim == 4]
    assert shapes == [
        (32, 4, 3, 3),
        (32, 32, 3, 3),
        (16, 32, 3, 3),
        (16, 16, 3, 3),
        (8, 16, 1, 1),
        (8, 8, 1, 1),
    ]
    # 11 px pool to 5 and to 2, so 8 x 2 x 2 values and the 3 logits enter the 128 units
    assert network.connected.weight.shape == (128, 8 * 2 * 2 + 3)
    assert network.head.weight.shape == (3, 128)


@pytest.mark.parametrize("h", [5, 7, 9, 11, 17, 25])
def test_without_padding_maps_and_weights_stay_in_place(h: int) -> None:
    padded, bare = (LCGAR(4, 3, h, n_logits=3, padded=padded).eval() for padded in (True, False))
    side = LCGARSettings(h=h, padding="image").patch_side
    patch, logits = torch.rand(2, 4, side, side), torch.rand(2, 3)
    inner = patch[..., 6:-6, 6:-6]
    bare.load_state_dict(padded.state_dict())
    assert not torch.allclose(bare(patch, logits), padded(inner, logits))
    # kernels that see nothing but their centre do not see any padding either
    kernels = [weight for weight in padded.parameters() if weight.shape[2:] == (3, 3)]
    with torch.no_grad():
        for kernel in kernels:
            centre = kernel[..., 1, 1].clone()
            kernel.zero_()
            kernel[..., 1, 1] = centre
    bare.load_state_dict(padded.state_dict())
    torch.testing.assert_close(bare(patch, logits), padded(inner, logits))


@pytest.mark.parametrize("h", [1, 3, 5, 7, 11, 17, 25])
def test_takes_any_odd_side(h: int) -> None:
    network = LCGAR(in_channels=1, n_phases=2, h=h).eval()
    assert network(torch.rand(5, 1, h, h)).shape == (5, 2)


def test_sees_the_logits_of_the_centre() -> None:
    network = LCGAR(in_channels=1, n_phases=3, h=11, n_logits=3).eval()
    patch = torch.rand(2, 1, 11, 11)
    assert not torch.equal(network(patch, torch.zeros(2, 3)), network(patch, torch.ones(2, 3)))


def test_idk_classifier_is_4_16_32_1() -> None:
    network = IDKClassifier(4)
    sizes = [
        (layer.in_features, layer.out_features)
        for layer in network.layers
        if isinstance(layer, torch.nn.Linear)
    ]
    assert sizes == [(4, 16), (16, 32), (32, 1)]
    assert network(torch.rand(6, 4)).shape == (6,)
