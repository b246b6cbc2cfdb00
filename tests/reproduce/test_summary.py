import json

import pytest
from fake_results import leave

from matphase.reproduce.conditions import claim
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.summary import paper_numbers, summarised
from matphase.reproduce.table_rows import MATPHASE, TABLES, TableRow, TableSpec
from matphase.scores.spread import NOTHING, Spread

SPEC = TableSpec(
    "table1",
    "A table",
    (
        TableRow("UGSM", "ugsm", "UGSM"),
        TableRow("other", "unet"),
        TableRow("MatPhase", MATPHASE, "MatPhase"),
    ),
)


class TestSpread:
    def test_hand_computed(self):
        assert Spread.of([1, 2, 6]) == Spread(3.0, pytest.approx(7**0.5), 3)

    def test_one_seed_has_no_sd(self):
        assert Spread.of([0.25]) == Spread(0.25, None, 1)

    def test_undefined_values_are_left_out(self):
        assert Spread.of([None, 2.0, 4.0]) == Spread(3.0, pytest.approx(2**0.5), 2)
        assert Spread.of([None]) == Spread.of([]) == NOTHING


class TestRows:
    def test_means_and_costs(self, tmp_path):
        for seed, level in enumerate((0.5, 0.7)):
            leave(tmp_path, "ugsm", seed, level)
        (split,) = summarised(SPEC, tmp_path, [0, 1]).splits
        assert split.truths == ["measured", "exact"]
        assert split.phases == ["pore", "carbon", "nickel"]
        row = split.rows[0]
        for truth, mean in (("measured", 0.6), ("exact", 0.7)):
            spread = Spread(pytest.approx(mean), pytest.approx(0.02**0.5), 2)
            for measure in ("F1 pore", "boundary_F1 nickel", "F1_pooled carbon", "mIU", "fIU"):
                assert row.score(truth, measure) == spread
            assert row.score(truth, "ACC").mean == pytest.approx(100 * mean)
            assert row.score(truth, "ACC_best5").mean == pytest.approx(100 * mean + 1)
            assert row.score(truth, "ACC_low5").mean == pytest.approx(100 * mean - 1)
            assert row.score(truth, "ECE").mean == pytest.approx(1 - mean)
            assert row.score(truth, "volume_fraction_error pore").mean == pytest.approx(0.5 - mean)
        assert row.score("measured", "ACC_low5_sd") == Spread(0.5, 0.0, 2)
        assert row.parameters == 1234567
        assert row.macs_per_pixel.mean == 1500
        assert row.pixels_per_second.mean == pytest.approx(150)
        assert row.seconds == 21
        assert row.on_all_pixels is True

    def test_missing_seeds_and_rows(self, tmp_path):
        for seed in (0, 2):
            leave(tmp_path, "ugsm", seed, 0.5)
        ugsm, other, best = summarised(SPEC, tmp_path, [0, 1, 2]).splits[0].rows
        assert (ugsm.seeds, ugsm.missing_seeds) == ([0, 2], [1])
        assert ugsm.score("measured", "mIU").n_seeds == 2
        assert ugsm.matphase_minus_row == {}
        for row in (other, best):
            assert (row.seeds, row.missing_seeds) == ([], [0, 1, 2])
            assert row.scores == row.matphase_minus_row == {}
            assert row.parameters is row.on_all_pixels is None
            assert row.score("measured", "mIU") == row.macs_per_pixel == NOTHING

    def test_nothing_done(self, tmp_path):
        summary = summarised(SPEC, tmp_path, [0])
        assert summary.conditions is None
        (split,) = summary.splits
        assert split.phases == split.truths == []
        assert split.rows[0].paper == paper_numbers("table1", "UGSM")

    def test_pixels_in_part(self, tmp_path):
        leave(tmp_path, "unet", 0, 0.5, subset=True, pixels=(4, 1))
        leave(tmp_path, MATPHASE, 0, 0.5)
        leave(tmp_path, "ugsm", 0, 0.5, subset_of_pixels={"measured": 0.45, "exact": 0.55})
        (split,) = summarised(SPEC, tmp_path, [0]).splits
        ugsm, other, _ = split.rows
        assert other.on_all_pixels is False
        assert other.score("measured", "boundary_F1 pore") == NOTHING
        assert not other.matphase_minus_row["exact"].on_all_pixels
        assert ugsm.matphase_minus_row["exact"].on_all_pixels
        assert split.ugsm_on_subset == {
            "measured": {"subset": Spread(0.45, None, 1), "all": Spread(0.5, None, 1)},
            "exact": {"subset": Spread(0.55, None, 1), "all": Spread(0.6, None, 1)},
        }


