"""A slice of `benchmarks/fuzz.py`, in a process of its own: it forks, so it has no threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_damaged_and_hostile_input_is_refused_in_one_sentence() -> None:
    command = [sys.executable, str(PROGRAM), "--tries", "300", "--batch", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("tries") == 300
    assert found == dict.fromkeys(("traceback", "hang", "peak", "touched", "invented"), 0)
