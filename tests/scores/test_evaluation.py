import io
import json

import numpy as np
import pytest
from rich.console import Console

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.scores.evaluation import score_row, score_trusted, score_uncertainty
from matphase.show.tables import in_per_cent, number, rows_table, trusted_text

PHASES = PhaseTable.from_names(["pore", "carbon", "nickel"])


def stack(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (6, 20, 24), np.uint8)


def test_a_perfect_prediction_scores_one_everywhere() -> None:
    truth = stack()
    sure = np.moveaxis(np.eye(3, dtype=np.float32)[truth], -1, 1)
    row = score_row(truth, truth, PHASES, sure)
    ones = dict.fromkeys(PHASES.names, 1.0)
    assert row["F1"] == row["F1_pooled"] == row["boundary_F1"] == ones
    assert row["ACC"] == 100
    assert row["mIU"] == row["fIU"] == 1
    assert row["ECE"] == pytest.approx(0)
    assert row["volume_fraction_error"] == dict.fromkeys(PHASES.names, 0.0)


def test_hand_computed_numbers() -> None:
    truth = np.array([[[0, 0, 1, 1]]], np.uint8)
    labels = np.array([[[0, 1, 1, 1]]], np.uint8)
    row = score_row(truth, labels, PhaseTable.from_names(["a", "b"]))
    assert row["ACC"] == 75
    assert row["F1"] == {"a": pytest.approx(2 / 3), "b": pytest.approx(4 / 5)}
    assert row["mIU"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert row["volume_fraction_error"] == {"a": -0.25, "b": 0.25}


def test_without_probabilities_there_is_no_calibration() -> None:
    assert score_row(stack(), stack(1), PHASES)["ECE"] is None


def test_overconfidence_is_measured() -> None:
    truth = np.zeros((1, 32, 32), np.uint8)
    labels = truth.copy()
    labels[:, ::2] = 1
    sure = np.moveaxis(np.eye(3, dtype=np.float32)[labels], -1, 1)
    assert score_row(truth, labels, PHASES, sure)["ECE"] == pytest.approx(0.5)


def test_ignored_pixels_count_nowhere() -> None:
    truth, labels = stack(), stack(1)
    ignored = truth.copy()
    ignored[labels != truth] = IGNORE_INDEX
    assert score_row(ignored, labels, PHASES)["ACC"] == 100


def test_a_measure_that_is_not_defined_is_none_and_json_takes_it() -> None:
    truth = np.zeros((2, 8, 8), np.uint8)
    row = score_row(truth, truth, PHASES)
    assert row["F1"] == {"pore": 1.0, "carbon": None, "nickel": None}
    json.dumps(row, allow_nan=False)
    found = score_uncertainty(truth, truth, np.zeros(truth.shape, np.float32), truth != 0)
    assert found["entropy_AUROC"] is None
    assert found["idk_recall"] is None
    assert found["idk_share"] == 0
    json.dumps(found, allow_nan=False)


def test_uncertainty_that_knows_every_error() -> None:
    truth, labels = stack(), stack(1)
    wrong = truth != labels
    found = score_uncertainty(truth, labels, wrong.astype(np.float32), wrong, wrong * 0.5)
    assert found["entropy_AUROC"] == found["idk_AUROC"] == 1
    assert found["idk_recall"] == found["idk_precision"] == 1
    assert found["idk_share"] == pytest.approx(wrong.mean())


def test_uncertainty_of_ignored_pixels_counts_nowhere() -> None:
    truth, labels = stack(), stack(1)
    wrong = truth != labels
    entropy = wrong.astype(np.float32)
    truth[0], entropy[0], flagged = IGNORE_INDEX, 0, wrong.copy()
    flagged[0] = False
    found = score_uncertainty(truth, labels, entropy, flagged)
    assert found["entropy_AUROC"] == found["idk_recall"] == 1


def test_trusted_pixels_by_hand() -> None:
    truth = np.array([[[0, 1, 2, 2, IGNORE_INDEX, 0, 1, 1]]], np.uint8)
    labels = np.array([[[0, 1, 2, 0, 0, 0, 0, 1]]], np.uint8)
    trusted = np.array([[[1, 1, 1, 1, 1, 1, 0, 0]]], bool)
    found = score_trusted(truth, labels, trusted)
    assert found["trusted_share"] == pytest.approx(5 / 7)
    assert found["trusted_error"] == pytest.approx(1 / 5)
    assert found["trusted_wrong_share"] == pytest.approx(1 / 7)
    assert trusted_text(found) == (
        "71.4 % of the pixels are trusted and 20.0 % of these are wrong (14.3 % of all)"
    )
    nothing = score_trusted(truth, labels, np.zeros_like(trusted))
    assert nothing == {"trusted_share": 0, "trusted_error": None, "trusted_wrong_share": 0}
    assert trusted_text(nothing) == "no pixel is trusted"


def test_the_table_shows_each_row_as_it_is_named() -> None:
    rows = {"[red]x[/red]": score_row(stack(), stack(1), PHASES)}
    screen = io.StringIO()
    Console(file=screen, width=150).print(rows_table(rows, PHASES, "title [/]"))
    text = screen.getvalue()
    assert text.startswith("title [/]")
    row = next(line for line in text.splitlines() if "[red]x[/red]" in line)
    assert f"{rows['[red]x[/red]']['ACC']:.2f}" in row
    assert row.split()[-2] == "-", "no calibration without probabilities"


def test_numbers_that_are_not_defined_are_dashes() -> None:
    assert (number(None), number(0.12345), number(2, 1)) == ("-", "0.123", "2.0")
    assert (in_per_cent(None), in_per_cent(0.4567)) == ("-", "45.7")
