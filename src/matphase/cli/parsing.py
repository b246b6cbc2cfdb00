"""Texts of the command line as numbers, lists, pairs and settings."""

import re
from collections.abc import Iterable
from typing import Any

from matphase.support.errors import InputError
from matphase.support.records import MAX_DEPTH, RecordError, parse_toml

MOST_MINUTES = 10**5
"""Two months."""


def parse_list(text: str) -> list[str]:
    """`a,b,c` as a list of texts.

    Raises:
        InputError: the list is empty or has an entry twice.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError(f"{text!r} is an empty list; write it like a,b,c")
    for part in parts:
        if parts.count(part) > 1:
            raise InputError(f"{text!r} has {part} twice; give it once")
    return parts


def parse_pairs(text: str | None, option: str) -> dict[str, str] | None:
    """`a=b,c=d` as a dictionary of texts.

    Args:
        text: what the user wrote; None gives None.
        option: name of the option, for the error message.

    Raises:
        InputError: a part is not NAME=VALUE, or a name occurs twice.
    """
    if text is None:
        return None
    pairs: dict[str, str] = {}
    for part in parse_list(text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise InputError(f"{part!r} in {option} is not NAME=VALUE; write it like a=b,c=d")
        if name in pairs:
            raise InputError(f"{option} {text!r} has {name} twice; give it once")
        pairs[name] = value
    return pairs


def parse_numbers(text: str | None, option: str) -> dict[str, float] | None:
    """`a=0.5,b=2` as a dictionary of numbers.

    Args:
        text: what the user wrote; None gives None.
        option: name of the option, for the error message.

    Raises:
        InputError: a part is not NAME=NUMBER, or a name occurs twice.
    """
    pairs = parse_pairs(text, option)
    if pairs is None:
        return None
    numbers = {}
    for name, value in pairs.items():
        try:
            numbers[name] = float(value)
        except ValueError as error:
            raise InputError(f"{name}={value} in {option} is not a number; correct it") from error
    return numbers


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """`ugsm.width=32` and the like as nested settings.

    Values are written as in TOML; a word without quotes is a text, so `model=unet` works.

    Raises:
        InputError: something is not SECTION.NAME=VALUE, or a setting is given twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        *sections, last = name.split(".")
        if not (equals and value and last and all(sections)) or len(sections) >= MAX_DEPTH:
            raise InputError(
                f"--set {text!r} is not SECTION.NAME=VALUE; write it like ugsm.width=32"
            )
        place = settings
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise InputError(f"--set gives {section} both a value and settings; give one")
        if last in place:
            raise InputError(f"--set gives {name} twice; give it once")
        place[last] = _toml_value(value)
    return settings


def _toml_value(text: str) -> Any:
    if "\n" in text:  # would end the value and begin another setting
        return text
    try:
        return parse_toml(f"value = {text}".encode(), text)["value"]
    except (RecordError, UnicodeEncodeError):
        return text


def parse_voxel_size(text: str | None) -> float | tuple[float, ...] | None:
    """`0.2` as a number, or `0.2,0.1,0.1` as a tuple of numbers (z, y, x).

    Raises:
        InputError: a part is not a number.
    """
    if text is None:
        return None
    try:
        lengths = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--voxel-size {text!r} is not a length; write 0.2, or 0.2,0.1,0.1 for z, y, x"
        ) from error
    return lengths[0] if len(lengths) == 1 else lengths


def parse_shape(text: str) -> tuple[int, int, int]:
    """`133,224,256` as numbers of voxels (z, y, x).

    Raises:
        InputError: it is not three whole numbers.
    """
    lengths = parse_lengths(text)
    if lengths is None or len(lengths) != 3:
        raise _no_shape(text)
    slices, height, width = lengths
    return slices, height, width


def parse_lengths(text: str | None) -> tuple[int, ...] | None:
    """`133,224,256` as the lengths of any number of axes.

    Raises:
        InputError: a part is no whole number.
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise _no_shape(text) from error


def _no_shape(text: str) -> InputError:
    return InputError(f"--shape {text!r} is not a shape; write it like 133,224,256")


MAX_SLICES = 10**7
"""Slice indices that an option can list."""


def parse_slices(text: str | None) -> list[int] | None:
    """`0,10,20`, or `0:100:10` as in Python's `range`, as slice indices.

    Raises:
        InputError: it is neither.
    """
    if text is None:
        return None
    try:
        if ":" in text:
            numbers = range(*(int(part) for part in text.split(":")))
            if len(numbers) > MAX_SLICES:
                raise InputError(f"{text!r} are more slices than any volume has; correct it")
            return list(numbers)
        return [int(part) for part in text.split(",")]
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{text!r} are not slice indices; write 0,10,20, or 0:100:10 for every tenth slice"
        ) from error


def parse_crop(text: str | None) -> list[slice] | None:
    """`0:50,10:,:` as slices of the axes.

    Raises:
        InputError: a part is not START:STOP.
    """
    if text is None:
        return None
    crop = []
    for part in text.split(","):
        ends = re.fullmatch(r"(-?\d{1,18})?:(-?\d{1,18})?", part.strip())
        if ends is None:
            raise InputError(
                f"{part.strip()!r} in --crop {text!r} is not START:STOP; write it like 0:50,10:,: "
                "for the first 50 slices, rows from 10 on and all columns"
            )
        first, last = (None if end is None else int(end) for end in ends.groups())
        crop.append(slice(first, last))
    return crop


MOST_MEMORY = 10**18
"""Bytes that `--memory` can ask for."""


def parse_memory(text: str) -> int:
    """`500MB`, `2GB` or `2GiB` as bytes.

    Raises:
        InputError: it is not an amount of memory above zero, or more than any machine has.
    """
    from dask.utils import parse_bytes

    try:
        # dask takes a missing number for 1
        amount = parse_bytes(text) if any(sign.isdigit() for sign in text) else 0
    except (ValueError, OverflowError):
        amount = 0
    if not 0 < amount <= MOST_MEMORY:
        if len(text) > 20:
            text = f"{text[:20]}..."
        raise InputError(f"--memory {text!r} is not an amount of memory; write it like 2GB")
    return int(amount)


def parse_minutes(text: str) -> float:
    """`10min`, `90s` or `2h` as minutes.

    Raises:
        InputError: it is not a time above zero, or more than two months.
    """
    units = {"s": 1 / 60, "min": 1.0, "h": 60.0, "d": 1440.0}
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?(s|min|h|d)", text.strip(), re.ASCII)
    minutes = float(found[1]) * units[found[2]] if found else 0
    if not 0 < minutes <= MOST_MINUTES:
        if len(text) > 20:
            text = f"{text[:20]}..."
        raise InputError(f"--time {text!r} is not a time; write it like 10min, 90s or 2h")
    return minutes
