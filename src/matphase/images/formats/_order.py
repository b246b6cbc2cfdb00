"""The order of slices in files: by the numbers in their names."""

import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

_NUMBER = re.compile(
    r"(?P<sign>(?<![0-9A-Za-z)\s])[-+])?"  # not the hyphen between two words or numbers
    r"(?P<whole>\d+)"
    r"(?P<fraction>\.\d+(?![.]?\d))?"
    r"(?P<exponent>e[-+]\d+(?![0-9A-Za-z]))?",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"\d+(?:\.\d+){2,}")

_Key = tuple[tuple[int, Decimal, str], ...]


def in_natural_order(paths: list[Path]) -> list[Path]:
    """Sort paths by the numbers in their names: slice_2 before slice_10, z_0.25 before z_0.5.

    A dot between two numbers is a decimal point, except in names with two dots in a row
    (2024.05.17), and where the digits behind it are counted on: there are 1.9 and 1.10, a trailing
    zero that nobody writes behind a decimal point unless all numbers have as many digits. A minus
    is a sign at the start of a name or behind `_`, `=` and the like, not behind a letter, a number
    or a space. An exponent counts with its sign (1e-05).
    """
    decimals = _have_decimals(path.stem for path in paths)

    def key(path: Path) -> tuple[list[_Key], _Key, str]:
        folders = [_natural(part, decimals=False) for part in path.parent.parts]
        return folders, _natural(path.stem, decimals=decimals), str(path)

    return sorted(paths, key=key)


def _have_decimals(names: Iterable[str]) -> bool:
    """Tell whether dots between the numbers of names are decimal points."""
    digits = [
        found["fraction"][1:]
        for name in names
        for found in _NUMBER.finditer(_DOTTED.sub("", name))
        if found["fraction"]
    ]
    return len({len(one) for one in digits}) < 2 or not any(one.endswith("0") for one in digits)


def _natural(name: str, *, decimals: bool) -> _Key:
    """Make a sort key in which numbers count as numbers."""
    dotted = [range(*found.span()) for found in _DOTTED.finditer(name)]
    key: list[tuple[int, Decimal, str]] = []
    at = end = 0  # of the text between two numbers
    while found := _NUMBER.search(name, at):
        start, whole = found.span("whole")[0], found["whole"]
        number, stop = whole, found.end("whole")
        if found["exponent"] and (decimals or not found["fraction"]):
            number, stop = f"{whole}{found['fraction'] or ''}{found['exponent']}", found.end()
        elif found["fraction"] and decimals and not any(start in span for span in dotted):
            number, stop = f"{whole}{found['fraction']}", found.end("fraction")
        if found["sign"]:
            start, number = found.start(), found["sign"] + number
        if start > end:
            key.append((1, Decimal(0), name[end:start].lower()))
        key.append((0, Decimal(number), ""))
        at = end = stop
    if name[end:]:
        key.append((1, Decimal(0), name[end:].lower()))
    return tuple(key)
