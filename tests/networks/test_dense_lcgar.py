"""The dense form of LCGAR against the network itself, pixel by pixel, and what both cost."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from matphase.networks.cost import macs
from matphase.networks.dense_lcgar import Costs, DenseLCGAR, costs, strip_rows
from matphase.networks.lcgar import LCGAR
from matphase.settings import LCGARSettings

HEIGHT, WIDTH = 13, 18


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Rounding hides nothing, and what is left is a mistake."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def decided(h: int, n_logits: int, side: int) -> LCGAR:
    """A network that was never trained, but whose answers differ from pixel to pixel."""
    torch.manual_seed(h)
    network = LCGAR(2, 3, h, n_logits, dropout=0, padded=False)
    network.norm.momentum = 1
    logits = (torch.randn(64, 3),) if n_logits else ()
    with torch.no_grad():
        network(torch.randn(64, 2, side, side), *logits)
        network.head.weight *= 10
    return network.eval()


def everywhere() -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return rows.flatten(), columns.flatten()


@pytest.mark.parametrize("n_logits", [0, 3])
@pytest.mark.parametrize("h", [5, 7, 9, 11, 17, 25])
def test_every_pixel_gets_the_answer_of_its_patch(h: int, n_logits: int) -> None:
    side = LCGARSettings(h=h, padding="image").patch_side
    network = decided(h, n_logits, side)
    maps = torch.randn(1, 2, HEIGHT + side - 1, WIDTH + side - 1)
    logits = (torch.randn(HEIGHT * WIDTH, 3),) if n_logits else ()
    patches = F.unfold(maps, side)[0].T.reshape(-1, 2, side, side)
    with torch.no_grad():
        expected = network(patches, *logits).softmax(1)
        found = DenseLCGAR(network)(maps, *everywhere(), *logits).softmax(1)
    assert expected.std(0).min() > 0.05, "otherwise any answer would do"
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert torch.equal(found.argmax(1), expected.argmax(1))


def test_only_the_pixels_asked_for_are_answered() -> None:
    maps = torch.randn(1, 2, HEIGHT + 22, WIDTH + 22)
    dense = DenseLCGAR(decided(11, 0, side=23))
    rows, columns = torch.tensor([12, 0, 7]), torch.tensor([17, 5, 5])
    with torch.no_grad():
        some, every = dense(maps, rows, columns), dense(maps, *everywhere())
    torch.testing.assert_close(some, every[rows * WIDTH + columns])


def test_a_network_that_pads_with_zeros_has_no_dense_form() -> None:
    with pytest.raises(ValueError, match="zero padding of each patch"):
        DenseLCGAR(LCGAR(2, 3, padded=True))


def test_costs_are_those_counted_by_hand() -> None:
    settings = LCGARSettings(h=11, padding="image")
    # weights of the convolutions: grey and three labels in, 3 x 3 and 1 x 1 kernels
    first, second = (9 * 4 * 32, 9 * 32 * 32), (9 * 32 * 16, 9 * 16 * 16)
    third, connected = 16 * 8 + 8 * 8, (8 * 2 * 2 + 3) * 128 + 128 * 3
    patch = first[0] * 21**2 + first[1] * 19**2 + second[0] * 7**2 + second[1] * 5**2 + third * 2**2
    # a map of 40 x 50 px is 62 x 72 px with its margin of 11 px
    areas = [(62 - less) * (72 - less) for less in (2, 4, 9, 13, 15)]
    maps = sum(map(int.__mul__, (*first, *second, third), areas))
    assert costs(settings, 3, 40, 50) == Costs(patch + connected, maps, connected)


def test_a_slice_costs_a_sixtieth_of_table_4_on_patches() -> None:
    paper = macs(LCGAR(4, 3, 11, 3), torch.zeros(1, 4, 11, 11), torch.zeros(1, 3))
    side = 512
    dense = costs(LCGARSettings(padding="image"), 3, side, side).cheapest(side**2) / side**2
    assert paper / dense == pytest.approx(60, rel=0.05)


def test_few_pixels_are_cheaper_one_by_one() -> None:
    counted = Costs(patch=100, maps=5000, pixel=10)
    asked = np.array([0, 1, 55, 56, 1000])
    assert counted.whole_is_cheaper(asked).tolist() == [False, False, False, True, True]
    assert [counted.cheapest(n) for n in asked] == [0, 100, 5500, 5560, 15000]


def test_more_memory_allows_more_rows() -> None:
    settings = LCGARSettings(padding="image")
    rows = [strip_rows(settings, 3, 256, memory) for memory in (0, 10**7, 10**8, 10**9)]
    assert rows[0] == 1
    assert rows == sorted(set(rows))
    # two maps of 32 channels, of the rows and of the 22 around them
    assert 4 * 2 * 32 * 256 * (rows[2] + 22) < 10**8
