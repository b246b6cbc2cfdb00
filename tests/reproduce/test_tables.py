import csv
import json

import pytest
from fake_results import PHASES, leave, tables_in

from matphase.reproduce.conditions import claim
from matphase.reproduce.page import grid
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.table_rows import MATPHASE, TableRow, TableSpec
from matphase.reproduce.tables import conditions_text, seeds_text, split_text, write_table

SPEC = TableSpec(
    "table3",
    "Baselines",
    (
        TableRow("U-Net", "unet", "U-Net"),
        TableRow("ResNet-18", "resnet18", "ResNet-18"),
        TableRow("mine", "segnet"),
        TableRow("MatPhase", MATPHASE, "MatPhase"),
    ),
    ("blocked", "paper"),
)


def half_done(out, phases=PHASES, truths=("measured", "exact")):
    """Two seeds of three on the blocked split, and one of a row; nothing on the other split."""
    for seed, level in ((0, 0.5), (1, 0.6)):
        leave(out, MATPHASE, seed, level, phases=phases, truths=truths)
        leave(out, "unet", seed, level, phases=phases, truths=truths, pixels=(8, 2))
    leave(out, "resnet18", 0, 0.4, phases=phases, truths=truths, subset=True, pixels=(3, 1))
    subset = dict.fromkeys(truths, 0.45)
    leave(out, "ugsm", 0, 0.5, phases=phases, truths=truths, subset_of_pixels=subset)


def written(spec, out, seeds=(0, 1, 2)):
    """The page, the lines of the CSV file, and what is in the JSON file."""
    page, table, record = write_table(spec, out, seeds)
    with table.open(newline="", encoding="utf-8") as lines:
        return page.read_text("utf-8"), list(csv.DictReader(lines)), json.loads(record.read_text())


class TestMarkdown:
    def test_all_tables_of_a_half_done_run(self, tmp_path):
        half_done(tmp_path)
        page, _, _ = written(SPEC, tmp_path)
        assert "## Split `blocked`, against measured and exact labels, 1 to 2 of 3 seeds" in page
        assert "## Split `paper`: no results yet" in page
        measured, exact, lead, cost, paper = tables = tables_in(page)
        for table in tables:
            assert {len(row) for row in table} == {len(table[0])}
        f1 = ["F1 pore", "F1 carbon", "F1 nickel"]
        assert measured[0] == ["row", *f1, "ACC best 5", "ACC lowest 5", "mIU", "fIU", "paper mIU"]
        assert exact[0] == measured[0][:-1]
        assert [row[0] for row in measured[1:]] == [
            "U-Net",
            "ResNet-18 † (1 seed)",
            "mine (no result yet)",
            "MatPhase",
        ]
        spread = "0.550 ± 0.071"
        best, low = "56.00 ± 7.07", "54.00 ± 7.07"
        assert measured[1] == ["U-Net", spread, spread, spread, best, low, spread, spread, "0.77"]
        assert measured[2][1:] == ["0.400"] * 3 + ["41.00", "39.00", "0.400", "0.400", "0.79"]
        assert set(measured[3][1:]) == {"-"}
        assert exact[1][1] == "0.650 ± 0.071"
        assert [row[0] for row in lead[1:]] == ["U-Net", "ResNet-18 † (1 seed)"]
        assert lead[1][1] == lead[1][2] == "**+0.0667** [+0.0667, +0.0667]"
        assert cost[1:] == [
            ["U-Net", "1,234,567", "1,500", "150"],
            ["ResNet-18 † (1 seed)", "1,234,567", "1,000", "100"],
            ["MatPhase", "1,234,567", "1,500", "150"],
        ]
        assert [row[0] for row in paper[1:]] == ["U-Net", "ResNet-18", "MatPhase"]
        assert paper[1][1:] == ["0.85", "0.82", "0.94", "91.2 ± 0.09", "90.03 ± 1", "0.77", "0.84"]

    def test_note_on_pixels_in_part(self, tmp_path):
        claim(tmp_path, Protocol.named("quick"), None)
        half_done(tmp_path)
        page, _, _ = written(SPEC, tmp_path)
        assert "† Scored on 500 random pixels of each test image" in page
        assert "mIU 0.450 instead of 0.500 (measured labels)" in page
        assert "† Both on the random pixels of the row" in page
        assert "Preset `quick`: networks of whole images have width 8" in page

    def test_phases_of_a_user(self, tmp_path):
        half_done(tmp_path, ("a|b", "salt"), ("measured",))
        page, _, _ = written(SPEC, tmp_path)
        assert "against measured labels, 1 to 2" in page
        measured, lead, _, paper = tables = tables_in(page)
        for table in tables:
            assert {len(row) for row in table} == {len(table[0])}
        assert measured[0][:4] == ["row", "F1 a|b", "F1 salt", "ACC best 5"]
        assert lead[0] == ["row", "against measured"]
        assert paper[0] == ["row", "ACC best 5", "ACC lowest 5", "mIU", "fIU"]

    def test_without_rows_of_the_paper(self, tmp_path):
        spec = TableSpec("mine", "Mine", (TableRow("U-Net", "unet"), TableRow("full", MATPHASE)))
        half_done(tmp_path)
        page, _, _ = written(spec, tmp_path, (0, 1))
        assert "paper" not in page
        assert tables_in(page)[0][0][-1] == "fIU"

    def test_one_seed(self, tmp_path):
        leave(tmp_path, MATPHASE, 0, 0.5)
        leave(tmp_path, "unet", 0, 0.5)
        page, _, _ = written(SPEC, tmp_path, (0,))
        assert "labels, 1 seed\n" in page
        assert "With one seed" in page
        measured, _, lead, *_ = tables_in(page)
        assert measured[1][1] == "0.500"
        assert lead[1][1] == "+0.0000 [+0.0000, +0.0000]"

    def test_nothing_done(self, tmp_path):
        page, lines, record = written(SPEC, tmp_path)
        assert page.count("no results yet") == 2
        assert lines == []
        assert len(record["splits"]) == 2


