import json
import os
from pathlib import Path
from typing import Any

import pytest

from matphase.support import records
from matphase.support.errors import InputError, one_line
from matphase.support.records import (
    MAX_DEPTH,
    RecordError,
    brief,
    json_or_none,
    number_of,
    parse_json,
    parse_toml,
    read_json,
    read_toml,
    text_of,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    content = {"a": [1, -2.5, "ä\n", None, True], "b": {"c": {}}, "big": 2**63 - 1}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content), "utf-8")
    assert read_json(path) == content
    path.write_bytes(b'[one]\r\ntwo = [1, 2.5, "three"]\r\nfour.five = true\r\n')
    assert read_toml(path) == {"one": {"two": [1, 2.5, "three"], "four": {"five": True}}}


NESTED = "[" * 100_000 + "]" * 100_000
WITHIN = MAX_DEPTH - 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not a JSON file"),
        (b"{", "not a JSON file"),
        (b"\xff\xfe", "not a JSON file"),
        (NESTED.encode(), "levels inside one another"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "levels inside one another"),
        (b'{"seed": Infinity}', "not finite"),
        (b'{"seed": 1e999}', "not finite"),
        (b"[NaN]", "not finite"),
        (b"%d" % 2**63, "more than 64 bits"),
        (b"9" * 5000, "not a JSON file"),
        (rb'["a\u0000b"]', "characters that no text can have"),
        (rb'{"\ud800": 1}', "characters that no text can have"),
    ],
)
def test_json_that_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(RecordError, match=f"^run.json .*{says}") as caught:
        parse_json(text, "run.json")
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("width =", "not a TOML file"),
        ("width = " + NESTED, "levels inside one another"),
        ("a = " + "{a = " * 30 + "1" + "}" * 30, "levels inside one another"),
        # these cost the reader the square of their length
        (".".join("a" * 400_000) + " = 1", "levels inside one another"),
        ("[" + " . ".join(["'a'"] * 100_000) + "]", "levels inside one another"),
        ("\n" * 2**20 + "a = 1", "larger than 1 MiB"),
        ("seed = inf", "not finite"),
        ("seed = nan", "not finite"),
        ("seed = 9223372036854775808", "more than 64 bits"),
        ("day = 2020-01-01", "no text, number or list"),
    ],
)
def test_toml_that_is_refused(text: str, says: str) -> None:
    with pytest.raises(RecordError, match=f"^my.toml .*{says}"):
        parse_toml(text.encode(), "my.toml")


def test_long_texts_and_values_are_no_deep_keys() -> None:
    word = "a" * 100_000
    assert parse_toml(f"a = '{word}'\n{word} = 1".encode(), "x") == {"a": word, word: 1}
    assert parse_toml(b"a = [" + b"0.5," * 1000 + b"]", "x") == {"a": [0.5] * 1000}


def test_depth_within_the_limit() -> None:
    deep: Any = 1
    for _ in range(WITHIN):
        deep = [deep]
    assert parse_json(json.dumps(deep).encode(), "x") == deep


def test_nan_where_it_may_be() -> None:
    assert parse_json(b"[Infinity]", "x", finite=False) == [float("inf")]


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_JSON", 10)
    path = tmp_path / "run.json"
    path.write_text("[1, 2, 34]")
    assert read_json(path) == [1, 2, 34]
    path.write_text("[1, 2, 345]")
    with pytest.raises(RecordError, match="larger than"):
        read_json(path)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder"):
        with pytest.raises(RecordError, match=f"{name} is not a regular file"):
            read_json(tmp_path / name)


def test_a_file_that_is_exchanged_for_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    path.write_text("{}")
    before = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: before)
    with pytest.raises(RecordError, match="not a regular file"):
        read_json(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
    assert json_or_none(tmp_path / "none.json") is None
    assert json_or_none(tmp_path / "no\0ne.json") is None
    (tmp_path / "bad.json").write_text("{")
    assert json_or_none(tmp_path / "bad.json") is None


def test_parts_of_a_record() -> None:
    record = {"name": "x", "size": 2, "share": 0.5, "flag": True, "list": []}
    assert text_of(record, "name") == "x"
    assert [text_of(record, name) for name in ("size", "list", "none")] == [None] * 3
    assert [number_of(record, name) for name in ("size", "share")] == [2.0, 0.5]
    assert [number_of(record, name) for name in ("name", "flag", "list", "none")] == [None] * 4


def test_values_in_messages_are_short() -> None:
    assert brief({"a": 1}) == "{'a': 1}"
    assert len(brief("x" * 10_000)) == 80
    assert brief(10**10_000) == "a int"
    assert one_line("a\nb") == "a?b"
    assert len(one_line("x" * 10_000)) == 80


def test_settings_files_are_read_by_it(tmp_path: Path) -> None:
    from matphase.settings import Settings

    path = tmp_path / "my.toml"
    for text in ("seed = inf", "a" + ".a" * 10_000 + " = 1"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"my\.toml"):
            Settings.preset("quick").with_file(path)