class TestLead:
    def test_matphase_minus_row_over_the_seeds_of_both(self, tmp_path):
        # MatPhase 9 of 10 pixels of phase 0 right, the row 8 of 10; other phases 9 and 8 pixels
        for seed in (0, 1):
            leave(tmp_path, MATPHASE, seed, 0.5, pixels=(9, 1))
        for seed in (1, 2):
            leave(tmp_path, "ugsm", seed, 0.5, pixels=(8, 2))
        row = summarised(SPEC, tmp_path, [0, 1, 2]).splits[0].rows[0]
        lead = row.matphase_minus_row["measured"]
        assert lead.seeds == [1]
        expected = {
            "mIU": (9 / 10 + 9 / 10 + 1) / 3 - (8 / 10 + 8 / 10 + 1) / 3,
            "fIU": (10 * 0.9 + 9 * 0.9 + 9) / 28 - (10 * 0.8 + 8 * 0.8 + 8) / 26,
            "ACC": 100 * (27 / 28 - 24 / 26),
            "F1_pooled pore": 18 / 19 - 16 / 18,
            "F1_pooled carbon": 18 / 19 - 16 / 18,
            "F1_pooled nickel": 0,
        }
        assert set(lead.measures) == set(expected)
        for name, value in expected.items():
            found = lead.measures[name]
            # all blocks are alike, so the draws are, too
            assert found["difference"] == pytest.approx(value, abs=1e-12)
            assert found["low"] == pytest.approx(value, abs=1e-12)
            assert found["high"] == pytest.approx(value, abs=1e-12)
            assert found["excludes_zero"] is (value > 0)

    def test_not_of_itself(self, tmp_path):
        leave(tmp_path, MATPHASE, 0, 0.5)
        assert summarised(SPEC, tmp_path, [0]).splits[0].rows[2].matphase_minus_row == {}

    def test_with_matphase_not_in_the_table(self, tmp_path):
        spec = TableSpec("mine", "Mine", (TableRow("UGSM", "ugsm"),))
        leave(tmp_path, MATPHASE, 0, 0.5)
        leave(tmp_path, "ugsm", 0, 0.5, pixels=(8, 2))
        row = summarised(spec, tmp_path, [0]).splits[0].rows[0]
        assert row.matphase_minus_row["exact"].measures["mIU"]["difference"] > 0


class TestRecord:
    def test_json_has_conditions_machine_and_no_nan(self, tmp_path):
        claim(tmp_path, Protocol.named("quick"), None)
        leave(tmp_path, "ugsm", 0, 0.5, subset=True)
        record = summarised(SPEC, tmp_path, [0, 1]).to_json()
        again = json.loads(json.dumps(record, allow_nan=False))
        assert again == record
        assert again["conditions"]["protocol"]["preset"] == "quick"
        assert {"cpu", "cores", "torch", "matphase", "bf16"} <= set(again["machines"][0])
        assert again["splits"][0]["rows"][0]["missing_seeds"] == [1]

    def test_every_row_of_the_paper_is_found(self):
        for spec in TABLES.values():
            for row in spec.rows:
                assert (paper_numbers(spec.name, row.paper) is None) == (row.paper is None)
        assert paper_numbers("table1", "UGSM")["ACC_low5_sd"] == 0.6
        assert paper_numbers("mine", "UGSM") is None
