"""What the demo promises, measured: takes minutes, so it runs with `pytest -m slow`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from matphase.cli import app


@pytest.mark.slow
def test_uncertainty_finds_the_errors_of_the_demo(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert metrics["uncertainty"]["entropy_AUROC"] > 0.8
    assert metrics["uncertainty"]["idk_recall"] > 0.85
    assert set(metrics["rows"]) == {"UGSM", "MatPhase w/o HCL-USI", "MatPhase"}
    for row in metrics["rows"].values():
        assert row["ACC"] > 85
