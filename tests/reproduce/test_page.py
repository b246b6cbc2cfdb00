"""Cells, JSON and timing of pages of results."""

import json

import pytest

from matphase.reproduce.page import difference_cell, json_by_rows, mean_sd, write_page
from matphase.reproduce.timing import median_seconds, take_turns
from matphase.scores.bootstrap import Interval


class TestCells:
    def test_mean_sd(self):
        assert mean_sd([1, 2, 6]) == "3.000 ± 2.646"
        assert mean_sd([0.25], 2) == "0.25"
        assert mean_sd([None, None]) == "-"

    def test_difference(self):
        found = Interval(-0.0123, -0.02, -0.001)
        assert difference_cell(found) == "-0.0123 [-0.0200, -0.0010]"
        assert difference_cell(found, bold=True) == "**-0.0123** [-0.0200, -0.0010]"
        assert difference_cell(Interval(0.01, -0.02, 0.03), bold=True).startswith("+0.0100 [")
        assert difference_cell(None) == "-"


class TestJson:
    def test_a_line_a_seed(self):
        row = {"scores": {"numbers": list(range(1000))}, "name": "é"}
        content = {"protocol": {"width": 3}, "results": {"paper": {"unet": [row, row]}}}
        text = json_by_rows(content)
        assert json.loads(text) == content
        assert text.count('\n    {"scores": {"numbers": [0,1,2,') == 2
        assert ' "protocol": {"width": 3},\n' in text
        assert len(text.splitlines()) == 11

    def test_rows_within_a_row(self):
        content = {"splits": [{"split": "blocked", "rows": [{"v": list(range(60))}] * 3}]}
        text = json_by_rows(content)
        assert json.loads(text) == content
        assert sum(line.strip().startswith('{"v"') for line in text.splitlines()) == 3

    def test_long_objects_are_split(self):
        content = {name: list(range(400)) for name in "abc"}
        assert len(json_by_rows(content).splitlines()) == 5

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="not JSON compliant"):
            json_by_rows({"mIU": float("nan")})


def test_files(tmp_path):
    files = write_page(tmp_path / "page", "# Page\n\n\n", {"a": 1}, (["x"], [[None], [2]]))
    assert [file.name for file in files] == ["page.md", "page.csv", "page.json"]
    assert [file.read_text() for file in files] == ["# Page\n", 'x\n""\n2\n', '{"a": 1}\n']
    write_page(tmp_path / "other", "# Page", {})
    assert not (tmp_path / "other.csv").exists()


class TestTiming:
    def test_sides_take_turns(self):
        calls = []
        sides = {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}
        assert take_turns(sides, 2) == {"a": [1, 3], "b": [2, 4]}
        assert calls == ["a", "b", "a", "b"]

    def test_rounds_to_warm_up_do_not_count(self, monkeypatch):
        clock = iter([0, 100, 100, 101, 101, 104, 104, 106])
        monkeypatch.setattr("time.perf_counter", lambda: next(clock))
        assert median_seconds({"side": lambda: None}, 3) == {"side": 2}
