"""Phases: label values, names and colours of the materials in a sample.

Files label phases with any values (0/1/2, 0/128/255, with gaps); networks use indices 0..n-1 in
the order of the table, and `IGNORE_INDEX` for ignored pixels.
"""

import colorsys
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError

IGNORE_INDEX = 255
"""Index of pixels that are ignored in training and in scores."""

_IGNORED_NAMES = ("ignore", "ignored", "unlabelled", "unlabeled")
"""Names of pixels that are of no known phase, in any case of letters."""

ROLES: Mapping[str, tuple[str, ...]] = {
    "pore": ("pore", "pores", "void", "electrolyte"),
    "active": ("active_material", "active", "nickel", "nmc", "graphite", "lfp", "lco", "nca"),
    "binder": ("carbon_binder", "binder", "carbon", "cbd"),
}
"""Usual names of the phases that are pore, active material and binder."""

_MAX_PHASES = 200  # indices fit uint8, with room for IGNORE_INDEX and _UNKNOWN
_UNKNOWN = 254

_IGNORE_COLOR = "#808080"

# Dark pores, mid carbon and bright active material, as in an electron micrograph. Their lightness
# differs enough for grey print and for any colour vision.
_KNOWN_COLORS = {
    "pore": "#1f2a44",
    "carbon": "#c8553d",
    "carbon_binder": "#c8553d",
    "binder": "#c8553d",
    "nickel": "#f4e3b5",
    "active_material": "#f4e3b5",
    "nmc": "#f4e3b5",
}

# For all other names. Blues, yellows and purples can be distinguished with common colour blindness,
# and no two of them (or of the colours above) have the same lightness.
_PALETTE = (
    "#0072b2",
    "#f0e442",
    "#cc79a7",
    "#009e73",
    "#7cc7f2",
    "#7a1f3d",
    "#e69f00",
    "#a8d8b9",
)


@dataclass(frozen=True)
class Phase:
    """One phase: its name, its value in label files, and its colour '#rrggbb'."""

    name: str
    value: int
    color: str


