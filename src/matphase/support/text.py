"""Numbers as text in messages."""

from collections.abc import Iterable


def times(sides: Iterable[int]) -> str:
    """Sides of an array as text such as `8 x 224 x 256`."""
    return " x ".join(map(str, sides))
