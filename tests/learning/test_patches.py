from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from matphase.learning.patches import PatchGrid


@given(
    h=st.sampled_from([1, 3, 5, 11, 17]),
    size=st.tuples(st.integers(1, 3), st.integers(12, 20), st.integers(12, 20)),
    seed=st.integers(0, 2**16),
)
def test_patches_are_windows_of_the_mirrored_map(
    h: int, size: tuple[int, int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.random(size).astype(np.float32)
    where = [rng.integers(0, side, 7) for side in size]
    patches = PatchGrid(maps, h).gather(*(torch.from_numpy(part) for part in where))
    margin = h // 2
    for patch, z, y, x in zip(patches.numpy(), *where, strict=True):
        mirrored = np.pad(maps[z], margin, mode="reflect")
        np.testing.assert_array_equal(patch, mirrored[y : y + h, x : x + h])
        assert patch[margin, margin] == maps[z, y, x]


def test_patches_lie_in_the_strip_of_their_row() -> None:
    maps = np.random.default_rng(0).random((2, 20, 15))
    grid = PatchGrid(maps, 7)
    strip = grid.strip(1, 4, 9)
    assert strip.shape == (1, 5 + 6, 15 + 6)
    for row, column in [(4, 0), (8, 14), (6, 3)]:
        patch = grid.gather(torch.tensor([1]), torch.tensor([row]), torch.tensor([column]))
        assert torch.equal(strip[:, row - 4 : row + 3, column : column + 7], patch)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_patches_from_disk_are_those_from_memory(dtype: type, tmp_path: Path) -> None:
    maps = (100 * np.random.default_rng(0).random((3, 20, 15))).astype(dtype)
    asked: list[int] = []

    def one_at_a_time() -> Iterator[np.ndarray]:
        for number, plane in enumerate(maps):
            asked.append(number)
            yield plane

    here, there = PatchGrid(maps, 7), PatchGrid.on_disk(one_at_a_time(), 3, 7, tmp_path)
    assert asked == [0, 1, 2]
    where = (torch.tensor([0, 2, 1]), torch.tensor([0, 19, 7]), torch.tensor([14, 0, 7]))
    assert torch.equal(here.gather(*where), there.gather(*where))
    assert torch.equal(here.strip(2, 3, 9), there.strip(2, 3, 9))
    assert list(tmp_path.iterdir()) == [], "its file has no name that could stay behind"
