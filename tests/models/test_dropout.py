from typing import Literal

import pytest
import torch
from torch import nn

from matphase.models.dropout import MCDropout, dropout_samples

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
