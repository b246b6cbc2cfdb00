"""Texts of the command line as numbers, lists, pairs and settings."""

from typing import Any

import pytest

from matphase.cli.parsing import (
    parse_crop,
    parse_list,
    parse_memory,
    parse_minutes,
    parse_numbers,
    parse_pairs,
    parse_settings,
    parse_shape,
    parse_slices,
    parse_voxel_size,
)
from matphase.support.errors import InputError


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2GB", 2 * 10**9),
        ("500 mb", 5 * 10**8),
        ("1.5g", 15 * 10**8),
        ("7", 7),
        ("1TB", 10**12),
        ("2GiB", 2**31),
    ],
)
def test_memory(text: str, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize(
    "text", ["", "GB", "0", "0GB", "-1GB", "2 apples", "2GBGB", "1e999", "nan", "9" * 400 + "GB"]
)
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(InputError, match="write it like 2GB") as caught:
        parse_memory(text)
    assert len(str(caught.value)) < 120


def test_crop() -> None:
    assert parse_crop(None) is None
    assert parse_crop("0:5, 3: ,:-2") == [slice(0, 5), slice(3, None), slice(None, -2)]


@pytest.mark.parametrize("text", ["", "5", "0:5,,:", "0:5:2", "a:b", "1.5:2", "9" * 400 + ":"])
def test_what_is_no_crop(text: str) -> None:
    with pytest.raises(InputError, match="is not START:STOP; write it like 0:50,10:,:"):
        parse_crop(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [(None, None), ("0.2", 0.2), ("0.2,0.1,0.1", (0.2, 0.1, 0.1)), (" 1 , 2 ", (1.0, 2.0))],
)
def test_voxel_size(text: str | None, size: Any) -> None:
    assert parse_voxel_size(text) == size


@pytest.mark.parametrize("text", ["", "a", "0.2um", "1,,2", "1;2"])
def test_what_is_no_voxel_size(text: str) -> None:
    with pytest.raises(InputError, match=r"write 0\.2, or"):
        parse_voxel_size(text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0,10,20", [0, 10, 20]), ("7", [7]), ("0:100:40", [0, 40, 80]), ("3:6", [3, 4, 5])],
)
def test_numbers_of_slices(text: str, numbers: list[int]) -> None:
    assert parse_slices(text) == numbers
    assert parse_slices(None) is None


@pytest.mark.parametrize("text", ["", "one", "0;5", "1:2:3:4", "0:5:0"])
def test_what_is_no_number_of_a_slice(text: str) -> None:
    with pytest.raises(InputError, match="0,10,20"):
        parse_slices(text)


def test_shape() -> None:
    assert parse_shape("133, 224,256") == (133, 224, 256)


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "a,b,c", "1.5,2,3"])
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(InputError, match="is not a shape; write it like 133,224,256"):
        parse_shape(text)


def test_lists_pairs_and_numbers() -> None:
    assert parse_list(" a, b c ,") == ["a", "b c"]
    assert parse_pairs("pore = void,carbon=binder", "--roles") == {
        "pore": "void",
        "carbon": "binder",
    }
    assert parse_numbers("pore=1,carbon=5e-2", "--conductivity") == {"pore": 1.0, "carbon": 0.05}
    assert parse_pairs(None, "--roles") is parse_numbers(None, "--roles") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty list"),
        ("a=1,a=1", "twice"),
        ("a=1,a=2", "--option 'a=1,a=2' has a twice; give it once"),
        ("a", "'a' in --option is not NAME=VALUE"),
        ("a=", "not NAME=VALUE"),
        ("=1", "not NAME=VALUE"),
        ("a=1,b=two", "b=two in --option is not a number"),
    ],
)
def test_what_is_no_list_of_numbers(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_numbers(text, "--option")


@pytest.mark.parametrize(
    ("texts", "settings"),
    [
        ([], {}),
        (["ugsm.width=32", "ugsm.dropout = 0.1"], {"ugsm": {"width": 32, "dropout": 0.1}}),
        (["data.flips=true"], {"data": {"flips": True}}),
        (["model=unet", 'precision="float32"'], {"model": "unet", "precision": "float32"}),
        (["ugsm.learning_rate=1e-3"], {"ugsm": {"learning_rate": 0.001}}),
        (["calibration.block=[1, 2, 3]"], {"calibration": {"block": [1, 2, 3]}}),
        (["ugsm={width = 4, depth = 2}"], {"ugsm": {"width": 4, "depth": 2}}),
        (["a.b=x=y"], {"a": {"b": "x=y"}}),
        (["a=1\nb=2"], {"a": "1\nb=2"}),
    ],
)
def test_settings(texts: list[str], settings: dict[str, Any]) -> None:
    assert parse_settings(texts) == settings


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["ugsm.width"], "'ugsm.width' is not SECTION.NAME=VALUE; write it like ugsm.width=32"),
        (["ugsm.width="], "not SECTION.NAME=VALUE"),
        (["=3"], "not SECTION.NAME=VALUE"),
        (["ugsm.=3"], "not SECTION.NAME=VALUE"),
        ([".width=3"], "not SECTION.NAME=VALUE"),
        (["ugsm.width=3", "ugsm.width=4"], "--set gives ugsm.width twice"),
        (["ugsm=3", "ugsm.width=4"], "both a value and settings"),
    ],
)
def test_what_is_no_setting(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_settings(texts)


@pytest.mark.parametrize(
    ("text", "minutes"), [("10min", 10), ("90s", 1.5), ("2h", 120), ("0.5 h", 30), ("1d", 1440)]
)
def test_a_time(text: str, minutes: float) -> None:
    assert parse_minutes(text) == pytest.approx(minutes)


@pytest.mark.parametrize(
    "text",
    ["", "10", "min", "-5min", "0s", "1e9h", "nan min", "ten min", "10 parsecs", "9" * 400 + "s"],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InputError, match=r"--time '.{0,24}' is not a time; write it like 10min"):
        parse_minutes(text)
