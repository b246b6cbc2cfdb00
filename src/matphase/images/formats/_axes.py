"""The axes of a file, named by it or by the user, as those of a volume: z, y, x."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matphase.images.arrays import ArrayLike, arranged
from matphase.images.volume import Volume, check_not_colour
from matphase.images.voxel_size import checked_voxel_size
from matphase.support.errors import InputError
from matphase.support.text import times

UNKNOWN = ""
"""Name of an axis of which a file says nothing."""

_SPACE = ("z", "y", "x")
_WORDS = {
    "z": ("slice", "slices", "section", "sections", "plane", "planes", "depth"),
    "y": ("row", "rows", "line", "lines", "height"),
    "x": ("col", "cols", "column", "columns", "width"),
    "t": ("time", "times", "frame", "frames"),
    "c": ("channel", "channels", "color", "colors", "colour", "colours", "band", "bands"),
    "s": ("sample", "samples", "rgb"),
}
_LETTER_OF = {word: letter for letter, words in _WORDS.items() for word in (letter, *words)}
_SEVERAL = {"t": "times", "c": "channels", UNKNOWN: "images"}
_FEW = 16
"""Most channels that an axis without a name is taken for in a message."""


@dataclass(frozen=True, eq=False)
class Stored:
    """What a reader found in a file, before its axes are those of a volume.

    Attributes:
        array: as it is stored, with any number of axes; it takes one window per axis.
        name: where it is from, for messages.
        axes: recorded names of the axes, `UNKNOWN` where there is none; None where the file
            says nothing about its axes.
        size: voxel size along each axis in `unit`, None where it is not known.
        unit: unit of length.
    """

    array: ArrayLike
    name: str
    axes: tuple[str, ...] | None = None
    size: tuple[float | None, ...] | None = None
    unit: str | None = None


def volume_of(stored: Stored, given: str | None = None) -> Volume:
    """Make a volume of what a file holds: transposed to z, y, x, other axes of length 1 dropped.

    Args:
        stored: what a reader found.
        given: axes by the user, in the order in which they are stored: a letter for each axis, or
            for each that is longer than 1. They come before what the file records.

    Raises:
        InputError: an axis of times, channels or the like is longer than 1, or the axes do not
            make a slice or a stack.
    """
    shape = tuple(stored.array.shape)
    if len(shape) < 2:
        raise InputError(
            f"{stored.name} has {len(shape)} dimensions; give one slice (y, x) or a stack (z, y, x)"
        )
    if 0 in shape:
        raise InputError(f"{stored.name} is empty (shape {times(shape)}); give at least one pixel")
    if given is not None:
        names = _matched(stored, _letters(given), given)
    elif stored.axes is not None and any(map(letter_of, stored.axes)):
        names = _recorded(stored)
    else:
        names = unnamed(shape)
        if len(names) == 3:
            check_not_colour(shape, stored.name)
    new = len(names) > len(shape)  # an axis of one slice that is not stored
    lengths = (1, *shape) if new else shape
    _check(stored, names, lengths)
    order = [name for name in _SPACE if name in names]
    kept = tuple(_place(names.index(name), new=new) for name in order)
    size, unit = _voxel_size(stored, kept)
    array = arranged(stored.array, kept)
    return Volume.from_array(array, "zyx"[-len(kept) :], size, unit, stored.name)


def letter_of(name: str) -> str | None:
    """Give an axis its letter z, y, x, t, c or s; None for other names.

    Names such as `detector_y` and `voxel_z` count as the one letter or word that they contain.
    """
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]
    found = {_LETTER_OF[part] for part in parts if part in _LETTER_OF}
    return found.pop() if len(found) == 1 else None


def names_in(recorded: Any) -> tuple[str, ...] | None:
    """Read the names of axes as programs write them; None for anything else.

    They may be a list, the JSON of vigra's `axistags`, or a text such as "zyx", "z,y,x" or
    "[z:y:x]".
    """
    if isinstance(recorded, bytes):
        recorded = recorded.decode("utf-8", errors="replace")
    if isinstance(recorded, str):
        text = recorded.strip()
        if text.startswith("{"):
            return _vigra_tags(text)
        inside = text.strip("[]() ")
        parts = [one.strip(" '\"") for one in re.split(r"[,:;\s]+", inside)]
        return tuple(parts) if len(parts) > 1 else tuple(inside) or None
    if isinstance(recorded, Sequence) or hasattr(recorded, "tolist"):
        listed = recorded.tolist() if hasattr(recorded, "tolist") else list(recorded)
        if not isinstance(listed, list):
            return names_in(listed) if isinstance(listed, str | bytes) else None
        if len(listed) == 1:
            return names_in(listed[0])
        return tuple(
            one.decode("utf-8", errors="replace") if isinstance(one, bytes) else str(one or "")
            for one in listed
        )
    return None


def unnamed(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Name axes of which a file says nothing: the last ones are z, y, x, after those of length 1.

    A stack of one slice, (1, y, x), stays one.
    """
    longer = [axis for axis, length in enumerate(shape) if length != 1]
    if len(shape) == 3 and longer != [0, 1] and longer != [0, 2]:
        longer = [0, 1, 2]
    elif len(longer) < 2:
        longer = list(range(len(shape)))[-2:]
    if len(longer) > 3:
        return (UNKNOWN,) * len(shape)
    letters = dict(zip(longer, _SPACE[-len(longer) :], strict=True))
    return tuple(letters.get(axis, UNKNOWN) for axis in range(len(shape)))


