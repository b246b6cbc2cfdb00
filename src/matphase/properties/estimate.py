"""Measured properties with their errors, and their forms as text, table, JSON and CSV."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.properties.catalogue import PROPERTIES, Key, did_you_mean, nearest
from matphase.properties.sampling import half_width
from matphase.support.errors import InputError

HEADINGS = ("property", "value", "+- 90 %", "segmentation", "sampling", "unit", "method")
"""Columns of `Measurements.table_rows`."""

MOST_SHOWN = 8
"""Properties that the `repr` of measurements shows."""


@dataclass(frozen=True, repr=False)
class Property:
    """Measured value of one property, with its errors; `float(property)` is the value.

    Attributes:
        key: what it measures.
        value: the best estimate; nan where it is not defined, inf for the tortuosity factor of
            a phase that does not percolate.
        unit: such as "1/um"; "1" for pure numbers, powers of "px" where no voxel size is known,
            "as given" for the unit of the conductivities.
        measured: the value on the labels as they are, before a correction by validation slices.
        segmentation_by: standard error that comes from the labels: `samples`, the spread of the
            dropout samples, and `validation`, what remains after the correction.
        sampling_by: standard error that comes from the finite volume, by each method that gives
            one: `correlation` (Lantuejoul 1991), `bootstrap` of blocks, `parts` of the volume.
        needed: volume (of a slice: area) in cubes (squares) of the unit of length at which the
            sampling error alone would leave +-5 % at 90 % confidence; None where not known.
    """

    key: Key
    value: float
    unit: str
    measured: float
    segmentation_by: Mapping[str, float] = field(default_factory=dict, hash=False)
    sampling_by: Mapping[str, float] = field(default_factory=dict, hash=False)
    needed: float | None = None

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        """Name, value and error in one line: `porosity = 0.412 +- 0.018`."""
        return f"{self.key} = {in_words(self)}"

    @property
    def segmentation(self) -> float | None:
        """Standard error of the segmentation, all of `segmentation_by`; None: not known."""
        return math.hypot(*self.segmentation_by.values()) if self.segmentation_by else None

    @property
    def sampling(self) -> float | None:
        """Standard error of sampling, the largest of `sampling_by`; None: not known.

        In a small volume all of these estimates are too small.
        """
        return max(self.sampling_by.values(), default=None)

    @property
    def method(self) -> str:
        """Method of measurement, in a few words."""
        method = PROPERTIES[self.key.name].method
        corrected = "validation" in self.segmentation_by
        return f"{method}, corrected by validation slices" if corrected else method

    @property
    def standard_error(self) -> float | None:
        """Standard error of segmentation and sampling together; None where neither is known."""
        known = [error for error in (self.segmentation, self.sampling) if error is not None]
        return math.hypot(*known) if known else None

    def interval(self) -> tuple[float, float] | None:
        """90 % confidence interval of the true value, from both causes of error together."""
        return self._around(self.standard_error)

    def segmentation_interval(self) -> tuple[float, float] | None:
        """90 % confidence interval of this volume's exact value, without sampling error."""
        return self._around(self.segmentation)

    def _around(self, error: float | None) -> tuple[float, float] | None:
        if error is None or not math.isfinite(self.value):
            return None
        half = half_width(error)
        highest = PROPERTIES[self.key.name].high
        return max(0.0, self.value - half), min(highest, self.value + half)

    def to_json(self) -> dict[str, Any]:
        """Content ready for JSON; numbers that are not finite are strings, as JSON has none."""
        interval = self.interval()
        return {
            "name": self.key.name,
            "of": self.key.of,
            "axis": self.key.axis,
            "value": _plain(self.value),
            "unit": self.unit,
            "measured": _plain(self.measured),
            "segmentation_error": _plain(self.segmentation),
            "segmentation_error_by": _all_plain(self.segmentation_by),
            "sampling_error": _plain(self.sampling),
            "sampling_error_by": _all_plain(self.sampling_by),
            "interval_90": None if interval is None else [_plain(end) for end in interval],
            "volume_for_5_percent": _plain(self.needed),
            "method": self.method,
        }


@dataclass(frozen=True, eq=False)
class Curve:
    """Measured function of one variable, such as a profile or a size distribution.

    Attributes:
        title: of the picture.
        x_name: of the horizontal axis, with its unit.
        y_name: of the vertical axis, with its unit.
        x: (points,) the same for all lines.
        lines: {phase: (points,)}.
    """

    title: str
    x_name: str
    y_name: str
    x: NDArray[np.float64]
    lines: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False, repr=False)
