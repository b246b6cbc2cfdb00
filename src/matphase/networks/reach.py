"""How far a network looks: what must lie around a block so that its answers are those of the whole.

A network that halves the resolution pools on a grid, so a block has to begin and end on it, or at
the border of the slice. What lies farther from such a block than the radius does not move its
answers; a test shows that for every network here (`tests/models/test_reach.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """How far the answers of a block look beyond it.

    Attributes:
        radius: in pixels on each side of a block.
        multiple: blocks begin and end at multiples of it, in pixels, or at the border.
    """

    radius: int
    multiple: int = 1

    def then(self, other: "Reach") -> "Reach":
        """The reach of a network whose input are answers of another network with reach `other`.

        Both see the image; blocks lie on the grids of both.
        """
        multiple = max(self.multiple, other.multiple)  # powers of 2
        # what the first one needs of the second is rounded up to blocks of the second
        needed = -(-self.radius // other.multiple) * other.multiple
        return Reach(needed + other.radius, multiple)


def reach_of(network: object) -> Reach | None:
    """How far a network looks; None where it takes an average, or attention, over whole images."""
    reach: Reach | None = getattr(network, "reach", None)
    return reach


def pyramid(up: Sequence[int], deepest: int, down: Sequence[int]) -> Reach:
    """Of a network that halves the resolution and comes back, in any way within a pooled pixel.

    Args:
        up: radius of the convolutions on the way back at each level, full resolution first, in
            pixels of the level.
        deepest: radius of those at the lowest resolution.
        down: radius of those on the way down at each level, full resolution first.
    """
    multiple = 2 ** len(up)
    first, last = 0, multiple - 1
    for radius in up:
        first, last = (first - radius) // 2, (last + radius) // 2
    first, last = first - deepest, last + deepest
    for radius in reversed(down):
        first, last = 2 * first - radius, 2 * last + 1 + radius
    return Reach(max(-first, last - (multiple - 1)), multiple)
