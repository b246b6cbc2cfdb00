"""Reach of a network: surroundings that a tile needs to give the result of the whole slice.

A network that halves the resolution pools on a grid, so tiles have to begin and end on this grid,
or at the border of the slice. Pixels farther from such a tile than the radius do not change its
result, which `tests/networks/test_reach.py` checks for every network.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """How far the prediction of a tile depends on pixels around it.

    Attributes:
        radius: distance in pixels on each side of a tile.
        multiple: tiles begin and end at multiples of this number of pixels, or at the border.
    """

    radius: int
    multiple: int = 1

    def then(self, other: "Reach") -> "Reach":
        """Reach of a network whose input is the output of another network with reach `other`.

        Both see the image, and tiles lie on the grids of both.
        """
        multiple = max(self.multiple, other.multiple)  # powers of 2
        # the radius of this network is rounded up to the grid of the other
        needed = -(-self.radius // other.multiple) * other.multiple
        return Reach(needed + other.radius, multiple)


def reach_of(network: object) -> Reach | None:
    """Reach of a network; None if it averages, or has attention, over whole images."""
    reach: Reach | None = getattr(network, "reach", None)
    return reach


def pyramid_reach(up: Sequence[int], deepest: int, down: Sequence[int]) -> Reach:
    """Reach of a network that halves the resolution at each level and then doubles it again.

    Within a pooled pixel, the network may use any pixel. All radii are in pixels of the level.

    Args:
        up: radius of the convolutions on the way up at each level, full resolution first.
        deepest: radius of the convolutions at the lowest resolution.
        down: radius of the convolutions on the way down at each level, full resolution first.
    """
    multiple = 2 ** len(up)
    first, last = 0, multiple - 1
    for radius in up:
        first, last = (first - radius) // 2, (last + radius) // 2
    first, last = first - deepest, last + deepest
    for radius in reversed(down):
        first, last = 2 * first - radius, 2 * last + 1 + radius
    return Reach(max(-first, last - (multiple - 1)), multiple)
