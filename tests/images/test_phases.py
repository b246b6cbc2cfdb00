import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matphase.images.phases import IGNORE_INDEX, Phase, PhaseTable, as_phase_table
from matphase.support.errors import InputError

PAPER = PhaseTable.from_names(["pore", "carbon", "nickel"])

names = st.text(st.characters(exclude_characters="=,", categories=["L", "N"]), min_size=1).filter(
    lambda name: name.lower() not in ("ignore", "ignored", "unlabelled", "unlabeled")
)
tables = st.builds(
    lambda found, ignored: PhaseTable.from_mapping(
        dict(list(found.items())[ignored:]), list(found.values())[:ignored]
    ),
    st.dictionaries(names, st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=8).filter(
        lambda found: len(set(found.values())) == len(found)
    ),
    st.integers(0, 2),
)


def test_order_of_the_table_is_the_index() -> None:
    table = PhaseTable.from_mapping({"active_material": 0, "carbon_binder": 1, "pore": 2})
    assert len(table) == 3
    assert table.names == ("active_material", "carbon_binder", "pore")
    assert table.index("pore") == 2
    with pytest.raises(InputError, match="no phase 'void'; the phases are active_material"):
        table.index("void")


def test_labels_of_tomography_tools_become_indices() -> None:
    table = PhaseTable.from_mapping({"pore": 0, "binder": 128, "nmc": 255}, ignore=7)
    labels = np.array([[0, 128], [255, 7]], np.uint8)
    indices = table.encode(labels)
    np.testing.assert_array_equal(indices, [[0, 1], [2, IGNORE_INDEX]])
    assert indices.dtype == np.uint8
    np.testing.assert_array_equal(table.decode(indices), labels)


@given(tables, st.data())
def test_decode_is_the_inverse_of_encode(table: PhaseTable, data: st.DataObject) -> None:
    values = [phase.value for phase in table.phases]
    indices = [*range(len(table))]
    if table.ignore is not None:
        # of several ignore values only the first comes back
        assert set(table.encode(np.array(table.ignored))) == {IGNORE_INDEX}
        values.append(table.ignore)
        indices.append(IGNORE_INDEX)
    dtypes = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
    holds = [d for d in dtypes if np.iinfo(d).min <= min(values) and max(values) <= np.iinfo(d).max]
    labels = np.array(values, data.draw(st.sampled_from(holds)))
    encoded = table.encode(labels)
    np.testing.assert_array_equal(encoded, indices)
    np.testing.assert_array_equal(table.decode(encoded), labels)


@given(tables)
def test_dtype_is_the_smallest_that_holds_all_values(table: PhaseTable) -> None:
    values = [phase.value for phase in table.phases]
    values += table.ignored
    expected = np.result_type(np.min_scalar_type(min(values)), np.min_scalar_type(max(values)))
    if min(values) >= 0:
        # int64 is the largest type here: values stop at its limit.
        assert table.dtype == expected or (expected == np.uint64 and table.dtype == np.int64)
    else:
        assert table.dtype.kind == "i"
        assert np.iinfo(table.dtype).min <= min(values)
        assert max(values) <= np.iinfo(table.dtype).max
        smaller = {8: np.int32, 4: np.int16, 2: np.int8}.get(table.dtype.itemsize)
        if smaller is not None:
            limits = np.iinfo(smaller)
            assert min(values) < limits.min or max(values) > limits.max


@given(tables)
def test_text_and_json_forms_keep_the_table(table: PhaseTable) -> None:
    assert PhaseTable.from_json(json.loads(json.dumps(table.to_json()))) == table
    assert PhaseTable.parse(str(table)) == table


def test_parse_reads_what_the_command_line_takes() -> None:
    table = PhaseTable.parse(" active_material=0, carbon_binder=1,pore=2 ,ignore=255")
    assert table == PhaseTable.from_mapping(
        {"active_material": 0, "carbon_binder": 1, "pore": 2}, ignore=255
    )
    assert PhaseTable.parse("a=-1,b=300").dtype == np.int16


@pytest.mark.parametrize(
    "text", ["", "pore", "pore=", "=1", "pore=0,carbon=x", "pore=0,,carbon=1", "pore=0.5,b=1"]
)
def test_parse_says_which_part_is_wrong(text: str) -> None:
    with pytest.raises(InputError, match="is not NAME=INTEGER"):
        PhaseTable.parse(text)


@pytest.mark.parametrize("text", ["a=0,a=1", "a=0,b=1,ignore=2,Ignore=2"])
def test_parse_refuses_a_name_given_twice(text: str) -> None:
    with pytest.raises(InputError, match="twice"):
        PhaseTable.parse(text)