class Measurements(Sequence[Property]):
    """Properties of a labelled volume, as `measure` found them.

    `found.porosity` is a property that was measured once, `found["tortuosity_factor", "pore", "z"]`
    one of several, and `found["tortuosity_factor"]` all of that name.

    Attributes:
        properties: in the order of `matphase.properties.catalogue.PROPERTIES`.
        curves: profiles, correlations, size and chord distributions by file name.
        about: name, shape, voxel size, unit and phases of the volume, and the number of samples
            and validation slices.
        notes: what was left out, and why.
    """

    properties: tuple[Property, ...]
    curves: dict[str, Curve] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __getitem__(self, key: Any) -> Any:
        """Property of that key, or all properties that a shorter key describes.

        Args:
            key: name of a property, or a tuple (name, phase) or (name, phase, axis). A number or
                a slice counts in the order of `properties`.

        Returns:
            the property, where the key is complete: `found["porosity"]`. Otherwise a dictionary of
            properties: by axis where all are of one phase (`found["tortuosity_factor"]["z"]`), by
            phase where none has an axis (`found["volume_fraction"]["pore"]`), else by both
            (`found["mean_chord"]["pore z"]`).

        Raises:
            InputError: it was not measured; the message names the nearest.
        """
        if isinstance(key, int | slice):
            return self.properties[key]
        wanted = (key,) if isinstance(key, str) else tuple(key)
        complete = Key(*wanted) if 1 <= len(wanted) <= len(Key._fields) else None
        for one in self.properties:
            if one.key == complete:
                return one
        alike = [one for one in self.properties if wanted and one.key[: len(wanted)] == wanted]
        if not alike:
            raise InputError(self._unknown(" ".join(str(part) for part in wanted)))
        if len({one.key.of for one in alike}) == 1:
            return {one.key.axis: one for one in alike}
        return {" ".join(part for part in one.key[1:] if part): one for one in alike}

    def find(self, name: str, of: str = "", axis: str = "") -> Property:
        """Property of exactly this name, phase and axis.

        Raises:
            InputError: it was not measured.
        """
        for one in self.properties:
            if one.key == (name, of, axis):
                return one
        raise InputError(self._unknown(str(Key(name, of, axis))))

    def __getattr__(self, name: str) -> Property:
        alike = [one for one in self.__dict__.get("properties", ()) if one.key.name == name]
        if len(alike) == 1:
            found: Property = alike[0]
            return found
        if alike:
            raise AttributeError(
                f"there are {len(alike)} properties {name!r}; choose one by [{name!r}, phase, axis]"
            )
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(self._unknown(name))

    def __dir__(self) -> list[str]:
        names = [one.key.name for one in self.properties]
        return [*super().__dir__(), *(name for name in names if names.count(name) == 1)]

    def __iter__(self) -> Iterator[Property]:
        return iter(self.properties)

    def __len__(self) -> int:
        return len(self.properties)

    def __str__(self) -> str:
        rows = [(str(one.key), in_words(one)) for one in self.properties]
        wide = max((len(name) for name, _ in rows), default=0)
        return "\n".join(f"{name:<{wide}}  {text}" for name, text in rows)

    def __repr__(self) -> str:
        shown = [f"  {one!r}" for one in self.properties[:MOST_SHOWN]]
        if len(self) > MOST_SHOWN:
            shown.append(f"  ... {len(self) - MOST_SHOWN} more; print() shows all")
        where = f" of {self.about['name']}" if "name" in self.about else ""
        return "\n".join([f"Measurements{where}, {len(self)} properties:", *shown])

    def _repr_html_(self) -> str:
        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        rows = [line(row, "td") for row in self.table_rows()]
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table>{line(HEADINGS, 'th')}{''.join(rows)}</table>{notes}"

    def _unknown(self, wanted: str) -> str:
        """Message that a property was not measured, with the nearest and all that there are."""
        there = list(dict.fromkeys(one.key.name for one in self.properties))
        name, _, rest = wanted.partition(" ")
        if name in there and rest:
            keys = [str(one.key) for one in self.properties if one.key.name == name]
            return f"there is no property {wanted!r}; choose from {', '.join(keys)}"
        known = there if nearest(name, there) else [*there, *PROPERTIES]
        hint = did_you_mean(name, known)
        return f"there is no property {wanted!r}{hint}; measured are {', '.join(there)}"

    def table_rows(self) -> list[tuple[str, ...]]:
        """Rows of a table with the columns `HEADINGS`, as text; +- is half of a 90 % interval."""
        return [
            (
                str(one.key),
                f"{one.value:.4g}",
                *(
                    "-" if error is None else f"{half_width(error):.2g}"
                    for error in (one.standard_error, one.segmentation, one.sampling)
                ),
                "" if one.unit == "1" else one.unit,
                one.method,
            )
            for one in self.properties
        ]

    def to_dataframe(self) -> Any:
        """Properties as a pandas.DataFrame, one row each, with the columns of `to_csv`.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError(
                "to_dataframe needs the package pandas; pip install 'matphase[pandas]'"
            ) from error
        frame = pd.DataFrame(self._flat_rows())
        # JSON writes numbers that are not finite as strings, a table of numbers needs them back
        numbers = [name for name in frame if name not in ("name", "of", "axis", "unit", "method")]
        return frame.astype(dict.fromkeys(numbers, float))

    def to_json(self) -> dict[str, Any]:
        """Properties, curves, notes and description of the volume, ready for JSON."""
        return {
            "about": self.about,
            "properties": [one.to_json() for one in self.properties],
            "curves": {
                name: {
                    "x_name": curve.x_name,
                    "y_name": curve.y_name,
                    "x": [_plain(value) for value in curve.x],
                    "lines": {
                        of: [_plain(value) for value in line] for of, line in curve.lines.items()
                    },
                }
                for name, curve in self.curves.items()
            },
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """Properties as CSV, one per line below a line of column names."""
        out = io.StringIO()
        rows = self._flat_rows()
        writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def _flat_rows(self) -> list[dict[str, Any]]:
        rows = [one.to_json() for one in self.properties]
        for row in rows:
            del row["sampling_error_by"], row["segmentation_error_by"]
            row["interval_90_low"], row["interval_90_high"] = row.pop("interval_90") or (None, None)
        return rows


def in_words(one: Property) -> str:
    """Value, error and unit as text: `0.412 +- 0.018`, where +- is half of the 90 % interval."""
    unit = "" if one.unit == "1" else f" {one.unit}"
    error = one.standard_error
    if error is None or not math.isfinite(one.value):
        return f"{one.value:.4g}{unit}"
    return f"{one.value:.4g} +- {half_width(error):.2g}{unit}"


def _plain(value: float | None) -> float | str | None:
    if value is None:
        return None
    if not math.isfinite(value):
        return str(float(value))
    return float(value)


def _all_plain(errors: Mapping[str, float]) -> dict[str, float | str | None]:
    return {name: _plain(error) for name, error in errors.items()}