class TestFiles:
    def test_csv_round_trip(self, tmp_path):
        half_done(tmp_path)
        _, lines, record = written(SPEC, tmp_path)
        keys = [(line["split"], line["truth"], line["row"], line["measure"]) for line in lines]
        assert len(set(keys)) == len(keys)
        by_key = dict(zip(keys, lines, strict=True))
        for row in record["splits"][0]["rows"]:
            for truth, measures in row["scores"].items():
                for measure, value in measures.items():
                    line = by_key.pop(("blocked", truth, row["title"], measure), None)
                    assert (line is None) == (value["n_seeds"] == 0)
                    if line:
                        assert float(line["mean"]) == value["mean"]
                        assert line["sd"] == ("" if value["sd"] is None else str(value["sd"]))
                        assert int(line["n_seeds"]) == value["n_seeds"]
                        paper = (row["paper"] or {}).get(measure) if truth == "measured" else None
                        assert line["paper"] == ("" if paper is None else str(paper))
        assert {key[1] for key in by_key} == {""}  # what is left are costs
        assert by_key["blocked", "", "U-Net", "pixels_per_second"]["mean"] == "150.0"

    def test_older_files_are_replaced(self, tmp_path):
        half_done(tmp_path)
        paths = write_table(SPEC, tmp_path, (0,))
        assert [path.name for path in paths] == ["table3.md", "table3.csv", "table3.json"]
        before = [path.read_text("utf-8") for path in paths]
        again = write_table(SPEC, tmp_path, (0, 1))
        assert again == paths
        assert all(path.read_text("utf-8") != old for path, old in zip(paths, before, strict=True))
        assert "NaN" not in paths[2].read_text("utf-8")


class TestWords:
    @pytest.mark.parametrize(
        ("counts", "wanted", "text"),
        [
            ([1], 1, "1 seed"),
            ([3, 3], 3, "3 seeds"),
            ([1, 3], 3, "1 to 3 of 3 seeds"),
            ([2, 2], 3, "2 of 3 seeds"),
        ],
    )
    def test_seeds(self, counts, wanted, text):
        assert seeds_text(counts, wanted) == text

    def test_conditions_of_slices_of_a_user(self, tmp_path, slices):
        claim(tmp_path, Protocol.named("paper"), slices)
        text = conditions_text(json.loads((tmp_path / "protocol.json").read_text()))
        assert text.startswith(f"The user's slices (checksum {slices.record()['data'][:12]}).")
        assert "width 64 and learn for 100 epochs of 20 slices" in text
        assert conditions_text(None) == ""

    def test_splits(self, tmp_path):
        claim(tmp_path, Protocol.named("small"), None)
        conditions = json.loads((tmp_path / "protocol.json").read_text())
        assert "one slice of 2" in split_text("blocked", conditions)
        assert "one slice" not in split_text("blocked", None)
        assert "leaks" in split_text("paper", conditions)

    def test_bars_do_not_end_a_cell(self):
        assert tables_in(grid(["a|b", "c"], [["x", "|"]])) == [[["a|b", "c"], ["x", "|"]]]