@pytest.mark.parametrize(
    ("values", "ignore", "message"),
    [
        ({"a": 0}, None, "2 to 200 phases, not 1"),
        ({str(i): i for i in range(201)}, None, "2 to 200 phases, not 201"),
        ({"": 0, "b": 1}, None, "cannot name a phase"),
        ({" a": 0, "b": 1}, None, "cannot name a phase"),
        ({"a=b": 0, "b": 1}, None, "cannot name a phase"),
        ({"a,b": 0, "b": 1}, None, "cannot name a phase"),
        ({"a": 0.5, "b": 1}, None, "label value of a is 0.5; give a whole number"),
        ({"a": "0", "b": 1}, None, "whole number"),
        ({"a": [0, 1], "b": 1}, None, "whole number"),
        ({"a": 0, "b": 1, "ignore": ["2"]}, None, "whole number"),
        ({"a": 0, "b": 1, "ignore": [2, 3], "Ignore": 2}, None, "value 2 is an ignore value twice"),
        ({"a": 1, "b": 1}, None, "value 1 stands for two phases"),
        ({"a": 0, "b": 1}, 1, "is phase b and also an ignore value"),
        ({"a": 0, "b": 2**64}, None, "beyond 64 bits"),
    ],
)
def test_tables_that_make_no_sense(
    values: dict[str, int], ignore: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        PhaseTable.from_mapping(values, ignore)


@pytest.mark.parametrize(
    "name", ["ignore", "Ignore", "IGNORE", " ignore ", "Unlabelled", "unlabeled"]
)
def test_any_spelling_of_ignore_is_no_phase(name: str) -> None:
    expected = PhaseTable.from_mapping({"pore": 0, "solid": 1}, ignore=255)
    assert PhaseTable.parse(f"pore=0,solid=1,{name}=255") == expected
    assert as_phase_table({"pore": 0, name: 255, "solid": 1}) == expected
    assert as_phase_table(["pore", "solid", name]).ignored == (2,)
    with pytest.raises(InputError, match="names an ignore value"):
        PhaseTable((Phase(name.strip(), 0, "#000000"), Phase("solid", 1, "#ffffff")))


def test_several_values_can_be_ignored() -> None:
    table = PhaseTable.parse("pore=0,ignore=254,solid=1,unlabelled=255")
    assert table == as_phase_table({"pore": 0, "solid": 1, "ignore": [254, 255]})
    assert str(table) == "pore=0,solid=1,ignore=254,ignore=255"
    labels = np.array([0, 1, 254, 255], np.uint8)
    indices = table.encode(labels)
    np.testing.assert_array_equal(indices, [0, 1, IGNORE_INDEX, IGNORE_INDEX])
    np.testing.assert_array_equal(table.decode(indices), [0, 1, 254, 254])
    assert table._repr_html_().count("ignored") == 2
    with pytest.raises(InputError, match="label value 253"):
        table.encode(np.array([253], np.uint8))


def test_tables_that_were_written_before_there_were_several_ignore_values() -> None:
    content = PhaseTable.from_mapping({"pore": 0, "solid": 1}).to_json()
    assert content["ignore"] is None
    assert PhaseTable.from_json({**content, "ignore": 255}).ignored == (255,)
    assert PhaseTable.from_json({**content, "ignore": 255}).to_json()["ignore"] == 255


def test_names_and_colours_are_checked() -> None:
    with pytest.raises(InputError, match="named twice"):
        PhaseTable.from_names(["pore", "pore"])
    with pytest.raises(InputError, match="named twice"):
        PhaseTable((Phase("a", 0, "#000000"), Phase("a", 1, "#ffffff")))
    with pytest.raises(InputError, match="colour 'red' of phase a"):
        PhaseTable((Phase("a", 0, "red"), Phase("b", 1, "#ffffff")))


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"phases": []},
        {"phases": 3, "ignore": None},
        {**PAPER.to_json(), "ignore": "255"},
        {**PAPER.to_json(), "ignore": [254, True]},
        {**PAPER.to_json(), "ignore": {"254": 255}},
        {"phases": [{"name": "a"}], "ignore": None},
        {"phases": [{"name": "a", "value": "0", "color": "#000000"}] * 2, "ignore": None},
        {"phases": [{"name": "a", "value": True, "color": "#000000"}] * 2, "ignore": None},
        {"phases": [{"name": 1, "value": 0, "color": "#000000"}] * 2, "ignore": None},
        {"phases": [], "ignore": None},
    ],
)
def test_json_that_is_no_table(content: object) -> None:
    with pytest.raises(InputError):
        PhaseTable.from_json(content)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.uint64, np.float32])