def _vigra_tags(text: str) -> tuple[str, ...] | None:
    try:
        return tuple(str(axis["key"]) for axis in json.loads(text)["axes"])
    except (ValueError, KeyError, TypeError):
        return None


def _letters(given: str) -> str:
    """Read the axes that a user gives.

    Raises:
        InputError: a letter that is not known, a letter twice, or no slice or stack among them.
    """
    letters = re.sub(r"[\s,]+", "", given).lower()
    if "z" not in letters:
        letters = letters.replace("t", "z")  # slices that were recorded as times
    space = [letter for letter in letters if letter in _SPACE]
    if (
        set(letters) - {*_SPACE, "t", "c", "s"}
        or len(set(letters)) < len(letters)
        or len(space) < 2
    ):
        raise InputError(
            f"axes {given!r} are not known; write a letter for each axis of the file in its order, "
            "such as 'yx', 'zyx', 'xyz', 'tyx' (times are slices) or 'czyx' (one channel)"
        )
    return letters


def _matched(stored: Stored, letters: str, given: str) -> tuple[str, ...]:
    """Give each axis of a file one of the `letters`, or `UNKNOWN` to some of length 1.

    Raises:
        InputError: there are more letters than axes, or more axes longer than 1 than letters.
    """
    shape = tuple(stored.array.shape)
    if len(letters) > len(shape):  # channels or times that the file does not even mention
        letters = "".join(letter for letter in letters if letter in _SPACE)
    if len(letters) == len(shape) + 1 and letters[0] == "z":
        return tuple(letters)  # one slice as a stack
    recorded = [letter_of(name) for name in stored.axes or ("",) * len(shape)]
    ones = [axis for axis, length in enumerate(shape) if length == 1]
    # of the axes of length 1, those stay that the file calls as the user does, then the first
    ones.sort(key=lambda axis: ((recorded[axis] or "none") in letters, -axis))
    too_many = len(shape) - len(letters)
    if not 0 <= too_many <= len(ones):
        longer = len(shape) - len(ones)
        raise InputError(
            f"axes {given!r} do not fit {stored.name} of shape {times(shape)}; pass "
            f"{''.join(_SPACE[-longer:])!r}, or the letters in another order"
            if longer in (2, 3)
            else f"axes {given!r} do not fit {stored.name} of shape {times(shape)}; give one "
            "letter per axis"
        )
    left_out = set(ones[:too_many])
    letter = iter(letters)
    return tuple(UNKNOWN if axis in left_out else next(letter) for axis in range(len(shape)))


