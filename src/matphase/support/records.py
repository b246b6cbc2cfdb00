"""The one reader of JSON and TOML, and writer of JSON: records, manifests, headers and settings.

What is read may have been damaged or written by anybody, so nothing is trusted: only regular files
are opened, and size, depth and values are limited before anybody uses them.
"""

import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from matphase.support.errors import FormatError
from matphase.support.files import atomic_write
from matphase.support.text import shortened

MAX_JSON = 2**24
"""Bytes of a JSON file; scores of 100,000 validation slices with three phases fit."""
MAX_TOML = 2**20
"""Bytes of a TOML file, whose reader is slow."""
MAX_DEPTH = 24
"""Levels of lists and sections inside one another."""

_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MAX_DEPTH}}}")
"""A dotted key of many parts, which costs the TOML reader the square of their number."""

_WHOLE = range(-(2**63), 2**63)


class RecordError(FormatError):
    """A record, manifest or settings file is damaged, too large, or no regular file."""


def read_json(path: Path, *, finite: bool = True) -> Any:
    """Content of a JSON file.

    Args:
        path: the file.
        finite: refuse NaN and infinite numbers.

    Raises:
        OSError: the file cannot be opened.
        RecordError: it is no regular file, too large, not JSON, or has values beyond the limits.
    """
    return parse_json(read_regular(path, MAX_JSON), str(path), finite=finite)


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file; raises what `read_json` raises."""
    return parse_toml(read_regular(path, MAX_TOML), str(path))


def json_or_none(path: Path, *, finite: bool = True) -> Any:
    """Content of a JSON file; None if it is missing, damaged or beyond the limits."""
    try:
        return read_json(path, finite=finite)
    except (OSError, ValueError):  # a ValueError: the path has a character that no path can have
        return None


def parse_json(content: bytes, where: str, *, finite: bool = True) -> Any:
    """JSON as Python values, whole numbers of 64 bits.

    Args:
        content: the text in UTF-8.
        where: what it was read from, for messages.
        finite: refuse NaN and infinite numbers.

    Raises:
        RecordError: it is not JSON, or has values beyond the limits.
    """
    try:
        return _checked(json.loads(content.decode("utf-8")), where, finite=finite)
    except RecursionError as error:
        raise _too_deep(where) from error
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(f"{where} is not a JSON file: {_short(error)}") from error


def parse_toml(content: bytes, where: str) -> dict[str, Any]:
    """TOML as Python values, with the limits of `parse_json`.

    Raises:
        RecordError: it is not TOML, or has values beyond the limits.
    """
    if len(content) > MAX_TOML:
        raise _too_large(where, MAX_TOML)
    try:
        # as in a file that is opened as text
        text = content.decode("utf-8").replace("\r\n", "\n")
        if _LONG_KEY.search(text):
            raise _too_deep(where)
        found = tomllib.loads(text)
        _checked(found, where, finite=True)
    except RecursionError as error:
        raise _too_deep(where) from error
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(f"{where} is not a TOML file: {_short(error)}") from error
    return found


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; a pipe or a device, which may never end, is refused.

    Raises:
        OSError: the file cannot be opened.
        RecordError: it is no regular file.
    """
    refused = RecordError(f"{path} is not a regular file; give a file")
    if not stat.S_ISREG(path.stat().st_mode):
        raise refused
    # what was a file a moment ago may be a pipe now, on which a usual open would wait
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise refused
    return open(handle, "rb")  # noqa: PTH123 - the file is open already


def read_regular(path: Path, limit: int) -> bytes:
    """Content of a regular file of at most `limit` bytes; raises what `read_json` raises."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def _checked(content: Any, where: str, *, finite: bool) -> Any:
    """The same content, of which every part lies within the limits."""
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is int:
                if value not in _WHOLE:
                    raise RecordError(f"{where} has a whole number of more than 64 bits")
            elif kind is float:
                if finite and not math.isfinite(value):
                    raise RecordError(f"{where} has a number that is not finite ({value})")
            elif kind is str:
                if not value.isprintable():
                    _check_text(value, where)
            elif kind is list:
                below += value
            elif kind is dict:
                below += value
                below += value.values()
            elif value is not None and kind is not bool:
                raise RecordError(f"{where} has a value that is no text, number or list: {value}")
        if not below:
            return content
        level = below
    raise _too_deep(where)


def _check_text(text: str, where: str) -> None:
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise RecordError(f"{where} has a text with characters that no text can have")


def _too_deep(where: object) -> RecordError:
    return RecordError(f"{where} has more than {MAX_DEPTH} levels inside one another")


def _too_large(where: object, limit: int) -> RecordError:
    return RecordError(f"{where} is larger than {limit / 2**20:g} MiB, so it is not of this kind")


def _short(error: Exception) -> str:
    return shortened(" ".join(str(error).split()), 120)


def brief(value: Any) -> str:
    """A value as text of at most 80 characters, for messages."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # too deep, or a whole number of too many digits
        return f"a {type(value).__name__}"
    return shortened(text)


def text_of(record: Mapping[str, Any], name: str) -> str | None:
    """A text in a record; None if it is missing or something else."""
    value = record.get(name)
    return value if isinstance(value, str) else None


def number_of(record: Mapping[str, Any], name: str) -> float | None:
    """A number in a record; None if it is missing or something else."""
    value = record.get(name)
    return float(value) if isinstance(value, int | float) and type(value) is not bool else None


def json_text(content: Any, indent: int | None = 2) -> str:
    """Content of a JSON file, with a line break at the end; None as indent: on one line.

    Names of files that are not UTF-8, which some systems allow, have `?` in place of their bytes.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "replace").decode("utf-8")


def write_json(
    path: Path, content: Any, *, overwrite: bool = False, indent: int | None = 2
) -> None:
    """Write a JSON file, which appears under its name only when it is complete.

    Raises:
        OutputError: it exists (and `overwrite` is off) or cannot be written.
    """
    with atomic_write(path, overwrite=overwrite) as beside:
        beside.write_text(json_text(content, indent), "utf-8")
