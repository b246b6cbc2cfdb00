from typing import Literal

import pytest
import torch
from torch import nn

from matphase.networks.dropout import CELL, MCDropout, dropout_samples, random_mask

KINDS: list[Literal["element", "channel"]] = ["element", "channel"]


@pytest.mark.parametrize("kind", KINDS)
def test_does_nothing_in_evaluation_unless_sampling(
    kind: Literal["element", "channel"],
) -> None:
    layer = MCDropout(0.5, kind).eval()
    x = torch.rand(2, 8, 5, 5)
    assert torch.equal(layer(x), x)
    with dropout_samples(layer, [1]):
        assert not torch.equal(layer(x), x)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_same_in_any_batch(kind: Literal["element", "channel"]) -> None:
    layer = MCDropout(0.5, kind).eval()
    x = torch.rand(3, 8, 5, 5)
    with dropout_samples(layer, [7, 8]):
        together = layer(x.repeat(2, 1, 1, 1))
    for number, seed in enumerate([7, 8]):
        for one in range(3):
            with dropout_samples(layer, [seed]):
                alone = layer(x[one : one + 1])
            assert torch.equal(alone[0], together[3 * number + one])


def test_layers_and_seeds_have_masks_of_their_own() -> None:
    network = nn.Sequential(MCDropout(0.5, "element"), MCDropout(0.5, "element")).eval()
    x = torch.ones(1, 4, 8, 8)
    with dropout_samples(network, [1]):
        first, second = network[0](x), network[1](x)
    with dropout_samples(network, [2]):
        other = network[0](x)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_keeps_the_mean_and_drops_the_stated_share(kind: Literal["element", "channel"]) -> None:
    layer = MCDropout(0.25, kind).eval()
    with dropout_samples(layer, range(50)):
        y = layer(torch.ones(50, 400, 4, 4))
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_channel_dropout_takes_whole_channels() -> None:
    layer = MCDropout(0.5, "channel").eval()
    with dropout_samples(layer, [3]):
        y = layer(torch.ones(2, 64, 6, 6))
    per_channel = y.flatten(2)
    assert torch.equal(per_channel.amin(-1), per_channel.amax(-1))


def test_batch_norm_is_not_touched_while_sampling() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), MCDropout(0.5, "element")).eval()
    before = network[1].running_mean.clone()
    with dropout_samples(network, [1]):
        network(torch.rand(2, 1, 8, 8) + 5)
    assert torch.equal(network[1].running_mean, before)
    assert not network[1].training


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_random_mask_has_the_stated_share_in_every_place(probability: float) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = random_mask((4001, 8), probability, torch.device("cpu"), generator)
    assert mask.dtype == torch.bool
    spread = 4 * (probability * (1 - probability) / 4001) ** 0.5
    # each column takes one 16-bit part of the words: none may be off, as a sign bit would be
    assert mask.float().mean(0).tolist() == pytest.approx([probability] * 8, abs=spread + 1e-5)
    pairs = (mask[:, 0] == mask[:, 1]).float().mean().item()
    expected = probability**2 + (1 - probability) ** 2
    assert pairs == pytest.approx(expected, abs=4 * 0.5 / 4001**0.5)


def test_training_on_a_cpu_drops_the_stated_share_of_single_activations() -> None:
    torch.manual_seed(0)
    layer = MCDropout(0.3, "element").train()
    x = torch.ones(3, 16, 40, 40, requires_grad=True)
    y = layer(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("origin", [(0, 0), (16, 0), (124, 132), (128, 256)])
def test_a_window_meets_the_masks_of_its_place(
    kind: Literal["element", "channel"], stride: int, origin: tuple[int, int]
) -> None:
    layer = MCDropout(0.5, kind, stride).eval()
    whole, window = torch.ones(1, 4, 160, 300), torch.ones(2, 4, 31, 37)
    with dropout_samples(layer, [5]):
        masks = layer(whole)
    with dropout_samples(layer, [5], origin):
        part = layer(window)
    row, column = (place // stride for place in origin)
    for one in part:
        assert torch.equal(one, masks[0, :, row : row + 31, column : column + 37])


def test_cells_do_not_repeat_each_other() -> None:
    layer = MCDropout(0.5, "element").eval()
    with dropout_samples(layer, [5]):
        mask = layer(torch.ones(1, 2, 3 * CELL, 3 * CELL))[0] > 0
    cells = [
        mask[:, row : row + CELL, column : column + CELL]
        for row in range(0, 3 * CELL, CELL)
        for column in range(0, 3 * CELL, CELL)
    ]
    for number, one in enumerate(cells):
        for other in cells[:number]:
            # of independent ones half the entries agree; 2 x CELL^2 of them, 5 standard deviations
            assert abs((one == other).float().mean().item() - 0.5) < 2.5 / (2 * CELL**2) ** 0.5


def test_a_place_between_the_pixels_of_a_map_is_refused() -> None:
    network = nn.Sequential(MCDropout(0.5, "element", 1), MCDropout(0.5, "element", 4))
    with pytest.raises(ValueError, match="stride 4"), dropout_samples(network, [1], (4, 2)):
        pass