def test_unknown_values_are_named_with_their_place(dtype: type) -> None:
    with pytest.raises(InputError, match=r"slice_2\.tif hold label values 3\S*, 9\S*, not in"):
        PAPER.encode(np.array([0, 9, 1, 3, 9], dtype), "slice_2.tif")


def test_many_unknown_values_are_counted() -> None:
    with pytest.raises(InputError, match="values 3, 4, 5, 6, 7 and 93 more"):
        PAPER.encode(np.arange(101))


@pytest.mark.parametrize("value", [-1, 70_000, -(2**40)])
def test_unknown_values_far_from_the_table(value: int) -> None:
    with pytest.raises(InputError, match=f"label value {value}, not in"):
        PAPER.encode(np.array([0, value]))


def test_a_value_that_the_type_of_the_labels_cannot_hold_matches_nothing() -> None:
    # 256 wraps to 0, and -1 to 255, in uint8.
    table = PhaseTable.from_mapping({"a": 256, "b": -1, "c": 1})
    np.testing.assert_array_equal(table.encode(np.array([1, 1], np.uint8)), [2, 2])
    for value in (0, 255):
        with pytest.raises(InputError, match=f"label value {value}"):
            table.encode(np.array([value], np.uint8))


def test_float_labels_are_taken_where_they_are_whole() -> None:
    np.testing.assert_array_equal(PAPER.encode(np.array([0.0, 2.0, 1.0])), [0, 2, 1])
    for bad in (0.5, np.nan, np.inf, 1e30):
        with pytest.raises(InputError, match="whole numbers"):
            PAPER.encode(np.array([0.0, bad]))


def test_bool_labels_are_zero_and_one() -> None:
    table = PhaseTable.from_names(["pore", "solid"])
    np.testing.assert_array_equal(table.encode(np.array([[True], [False]])), [[1], [0]])


def test_labels_that_are_no_numbers() -> None:
    with pytest.raises(InputError, match="labels are whole numbers"):
        PAPER.encode(np.array(["pore"]))


@pytest.mark.parametrize("indices", [[3], [254], [255], [-1], [256]])
def test_decode_refuses_indices_of_no_phase(indices: list[int]) -> None:
    with pytest.raises(InputError, match="beyond the 3 phases"):
        PAPER.decode(np.array(indices))


def test_to_rgb_draws_each_phase_in_its_colour() -> None:
    table = PhaseTable((Phase("a", 5, "#010203"), Phase("b", 6, "#fffefd")))
    picture = table.to_rgb(np.array([[0, 1, IGNORE_INDEX]], np.uint8))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, [[[1, 2, 3], [255, 254, 253], [128, 128, 128]]])


@pytest.mark.parametrize(
    "phases",
    [
        ["pore", "carbon", "nickel"],
        ["active_material", "carbon_binder", "pore"],
        ["pore", "carbon", "binder", "nmc", "nickel"],
        list("abcdefgh"),
        ["pore", "carbon", "nickel", *"abcdefgh"],
    ],
)
def test_default_colours_differ_in_grey_print(phases: list[str]) -> None:
    table = PhaseTable.from_names(phases)
    grey = table.to_rgb(np.arange(len(table))) @ [0.299, 0.587, 0.114]
    assert min(abs(a - b) for a, b in combinations(grey, 2)) > 5


def test_two_hundred_phases_have_two_hundred_colours() -> None:
    table = PhaseTable.from_names([str(i) for i in range(200)])
    assert len({phase.color for phase in table.phases}) == 200


def test_known_names_have_their_colour_at_any_place() -> None:
    table = PhaseTable.from_mapping({"active_material": 0, "carbon_binder": 1, "pore": 2})
    assert [phase.color for phase in table.phases] == [phase.color for phase in PAPER.phases][::-1]


def test_a_notebook_shows_the_colours_of_the_phases() -> None:
    page = PhaseTable.from_mapping({"<b>pore": 3, "carbon": 7}, ignore=255)._repr_html_()
    assert "&lt;b&gt;pore" in page
    assert "<b>" not in page
    for phase in PhaseTable.from_mapping({"<b>pore": 3, "carbon": 7}).phases:
        assert f"background:{phase.color}" in page
    assert "<td>ignored</td><td>255</td>" in page
    assert "ignored" not in PAPER._repr_html_()
