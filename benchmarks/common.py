"""What the benchmark programs share: where results go, and measurements in a process of their own.

Runs, statistics, tables and pages are those of `matphase.reproduce` and `matphase.scores`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matphase.reproduce.machine import facts
from matphase.reproduce.page import write_page

RESULTS = Path(__file__).parent / "results"


def publish(name: str, content: dict[str, Any], markdown: str) -> None:
    """Write results/NAME.json and results/NAME.md, with this machine and the day in both."""
    machine = {**facts(), "date": datetime.now(UTC).date().isoformat()}
    line = ", ".join(f"{key} {value}" for key, value in machine.items())
    text = f"{markdown.rstrip()}\n\nMachine: {line}."
    write_page(RESULTS / name, text, {"machine": machine, **content})


def recorded(name: str) -> dict[str, Any]:
    """The content of results/NAME.json; empty if there is no such file."""
    path = RESULTS / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content


def in_a_process(
    *arguments: object,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """The JSON that a program prints last, run in a process of its own.

    Args:
        arguments: of the interpreter: a program and its arguments.
        python: the interpreter.
        environment: variables to set besides those of this process.
    """
    done = subprocess.run(
        [python, *map(str, arguments)],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
