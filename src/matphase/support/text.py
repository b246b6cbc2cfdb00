"""Numbers as text in messages."""

from collections.abc import Iterable


def times(sides: Iterable[int]) -> str:
    """Sides of an array as text such as `8 x 224 x 256`."""
    return " x ".join(map(str, sides))


def one_line(text: str) -> str:
    """A text from a record as at most 80 printable characters, for messages."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
