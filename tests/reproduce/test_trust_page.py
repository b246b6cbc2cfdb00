import csv
import json

import pytest
from fake_results import PHASES, TRUTHS, ceiling, leave, tables_in, trust

from matphase.reproduce.table_rows import MATPHASE
from matphase.reproduce.trust_page import trust_summary, write_trust
from matphase.scores.spread import NOTHING, Spread


def done(out, seeds=(0, 1), phases=PHASES, truths=TRUTHS, units=("ugsm", MATPHASE, "out_of_fold")):
    """Recall 0.8 and 0.9, oracle 0.9 and 0.92, error rates 0.5 and 0.4 on the first seeds."""
    for seed in seeds:
        found = trust(truths, 0.8 + 0.1 * seed)
        best = ceiling(truths, 0.9 + 0.02 * seed)
        more = {"ugsm": found, MATPHASE: best, "out_of_fold": {**found, **best}}
        for name in units:
            level = 0.5 + 0.1 * seed
            leave(out, name, seed, level, phases=phases, truths=truths, **more[name])


class TestNumbers:
    def test_spreads(self, tmp_path):
        done(tmp_path)
        summary = trust_summary(tmp_path, [0, 1])
        ugsm, best = summary.units["ugsm"], summary.units[MATPHASE]
        sd = pytest.approx(0.005**0.5)
        assert ugsm.at("detectors", "exact", "idk", "recall") == Spread(pytest.approx(0.85), sd, 2)
        assert ugsm.at("detectors", "exact", "entropy", "recall").mean == pytest.approx(0.75)
        assert ugsm.at("detectors", "exact", "mutual_information", "recall") == NOTHING
        assert best.at("ceiling", "measured", "oracle", "mIU").mean == pytest.approx(0.91)
        assert best.at("calibration", "measured", "ECE") == Spread(pytest.approx(0.45), sd, 2)
        near = best.at("by_distance", "measured", "up to 1 px", "error_rate")
        assert near == Spread(pytest.approx(0.45), sd, 2)
        assert best.names("by_distance", "exact") == ["up to 1 px", "1 to 5 px", "beyond 5 px"]
        assert best.at("misregistration", "exact", "differing_share") == Spread(0.1, 0.0, 2)
        assert (
            best.at("label_noise", "exact", "by_distance", "up to 1 px", "agreement").mean == 0.85
        )
        assert best.at("detectors", "exact", "idk", "recall") == NOTHING
        assert best.names("nowhere", "at all") == []

    def test_missing_seeds(self, tmp_path):
        done(tmp_path, (1,))
        unit = trust_summary(tmp_path, [0, 1]).units["ugsm"]
        assert (unit.seeds, unit.missing_seeds) == ([1], [0])


class TestPage:
    def test_all_tables(self, tmp_path):
        done(tmp_path)
        page = write_trust(tmp_path, [0, 1])[0].read_text("utf-8")
        tables = tables_in(page)
        for table in tables:
            assert {len(row) for row in table} == {len(table[0])}
        detectors, _, calibration, gain, _, distance, confusions, *_, labels = tables
        assert len(tables) == 10
        assert "UGSM is wrong in 10.0 ± 0.0 % of the pixels" in page
        assert detectors[1] == [
            "in sample",
            "HCL-IDK",
            "20.0 ± 0.0",
            "85.0 ± 7.1",
            "30.0 ± 0.0",
            "0.900 ± 0.000",
            "0.010 ± 0.000",
        ]
        assert detectors[6][:4] == ["out of fold", "mutual information", "20.0 ± 0.0", "-"]
        assert calibration[1:] == [
            ["UGSM", "0.450 ± 0.071", "0.350 ± 0.071"],
            ["MatPhase", "0.450 ± 0.071", "0.350 ± 0.071"],
        ]
        assert gain[1][:4] == ["MatPhase", "0.700 ± 0.000", "0.750 ± 0.000", "0.910 ± 0.014"]
        assert gain[1][4:] == ["60.0 ± 0.0", "10.0 ± 0.0", "20.0 ± 0.0", "10.0 ± 0.0"]
        assert distance[1][:3] == ["up to 1 px", "33.3 ± 0.0", "45.0 ± 7.1"]
        assert confusions[1] == ["pore-carbon", *["75.0 ± 0.0", "25.0 ± 0.0"] * 2]
        assert labels[1][1:] == ["10.0 ± 0.0", "50.0 ± 0.0", "40.0 ± 0.0", "10.0 ± 0.0"]
        assert "agree with the exact ones in 95.0 ± 0.0 %" in page

    def test_slices_of_a_user_have_no_exact_labels(self, tmp_path):
        done(tmp_path, (0,), ("a|b", "salt"), ("measured",))
        page = write_trust(tmp_path, [0])[0].read_text("utf-8")
        tables = tables_in(page)
        assert len(tables) == 5
        assert "exact" not in page
        assert tables[4][1][0] == "a|b-salt"

    def test_half_done(self, tmp_path):
        done(tmp_path, (0, 1), units=("ugsm",))
        page = write_trust(tmp_path, [0, 1])[0].read_text("utf-8")
        assert "Seeds done: UGSM 2; MatPhase 0; MatPhase, out of fold 0." in page
        for table in tables_in(page):
            assert {len(row) for row in table} == {len(table[0])}
        assert tables_in(page)[2][2] == ["MatPhase", "-", "-"]

    def test_nothing_done(self, tmp_path):
        page, table, record = write_trust(tmp_path, [0])
        assert "No results yet" in page.read_text("utf-8")
        assert len(table.read_text("utf-8").splitlines()) == 1
        assert json.loads(record.read_text("utf-8"))["truths"] == []


def test_csv_has_what_json_has(tmp_path):
    done(tmp_path)
    _, table, record = write_trust(tmp_path, [0, 1])
    assert "NaN" not in record.read_text("utf-8")
    content = json.loads(record.read_text("utf-8"))
    with table.open(newline="", encoding="utf-8") as opened:
        lines = list(csv.DictReader(opened))
    assert {line["unit"] for line in lines} == {"ugsm", MATPHASE, "out_of_fold"}
    for line in lines:
        value = content["units"][line["unit"]]["found"][line["section"]][line["truth"]]
        for name in line["measure"].split("/"):
            value = value[name]
        assert (float(line["mean"]), float(line["sd"])) == (value["mean"], value["sd"])
        assert int(line["n_seeds"]) == value["n_seeds"] == 2
