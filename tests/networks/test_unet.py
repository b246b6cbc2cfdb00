import pytest
import torch

from matphase.networks.unet import UNet


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (50, 64), (63, 32)])
def test_any_size_from_32_px_keeps_its_shape(size: tuple[int, int]) -> None:
    network = UNet(1, 3, width=4, depth=4).eval()
    assert network(torch.zeros(2, 1, *size)).shape == (2, 3, *size)


def test_is_the_u_net_of_the_paper_at_width_64() -> None:
    network = UNet(1, 3, width=64, depth=4)
    # four halvings lead from 64 to 1024 channels; 31.04 M weights is the textbook network
    parameters = sum(weight.numel() for weight in network.parameters())
    assert 31.0e6 < parameters < 31.1e6


def test_output_moves_with_the_input_by_the_stride() -> None:
    torch.manual_seed(0)
    network = UNet(1, 2, width=4, depth=2).eval()
    image = torch.rand(1, 1, 64, 64)
    whole = network(image)
    shifted = network(image.roll(8, dims=-1))
    torch.testing.assert_close(shifted[..., 24:48], whole[..., 16:40])


def test_overfits_a_slice() -> None:
    torch.manual_seed(0)
    network = UNet(1, 3, width=8, depth=2, dropout=0.0)
    image = torch.rand(1, 1, 32, 32)
    target = (image[:, 0] * 3).long()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(image), target).backward()
        optimizer.step()
    network.eval()
    assert (network(image).argmax(1) == target).float().mean() > 0.9