def _recorded(stored: Stored) -> tuple[str, ...]:
    """Give each axis its letter by its recorded name; one without a name is z if there is none.

    Raises:
        InputError: the number of recorded names is not that of the axes.
    """
    assert stored.axes is not None
    shape = tuple(stored.array.shape)
    if len(stored.axes) != len(shape):
        listed = ", ".join(one or "?" for one in stored.axes)
        raise InputError(
            f"{stored.name} of shape {times(shape)} records {len(stored.axes)} axes ({listed}); "
            "say what its axes are with axes="
        )
    letters = [letter_of(name) or name for name in stored.axes]
    longer = [axis for axis, name in enumerate(letters) if name == UNKNOWN and shape[axis] > 1]
    missing = [name for name in _SPACE if name not in letters]
    if len(longer) == len(missing) == 1:
        letters[longer[0]] = missing[0]
    return tuple(letters)


def _check(stored: Stored, names: tuple[str, ...], shape: tuple[int, ...]) -> None:
    """Refuse what is no slice or stack.

    Raises:
        InputError: it names the axes and says what to do.
    """
    others = [axis for axis, name in enumerate(names) if name not in _SPACE and shape[axis] > 1]
    space = [name for name in names if name in _SPACE]
    if not any(names):
        raise InputError(_without_names(stored.name, shape))
    if others:
        listed = ", ".join(
            f"{name.upper() or '?'} {length}" for name, length in zip(names, shape, strict=True)
        )
        if "s" in (names[axis] for axis in others):
            raise InputError(
                f"{stored.name} is a picture in colour; convert it to grey, or if these are a few "
                "slices, say so with axes="
            )
        what = f"{shape[others[0]]} {_several(names[others[0]])}"
        one = len(others) == 1
        text = (
            f"{stored.name} holds {what}; save one of them"
            if one
            else (
                f"{stored.name} has axes {listed}; save one channel and time as slices or a stack"
            )
        )
        if one and "z" not in names and {"y", "x"} <= set(names):
            axes = ["z" if axis == others[0] else name for axis, name in enumerate(names)]
            letters = "".join(name for name in axes if name in _SPACE)
            text += f", or pass axes={letters!r} if they are the slices of the stack"
        elif one:
            text += f" as a slice or a stack (axes {listed})"
        raise InputError(text)
    if len(set(space)) < len(space) or len(space) < 2:
        recorded = ", ".join(name or "?" for name in names) or "none"
        raise InputError(
            f"{stored.name} of shape {times(shape)} has the axes {recorded}; give one slice "
            "(y, x) or one stack (z, y, x), or say what the axes are with axes="
        )


def _without_names(name: str, shape: tuple[int, ...]) -> str:
    """Say that an array has too many axes, and what the odd one may be."""
    *others, last = shape
    text = f"{name} has {len(shape)} axes of {times(shape)} voxels and does not say what they are"
    if last <= _FEW and last < min(others):
        return (
            f"{text}; if the last are {last} channels, such as the probabilities of {last} phases, "
            "save the labels or one channel as a slice or a stack"
        )
    return (
        f"{text}; if the first are {shape[0]} times or channels, save one of them as a slice or a "
        "stack"
    )


def _several(name: str) -> str:
    return _SEVERAL.get(name, f"images along {name}")


def _place(axis: int, *, new: bool) -> int | None:
    if not new:
        return axis
    return axis - 1 if axis else None


def _voxel_size(
    stored: Stored, kept: tuple[int | None, ...]
) -> tuple[tuple[float | None, ...] | None, str | None]:
    """Voxel size of the kept axes; (None, None) where it is not known or not valid."""
    if stored.size is None or stored.unit is None:
        return None, None
    size = [None if axis is None else stored.size[axis] for axis in kept]
    try:
        return checked_voxel_size(size, stored.unit, "zyx"[-len(kept) :], stored.name)
    except InputError:
        return None, None