@dataclass(frozen=True)
class PhaseTable:
    """Phases of a sample, in the order of their indices.

    Attributes:
        phases: 2 to 200 phases with different names and values.
        ignored: label values of pixels that are ignored; empty where there are none.

    Raises:
        InputError: too few or too many phases, a name or value that is used twice or not allowed,
            an ignore value that is also a phase's, or a colour that is not '#rrggbb'.
    """

    phases: tuple[Phase, ...]
    ignored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= len(self.phases) <= _MAX_PHASES:
            raise InputError(
                f"a phase table has 2 to {_MAX_PHASES} phases, not {len(self.phases)}; "
                "name each phase once"
            )
        for phase in self.phases:
            if phase.name != phase.name.strip() or not re.fullmatch(r"[^=,]+", phase.name):
                raise InputError(
                    f"{phase.name!r} cannot name a phase; use a word without '=' and ','"
                )
            if _means_ignored(phase.name):
                raise InputError(
                    f"{phase.name!r} names an ignore value; give the phase another name"
                )
            if not re.fullmatch(r"#[0-9a-fA-F]{6}", phase.color):
                raise InputError(
                    f"colour {phase.color!r} of phase {phase.name} is not of the form '#rrggbb'"
                )
        if twice := _repeated(self.names):
            raise InputError(f"phase {twice} is named twice; give each phase a name of its own")
        values = [phase.value for phase in self.phases]
        if (twice := _repeated(values)) is not None:
            raise InputError(f"value {twice} stands for two phases; give each a value of its own")
        for value in self.ignored:
            if value in values:
                raise InputError(
                    f"value {value} is phase {self.names[values.index(value)]} and also an ignore "
                    "value; it can be only one of them"
                )
        if (twice := _repeated(self.ignored)) is not None:
            raise InputError(f"value {twice} is an ignore value twice; give it once")
        for value in self._all_values:
            if not np.iinfo(np.int64).min <= value <= np.iinfo(np.int64).max:
                raise InputError(f"label value {value} is beyond 64 bits; use smaller values")

    @classmethod
    def from_names(cls, names: Sequence[str]) -> "PhaseTable":
        """Table with the label values 0, 1, 2, ... in the order of `names`, in default colours."""
        return cls.from_mapping({name: value for value, name in enumerate(_distinct(names))})

    @classmethod
    def from_mapping(
        cls,
        values: Mapping[str, int | Sequence[int]],
        ignore: int | Sequence[int] | None = None,
    ) -> "PhaseTable":
        """Table of {name: label value}, in the order of the mapping, in default colours.

        Args:
            values: value of each phase. `ignore` (or `ignored`, `unlabelled`, `unlabeled`, in any
                case of letters) is no phase: its value, or list of values, marks pixels to ignore.
            ignore: further values of pixels to ignore.

        Raises:
            InputError: a value that is not a whole number, or an invalid table.
        """
        pairs = [*values.items(), *([] if ignore is None else [("ignore", ignore)])]
        return cls._of_pairs(
            [
                (name, value)
                for name, given in pairs
                for value in (_several(given) if _means_ignored(name) else (given,))
            ]
        )

    @classmethod
    def parse(cls, text: str) -> "PhaseTable":
        """Table from text as on the command line, such as 'pore=0,carbon=1,ignore=255'.

        `ignore`, in any case of letters, may be given several times.

        Raises:
            InputError: a part that is not NAME=INTEGER, a phase given twice, or an invalid table.
        """
        pairs = []
        for part in text.split(","):
            name, equals, number = (piece.strip() for piece in part.partition("="))
            if not (equals and name and re.fullmatch(r"[+-]?\d{1,20}", number)):
                raise InputError(
                    f"{part.strip()!r} in label map {text!r} is not NAME=INTEGER; write it like "
                    "'pore=0,carbon=1,ignore=255'"
                )
            pairs.append((name, int(number)))
        phases = [name for name, _ in pairs if not _means_ignored(name)]
        if twice := _repeated(phases):
            raise InputError(f"label map {text!r} names {twice} twice; give each name once")
        return cls._of_pairs(pairs)

    @classmethod
    def _of_pairs(cls, pairs: Sequence[tuple[str, Any]]) -> "PhaseTable":
        """Table of names and their values, those to ignore among them, in default colours."""
        checked = [(name, _whole_value(name, value)) for name, value in pairs]
        ignored = tuple(value for name, value in checked if _means_ignored(name))
        phases = [(name, value) for name, value in checked if not _means_ignored(name)]
        colors = _default_colors([name for name, _ in phases])
        return cls(
            tuple(
                Phase(name, value, color)
                for (name, value), color in zip(phases, colors, strict=True)
            ),
            ignored,
        )

    def __str__(self) -> str:
        """Text that `parse` reads."""
        parts = [f"{phase.name}={phase.value}" for phase in self.phases]
        return ",".join([*parts, *(f"ignore={value}" for value in self.ignored)])

    @property
    def ignore(self) -> int | None:
        """Label value that ignored pixels get in output; None where no value is ignored."""
        return self.ignored[0] if self.ignored else None

    def _repr_html_(self) -> str:
        rows = [(phase.color, phase.name, phase.value) for phase in self.phases]
        rows += [(_IGNORE_COLOR, "ignored", value) for value in self.ignored]
        cells = "".join(
            f'<tr><td style="background:{color}">&emsp;</td><td>{escape(name)}</td>'
            f"<td>{value}</td></tr>"
            for color, name, value in rows
        )
        return f"<table><tr><th></th><th>phase</th><th>label</th></tr>{cells}</table>"

    def to_json(self) -> dict[str, Any]:
        """Content of `phases.json`, which `from_json` reads."""
        # one value or none as such, as folders have it that were written before there were several
        ignore = list(self.ignored) if len(self.ignored) > 1 else self.ignore
        return {
            "phases": [
                {"name": phase.name, "value": phase.value, "color": phase.color}
                for phase in self.phases
            ],
            "ignore": ignore,
        }

    @classmethod
    def from_json(cls, content: Any) -> "PhaseTable":
        """Table from the content that `to_json` gives.

        Raises:
            InputError: `content` is not such a table.
        """
        try:
            phases = tuple(
                Phase(entry["name"], entry["value"], entry["color"]) for entry in content["phases"]
            )
            ignore = content["ignore"]
        except (TypeError, KeyError) as error:
            raise InputError(
                "a phase table needs 'phases', each with 'name', 'value' and 'color', and 'ignore'"
            ) from error
        ignored = [] if ignore is None else ignore if isinstance(ignore, list) else [ignore]
        numbers = [*(phase.value for phase in phases), *ignored]
        texts = [text for phase in phases for text in (phase.name, phase.color)]
        # bool is an int to Python, but true is not a label value.
        if any(type(number) is not int for number in numbers) or any(
            type(text) is not str for text in texts
        ):
            raise InputError(
                "in a phase table, names and colours are texts and values are whole numbers; "
                "correct it"
            )
        return cls(phases, tuple(ignored))

    def __len__(self) -> int:
        return len(self.phases)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the phases, in index order."""
        return tuple(phase.name for phase in self.phases)

    def index(self, name: str) -> int:
        """Index of the phase `name`.

        Raises:
            InputError: there is no such phase.
        """
        if name not in self.names:
            raise InputError(f"there is no phase {name!r}; the phases are {', '.join(self.names)}")
        return self.names.index(name)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest integer type that holds all label values; unsigned if none is negative."""
        low, high = min(self._all_values), max(self._all_values)
        kinds = (np.uint8, np.uint16, np.uint32) if low >= 0 else (np.int8, np.int16, np.int32)
        for kind in kinds:
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return np.dtype(kind)
        return np.dtype(np.int64)

    def with_ignore(self) -> "PhaseTable":
        """Give this table with an ignore value, where it has none: 255, or else a free value.

        The value fits into `dtype`, which stays as it is.
        """
        if self.ignore is not None:
            return self
        limits, used = np.iinfo(self.dtype), set(self._all_values)
        free = (
            value
            for value in (255, *range(255))
            if value not in used and limits.min <= value <= limits.max
        )
        return PhaseTable(self.phases, (next(free),))

    def encode(self, labels: NDArray[Any], where: str = "the labels") -> NDArray[np.uint8]:
        """Convert label values to indices.

        Args:
            labels: integer or bool array of any shape, or floats that are whole numbers.
            where: name of the file or slice, for messages.

        Returns:
            uint8 array of the same shape: 0..n-1, and `IGNORE_INDEX` for ignore values.

        Raises:
            InputError: values that are not in the table, or that are not whole numbers.
        """
        labels = np.asarray(labels)
        if labels.dtype.kind == "f":
            labels = _whole(labels, where)
        elif labels.dtype.kind == "b":
            labels = labels.view(np.uint8)
        elif labels.dtype.kind not in "iu":
            raise InputError(f"{where} hold {labels.dtype} values; labels are whole numbers")
        indices = self._looked_up(labels)
        unknown = indices == _UNKNOWN
        if unknown.any():
            values = np.unique(labels[unknown])
            shown = ", ".join(str(value) for value in values[:5])
            more = f" and {values.size - 5} more" if values.size > 5 else ""
            raise InputError(
                f"{where} hold label value{'s' if values.size > 1 else ''} {shown}{more}, not in "
                f"the label map {self}; add a phase or an ignore value for it"
            )
        return indices

    def decode(self, indices: NDArray[Any]) -> NDArray[Any]:
        """Convert indices to label values of type `dtype`: the inverse of `encode`.

        Ignored pixels get the value `ignore`.

        Raises:
            InputError: an index that is not in the table.
        """
        table = np.zeros(256, self.dtype)
        for phase_index, phase in enumerate(self.phases):
            table[phase_index] = phase.value
        if self.ignore is not None:
            table[IGNORE_INDEX] = self.ignore
        values: NDArray[Any] = table[self._checked(indices, ignore=self.ignore is not None)]
        return values

    def to_rgb(self, indices: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert indices to colours: uint8 of shape (..., 3), mid grey where pixels are ignored.

        Raises:
            InputError: an index that is not in the table.
        """
        table = np.zeros((256, 3), np.uint8)
        for index, phase in enumerate(self.phases):
            table[index] = list(bytes.fromhex(phase.color[1:]))
        table[IGNORE_INDEX] = list(bytes.fromhex(_IGNORE_COLOR[1:]))
        colors: NDArray[np.uint8] = table[self._checked(indices, ignore=True)]
        return colors

    @property
    def _all_values(self) -> list[int]:
        return [value for _, value in self._pairs()]

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """Pairs of index and label value; `IGNORE_INDEX` with each ignore value at the end."""
        for index, phase in enumerate(self.phases):
            yield index, phase.value
        for value in self.ignored:
            yield IGNORE_INDEX, value

    def _looked_up(self, labels: NDArray[Any]) -> NDArray[np.uint8]:
        """Indices of integer labels; `_UNKNOWN` for values that are not in the table."""
        if labels.dtype.itemsize > 2 and labels.size:
            narrow = np.int16 if labels.min() < 0 else np.uint16
            if np.iinfo(narrow).min <= labels.min() and labels.max() <= np.iinfo(narrow).max:
                labels = labels.astype(narrow)
        limits = np.iinfo(labels.dtype)
        pairs = sorted(
            (value, index) for index, value in self._pairs() if limits.min <= value <= limits.max
        )
        if labels.dtype.itemsize <= 2:
            # One table look-up a pixel. A negative value counts from the end of the table, which
            # is where the same assignment has put its index.
            table = np.full(2 ** (8 * labels.dtype.itemsize), _UNKNOWN, np.uint8)
            for value, index in pairs:
                table[value] = index
            found: NDArray[np.uint8] = table[labels]
            return found
        if not pairs:
            return np.full(labels.shape, _UNKNOWN, np.uint8)
        values = np.array([value for value, _ in pairs], labels.dtype)
        indices = np.array([index for _, index in pairs], np.uint8)
        place = np.searchsorted(values, labels).clip(max=values.size - 1)
        return np.where(values[place] == labels, indices[place], np.uint8(_UNKNOWN))

    def _checked(self, indices: NDArray[Any], *, ignore: bool) -> NDArray[Any]:
        """Check that all indices are in the table, or `IGNORE_INDEX` if `ignore` allows it."""
        indices = np.asarray(indices)
        allowed = np.zeros(256, bool)
        allowed[: len(self)] = True
        allowed[IGNORE_INDEX] = ignore
        if indices.dtype.kind not in "iu":
            raise InputError(f"phase indices are whole numbers, not {indices.dtype}")
        if indices.size and not (
            indices.min() >= 0 and indices.max() < 256 and allowed[indices].all()
        ):
            raise InputError(
                f"there are indices beyond the {len(self)} phases {', '.join(self.names)}; "
                "use the table that the indices were made with"
            )
        return indices


Phases: TypeAlias = PhaseTable | Sequence[str] | Mapping[str, int | Sequence[int]]
"""Phases as a user gives them: a table, names of the values 0, 1, ..., or {name: value}.

The name `ignore` may have several values, as in {"pore": 0, "solid": 1, "ignore": [254, 255]}.
"""


def as_phase_table(phases: Phases) -> PhaseTable:
    """Phase table of what a user gives.

    Raises:
        InputError: it is no valid table.
    """
    if isinstance(phases, PhaseTable):
        return phases
    if isinstance(phases, str):
        return PhaseTable.parse(phases)
    if isinstance(phases, Mapping):
        return PhaseTable.from_mapping(phases)
    return PhaseTable.from_names(list(phases))


def _means_ignored(name: object) -> bool:
    return isinstance(name, str) and name.strip().lower() in _IGNORED_NAMES


def _several(values: Any) -> Sequence[Any]:
    """One value, or a list of them, as a list."""
    return list(values) if isinstance(values, Sequence | np.ndarray) else [values]


def _whole_value(name: str, value: Any) -> int:
    """Label value as an int.

    Raises:
        InputError: it is not a whole number.
    """
    try:
        return operator.index(value)
    except TypeError:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        raise InputError(f"the label value of {name} is {value!r}; give a whole number") from None


def _whole(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Convert float labels to integers.

    Raises:
        InputError: a value that is not a whole number (NaN included).
    """
    # Beyond 2^53, float64 cannot tell neighbouring whole numbers apart.
    whole = (labels == np.rint(labels)) & (np.abs(labels) <= 2.0**53)
    if not whole.all():
        example = labels[~whole].flat[0]
        raise InputError(f"{where} hold {example}; labels are whole numbers, one per phase")
    return labels.astype(np.int64)


def _repeated(items: Sequence[Any]) -> Any:
    """First item that occurs a second time; None where there is none."""
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _distinct(names: Sequence[str]) -> Sequence[str]:
    """Names, all different: a mapping would silently drop the second of two."""
    if twice := _repeated(names):
        raise InputError(f"phase {twice} is named twice; give each phase a name of its own")
    return names


def _default_colors(names: Sequence[str]) -> list[str]:
    """Different colours for all names: the field's usual one, or the next of the palette."""
    chosen: list[str] = []
    reserved = {_KNOWN_COLORS[name] for name in names if name in _KNOWN_COLORS}
    others = (color for color in _more_colors() if color not in reserved)
    for name in names:
        known = _KNOWN_COLORS.get(name)
        chosen.append(known if known and known not in chosen else next(others))
    return chosen


def _more_colors() -> Iterator[str]:
    """Endless different colours: the palette, then hues at steps of the golden angle."""
    seen = set(_PALETTE)
    yield from _PALETTE
    step = 0
    while True:
        step += 1
        hue = step * 0.618034 % 1
        lightness = 0.25 + 0.55 * (step * 0.754878 % 1)
        rgb = colorsys.hls_to_rgb(hue, lightness, 0.65)
        color = "#" + "".join(f"{round(255 * channel):02x}" for channel in rgb)
        if color not in seen:
            seen.add(color)
            yield color
