"""Numbers with errors, and their forms on paper."""

import csv
import io
import json
import math

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
