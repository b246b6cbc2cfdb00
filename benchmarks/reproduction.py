"""All tables and figures of `matphase reproduce`, and what they are made of.

    python benchmarks/reproduction.py OUT [--preset small] [--anew] [--tables-only]

OUT keeps everything, so that a run that was stopped goes on. What is committed in
results/reproduction is taken over first: a run of many hours can be done in parts, on several
machines (each result says on which it was measured). With --anew nothing is taken over and every
number is measured again; so is it by `matphase reproduce all`, without this program.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import median

from common import RESULTS

from matphase.reproduce.protocol import Protocol
from matphase.reproduce.rows import TABLES, TARGETS, TRUST, units_of
from matphase.reproduce.run import reproduce_targets, write_targets
from matphase.reproduce.runner import claim, result_of

SEEDS = range(3)
PAPER_TABLES = ("table1", "table2", "table3", "table5")


def main() -> None:
    """Run what is missing, and write results/reproduction."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--anew", action="store_true", help="measure every number again")
    parser.add_argument("--tables-only", action="store_true", help="of what is there; run nothing")
    arguments = parser.parse_args()
    protocol, kept = Protocol.named(arguments.preset), RESULTS / "reproduction"
    claim(arguments.out, protocol, None)
    if not arguments.anew:
        take_over(kept / "units.json", arguments.out, protocol)
    if arguments.tables_only:
        write_targets(TARGETS, protocol, None, SEEDS, arguments.out)
    else:
        reproduce_targets(TARGETS, protocol, None, SEEDS, arguments.out, say=print)
    kept.mkdir(exist_ok=True)
    for name in (*TABLES, TRUST):
        for ending in ("md", "csv", "json"):
            shutil.copy(arguments.out / f"{name}.{ending}", kept)
    for picture in arguments.out.glob("*.png"):
        shutil.copy(picture, kept)
    save(kept / "units.json", arguments.out, protocol)
    print(f"the four tables take {hours(arguments.out):.1f} h on two cores, a unit on each")


def take_over(file: Path, out: Path, protocol: Protocol) -> None:
    """Put committed results of the same protocol where the units would have left them."""
    if not file.exists():
        return
    content = json.loads(file.read_text("utf-8"))
    if not protocol.is_recorded_by(content["protocol"]):
        print(f"{file} is of another protocol; everything is measured again")
        return
    for place, result in content["units"].items():
        path = out / place / "result.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result) + "\n", "utf-8")


def save(file: Path, out: Path, protocol: Protocol) -> None:
    """Gather the results of all units in one file, a line each."""
    results = {unit.place: result_of(unit, out) for unit in units_of(TARGETS, SEEDS)}
    lines = [
        f"{json.dumps(place)}: {json.dumps(result, separators=(',', ':'))}"
        for place, result in results.items()
        if result is not None
    ]
    head = json.dumps(protocol.model_dump(mode="json"))
    text = f'{{"protocol": {head},\n"units": {{\n' + ",\n".join(lines) + "\n}}\n"
    file.write_text(text, "utf-8")


def hours(out: Path) -> float:
    """That tables 1, 2, 3 and 5 take with all seeds on two cores, by the fastest unit of each row.

    The fastest, since others had to share their core with what else the machine did; but of those
    that took at least half the median: a unit that went on after a stop counts from there only.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    for unit in units_of(PAPER_TABLES, SEEDS):
        if (result := result_of(unit, out)) is not None:
            seconds.setdefault((unit.split, unit.name), []).append(result["seconds"])
    fastest = (min(one for one in row if one >= median(row) / 2) for row in seconds.values())
    return len(SEEDS) * sum(fastest) / 2 / 3600


if __name__ == "__main__":
    main()
