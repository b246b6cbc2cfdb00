"""The eight flips and quarter turns of a square, for averages over them at prediction.

A network that learned from flipped and turned images gives slightly different predictions of them,
whose average errs less often. Windows of a slice have to give what the whole slice gives, so an
image is first padded to the grid on which the network pools, and only then turned: the grid of a
turned window is then that of the turned slice.
"""

from dataclasses import dataclass

from torch import Tensor

TURNS = 8
"""Number of flips and quarter turns, the image as it is among them."""


@dataclass(frozen=True)
class Turn:
    """One of the eight: axes exchanged or not, then each axis reversed or not.

    Attributes:
        number: 0 to 7; 0 leaves the image as it is.
    """

    number: int

    @property
    def exchanged(self) -> bool:
        """Whether rows become columns."""
        return bool(self.number & 4)

    @property
    def reversed_axes(self) -> list[int]:
        """Axes that are reversed, after the exchange."""
        return [axis for axis, bit in ((-2, 1), (-1, 2)) if self.number & bit]

    def apply(self, image: Tensor) -> Tensor:
        """Turn images (..., h, w)."""
        turned = image.transpose(-2, -1) if self.exchanged else image
        return turned.flip(self.reversed_axes) if self.reversed_axes else turned

    def undo(self, image: Tensor) -> Tensor:
        """Turn images (..., h, w) back."""
        straight = image.flip(self.reversed_axes) if self.reversed_axes else image
        return straight.transpose(-2, -1) if self.exchanged else straight

    def origin(self, origin: tuple[int, int], height: int, width: int) -> tuple[int, int]:
        """Place of a turned window in the turned slice, whose reversed axes run from -1 down.

        So the place does not depend on the size of the slice, which a window does not know.

        Args:
            origin: row and column of the slice at which the window begins.
            height: of the window, padded.
            width: of the window, padded.
        """
        places, sides = list(origin), [height, width]
        if self.exchanged:
            places.reverse()
            sides.reverse()
        for axis in self.reversed_axes:
            places[axis] = -(places[axis] + sides[axis])
        return places[0], places[1]
