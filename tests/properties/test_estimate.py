"""Numbers with errors, and their forms on paper."""

import copy
import csv
import io
import json
import math
import pickle
import sys
from dataclasses import fields
from typing import Any

import pytest

from matphase.properties.catalogue import Key, unit_of
from matphase.properties.estimate import Measurements, Property, in_words
from matphase.support.errors import InputError

POROSITY = Property(
    Key("porosity"), 0.412, "1", 0.4, {"samples": 0.003}, sampling_by={"a": 0.004, "b": 0.002}
)
TAU = Property(Key("tortuosity_factor", "pore", "z"), math.inf, "1", math.inf)


def test_errors_of_both_causes_add_in_squares_and_the_larger_method_counts() -> None:
    assert POROSITY.sampling == 0.004
    assert POROSITY.standard_error == pytest.approx(0.005)
    low, high = POROSITY.interval() or (0, 0)
    assert (low + high) / 2 == pytest.approx(0.412)
    assert high - low == pytest.approx(2 * 1.6449 * 0.005)
    inner = POROSITY.segmentation_interval() or (0, 0)
    assert inner[1] - inner[0] == pytest.approx(2 * 1.6449 * 0.003)


def test_intervals_stay_where_values_can_be() -> None:
    share = Property(
        Key("percolating_share", "pore", "z"),
        0.99,
        "1",
        0.99,
        segmentation_by={"samples": 0.06, "validation": 0.08},
    )
    low, high = share.interval() or (0, 0)
    assert high == 1
    assert low > 0
    none = Property(
        Key("coverage", "nickel|carbon"),
        0.01,
        "1",
        0.01,
        segmentation_by={"samples": 0.06, "validation": 0.08},
    )
    assert (none.interval() or (1, 1))[0] == 0


def test_without_errors_there_is_no_interval() -> None:
    bare = Property(Key("porosity"), 0.4, "1", 0.4)
    assert bare.standard_error is None
    assert bare.interval() is None
    assert TAU.interval() is None
    assert in_words(bare) == "0.4"
    assert in_words(TAU) == "inf"
    assert in_words(POROSITY) == "0.412 +- 0.0082"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("porosity", "1"),
        ("specific_surface_area", "1/um"),
        ("triple_phase_boundary", "1/um^2"),
        ("mean_diameter", "um"),
        ("effective_conductivity", "as given"),
    ],
)
def test_units_follow_the_dimension(name: str, unit: str) -> None:
    assert unit_of(name, "um") == unit
    assert unit_of(name, None) == unit.replace("um", "px")


def test_a_property_is_found_by_name_and_a_missing_one_is_named() -> None:
    found = Measurements((POROSITY, TAU))
    assert found["porosity"] is POROSITY
    assert found["tortuosity_factor", "pore", "z"] is TAU
    with pytest.raises(InputError, match="no property 'tortuosity_factor pore x'"):
        found["tortuosity_factor", "pore", "x"]
    assert "tortuosity_factor pore z" in str(found)


def test_json_and_csv_hold_the_same_numbers() -> None:
    found = Measurements((POROSITY, TAU), notes=("a note",))
    # strict JSON: neither Infinity nor NaN
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["name"] for row in rows] == [one["name"] for one in content["properties"]]
    assert float(rows[0]["interval_90_low"]) == content["properties"][0]["interval_90"][0]
    assert content["properties"][1]["value"] == rows[1]["value"] == "inf"
    assert rows[1]["interval_90_low"] == ""


def several() -> Measurements:
    taus = [Property(Key("tortuosity_factor", "pore", axis), n, "1", n) for n, axis in
            enumerate("zyx", start=2)]  # fmt: skip
    shares = [Property(Key("volume_fraction", of), 0.5, "1", 0.5) for of in ("pore", "nickel")]
    chords = [Property(Key("mean_chord", of, "z"), 3.0, "um", 3.0) for of in ("pore", "nickel")]
    return Measurements((POROSITY, *shares, *taus, *chords), about={"name": "<scan>"})


def test_a_shorter_key_gives_all_that_it_describes() -> None:
    found = several()
    assert {axis: one.value for axis, one in found["tortuosity_factor"].items()} == {
        "z": 2,
        "y": 3,
        "x": 4,
    }
    assert list(found["tortuosity_factor", "pore"]) == ["z", "y", "x"]
    assert list(found["volume_fraction"]) == ["pore", "nickel"]
    assert list(found["mean_chord"]) == ["pore z", "nickel z"]
    assert found["mean_chord", "nickel"]["z"] is found["mean_chord", "nickel", "z"]


def test_properties_that_exist_once_are_attributes() -> None:
    found = several()
    assert found.porosity is POROSITY
    assert "porosity" in dir(found)
    assert "tortuosity_factor" not in dir(found)
    with pytest.raises(AttributeError, match="3 properties 'tortuosity_factor'"):
        _ = found.tortuosity_factor
    with pytest.raises(AttributeError, match=r"mean 'porosity'.*volume_fraction, tortuosity"):
        _ = found.porosty
    assert copy.copy(found).porosity is POROSITY
    assert pickle.loads(pickle.dumps(found))["porosity"] == POROSITY


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tau", "mean 'tortuosity_factor'"),
        ("tortuosity", "mean 'tortuosity_factor'"),
        (("mean_chord", "pore", "x"), "mean_chord pore z"),
        ("interface_area", "measured are porosity"),
        (("a", "b", "c", "d"), "no property 'a b c d'"),
        ((), "no property ''"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _ = several()[key]


def test_measurements_are_a_sequence() -> None:
    found = several()
    assert len(found) == 8
    assert next(iter(found)) is found[0] is POROSITY
    assert found[-1].key == Key("mean_chord", "nickel", "z")
    assert POROSITY in found
    assert found == found
    assert len({found, several(), found}) == 2


def test_a_property_is_a_number_with_a_line_of_text() -> None:
    assert float(POROSITY) == 0.412
    assert repr(POROSITY) == "porosity = 0.412 +- 0.0082"
    assert len({POROSITY, POROSITY, TAU}) == 2
    assert Property(*(getattr(POROSITY, one.name) for one in fields(POROSITY))) == POROSITY


def test_measurements_show_a_few_lines_and_a_table() -> None:
    lines = repr(Measurements((POROSITY,) * 20)).splitlines()
    assert lines[0] == "Measurements, 20 properties:"
    assert lines[1] == "  porosity = 0.412 +- 0.0082"
    assert lines[-1].strip().startswith("... 12 more")
    html = Measurements((POROSITY, TAU), notes=("a < b",))._repr_html_()
    assert html.count("<tr>") == 3
    assert "<td>tortuosity_factor pore z</td>" in html
    assert "a &lt; b" in html


def test_a_dataframe_holds_numbers() -> None:
    frame = Measurements((POROSITY, TAU)).to_dataframe()
    assert list(frame["name"]) == ["porosity", "tortuosity_factor"]
    assert list(frame["value"]) == [0.412, math.inf]
    low, high = POROSITY.interval() or (0, 0)
    assert (frame["interval_90_low"][0], frame["interval_90_high"][0]) == (low, high)
    assert math.isnan(frame["interval_90_low"][1])
    assert Measurements(()).to_dataframe().empty


def test_a_dataframe_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'matphase\[pandas\]'"):
        Measurements((POROSITY,)).to_dataframe()
