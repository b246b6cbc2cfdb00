"""What the benchmark programs share: the machine they ran on, and tables of what they measured."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matphase.reproduce.machine import facts
from matphase.support.files import atomic_write

RESULTS = Path(__file__).parent / "results"
NUMBERS = re.compile(r"\[\n[\d\s.,eE+\[\]-]+\]")


def machine() -> dict[str, Any]:
    """Processor, cores, and versions that decide speed, and the day."""
    return {**facts(), "date": datetime.now(UTC).date().isoformat()}


def keep(file: Path, content: dict[str, Any]) -> None:
    """Write what a run that is stopped need not measure again; it is there whole or not at all."""
    with atomic_write(file, overwrite=True) as beside:
        beside.write_text(json.dumps(content) + "\n", "utf-8")


def write_results(name: str, content: dict[str, Any], markdown: str) -> None:
    """Write results/NAME.json and results/NAME.md, with the machine in both."""
    RESULTS.mkdir(exist_ok=True)
    where = machine()
    record = {"machine": where, **content}
    # a list of numbers, or of such lists, on one line
    text = NUMBERS.sub(lambda found: "".join(found[0].split()), json.dumps(record, indent=2))
    (RESULTS / f"{name}.json").write_text(text + "\n", "utf-8")
    line = ", ".join(f"{key} {value}" for key, value in where.items())
    (RESULTS / f"{name}.md").write_text(f"{markdown.rstrip()}\n\nMachine: {line}.\n", "utf-8")


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
