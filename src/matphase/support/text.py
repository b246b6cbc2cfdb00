"""Parts of messages: sides of arrays, and texts that may be long or strange."""

from collections.abc import Iterable


def times(sides: Iterable[int]) -> str:
    """Sides of an array as text such as `8 x 224 x 256`."""
    return " x ".join(map(str, sides))


def shortened(text: str, limit: int = 80) -> str:
    """A text of at most `limit` characters, whose end is left out where it is longer."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def one_line(text: str) -> str:
    """A text from a record as at most 80 printable characters, for messages."""
    return shortened("".join(sign if sign.isprintable() else "?" for sign in text))
