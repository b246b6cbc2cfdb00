"""All tables and figures of `matphase reproduce`, and what they are made of.

    python benchmarks/reproduction.py OUT [--preset small] [--targets table1 ...] [--seeds 3]
                                          [--anew] [--tables-only]

OUT keeps everything, so that a run that was stopped goes on. What is committed in
results/reproduction is taken over first: a run of many hours can be done in parts, on several
machines (each result says on which it was measured). With --anew nothing is taken over and every
number is measured again; so is it by `matphase reproduce all`, without this program. Results of
another preset than small are kept in results/reproduction_PRESET.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from common import RESULTS

from matphase.reproduce.conditions import claim
from matphase.reproduce.engine import results_of
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.results import RESULT, read_json, result_at, write_result
from matphase.reproduce.run import reproduce_targets, write_targets
from matphase.reproduce.table_rows import TABLES, TARGETS, TRUST, units_of

SHOWN = "small"
"""The preset that the tables of the documentation are of."""
PAPER_TABLES = ("table1", "table2", "table3", "table5")


def main() -> None:
    """Run what is missing, and write results/reproduction."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--anew", action="store_true", help="measure every number again")
    parser.add_argument("--tables-only", action="store_true", help="of what is there; run nothing")
    arguments = parser.parse_args()
    protocol = Protocol.named(arguments.preset)
    kept = RESULTS / (
        "reproduction" if protocol.preset == SHOWN else f"reproduction_{protocol.preset}"
    )
    claim(arguments.out, protocol)
    targets, seeds = arguments.targets, range(arguments.seeds)
    if not arguments.anew:
        take_over(kept / "units.json", arguments.out, protocol)
    if arguments.tables_only:
        write_targets(targets, protocol, None, seeds, arguments.out)
    else:
        reproduce_targets(targets, protocol, None, seeds, arguments.out, say=print)
    kept.mkdir(exist_ok=True)
    for name in set(targets) & {*TABLES, TRUST}:
        for ending in ("md", "csv", "json"):
            shutil.copy(arguments.out / f"{name}.{ending}", kept)
    for picture in arguments.out.glob("*.png"):
        shutil.copy(picture, kept)
    save(kept / "units.json", arguments.out, protocol)
    if set(PAPER_TABLES) <= set(targets):
        taken = hours(arguments.out, seeds)
        print(f"the four tables take {taken:.1f} h on two cores, a unit on each")


def take_over(file: Path, out: Path, protocol: Protocol) -> None:
    """Put committed results of the same protocol where the units would have left them."""
    content = read_json(file)
    if content is None:
        return
    if not protocol.is_recorded_by(content["protocol"]):
        print(f"{file} is of another protocol; everything is measured again")
        return
    for place, result in content["units"].items():
        if result_at(out / place) is None:
            write_result(out / place, result)


def save(file: Path, out: Path, protocol: Protocol) -> None:
    """Gather the results of all units in one file, a line each."""
    lines = []
    for path in sorted(out.glob(f"units/*/*/*/{RESULT}")):
        result = json.loads(path.read_text("utf-8"))
        place = path.parent.relative_to(out).as_posix()
        lines.append(f"{json.dumps(place)}: {json.dumps(result, separators=(',', ':'))}")
    head = json.dumps(protocol.model_dump(mode="json"))
    text = f'{{"protocol": {head},\n"units": {{\n' + ",\n".join(lines) + "\n}}\n"
    file.write_text(text, "utf-8")


def hours(out: Path, seeds: Sequence[int]) -> float:
    """That tables 1, 2, 3 and 5 take with all seeds on two cores, by the fastest unit of each row.

    The fastest, since others had to share their core with what else the machine did; but of those
    that took at least half the median: a unit that went on after a stop counts from there only.
    """
    seconds: dict[str, list[float]] = {}
    for unit, result in results_of(units_of(PAPER_TABLES, seeds), out).items():
        seconds.setdefault(unit.kind, []).append(result["seconds"])
    fastest = (min(one for one in row if one >= median(row) / 2) for row in seconds.values())
    return len(seeds) * sum(fastest) / 2 / 3600


if __name__ == "__main__":
    main()
