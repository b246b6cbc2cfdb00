import numpy as np
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
