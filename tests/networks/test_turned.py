"""Flips and quarter turns of images, for averages over them."""

import numpy as np
import pytest
import torch

from matphase.networks.turned import TURNS, Turn


def test_the_turns_are_all_different_and_undone() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    seen = set()
    for number in range(TURNS):
        turned = Turn(number).apply(image)
        assert sorted(turned.shape[-2:]) == [3, 4]
        assert torch.equal(Turn(number).undo(turned), image)
        seen.add((tuple(turned.shape), tuple(turned.flatten().tolist())))
    assert len(seen) == TURNS
    assert torch.equal(Turn(0).apply(image), image)


@pytest.mark.parametrize("number", range(TURNS))
def test_places_in_a_turned_window_are_those_in_the_turned_slice(number: int) -> None:
    """The place of each pixel, by the origin of a window, is the same for all windows."""
    turn = Turn(number)

    def places(rows: slice, columns: slice) -> dict[tuple[int, int], tuple[int, int]]:
        y, x = np.mgrid[rows, columns]
        own = torch.from_numpy(np.stack([y, x]))
        turned = turn.apply(own)
        top, left = turn.origin((rows.start, columns.start), *own.shape[-2:])
        return {
            (int(turned[0, i, j]), int(turned[1, i, j])): (top + i, left + j)
            for i in range(turned.shape[1])
            for j in range(turned.shape[2])
        }

    whole = places(slice(0, 32), slice(0, 48))
    for window in ((slice(0, 16), slice(16, 48)), (slice(16, 32), slice(0, 16))):
        found = places(*window)
        assert found == {
            pixel: whole_place for pixel, whole_place in whole.items() if pixel in found
        }


def test_negative_places_are_known_beforehand() -> None:
    assert Turn(1).origin((16, 32), 8, 4) == (-24, 32)
    assert Turn(6).origin((16, 32), 8, 4) == (32, -24)
