"""Runs that are ended at any moment, and disks that run full: nothing is lost, and it goes on.

    python benchmarks/kills.py [--moments 20] [--levels 20] [--verbs train predict ...] [--publish]

Each run is a fork of this process, which has imported everything, and calls the command line. For
signals, a run is ended by INT, TERM and KILL after each of 20 fractions of the time that an
undisturbed run takes; for full disks (root only), it works on a small disk in memory that leaves
room for each of 20 fractions of what an undisturbed run needs. After each of them

- what has its final name is whole: equal to that of the undisturbed run;
- inputs are as before;
- the same command again (`train` with --resume where a training was kept) gives the result of
  the undisturbed run, and leaves nothing else behind.

A full disk must also be told in one sentence. Times, dates and machines in records are not
compared.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import publish
from fuzz import LABEL_MAP, build

import matphase.reproduce.run
from matphase.cli import main as command_line
from matphase.reproduce import engine
from matphase.reproduce.page import grid

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
SECONDS = 300
"""Longest time of a run."""
STDERR = Path(tempfile.gettempdir()) / f"kills-{os.getpid()}"
"""What the last run said; not on the disks that run full."""
SHARED = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@dataclass(frozen=True)
class Verb:
    """A command whose runs are ended.

    Attributes:
        name: of the command.
        words: its arguments.
        outputs: final names, of files and folders.
        kept: beginnings of names that an interrupted run may leave for the next one.
    """

    name: str
    words: tuple[str, ...]
    outputs: tuple[str, ...]
    kept: tuple[str, ...] = ()


DATA = ("--images", "grey.tif", "--labels", "labels.tif")
MAPS = ("", "_ugsm", "_entropy", "_idk", "_sample_01", "_sample_02")
VERBS = (
    Verb(
        "train",
        ("train", *DATA, "--label-map", LABEL_MAP, "--config", "tiny.toml", "--out", "new", "-q"),
        ("new",),
        ("new.partial", ".new.partial.done"),
    ),
    *(
        Verb(
            "predict" if suffix == ".tif" else "predict, OME-Zarr",
            ("predict", "model", "grey.tif", "--out", f"new{suffix}", "--keep-samples", "-q"),
            (*(f"new{name}{suffix}" for name in MAPS), "new.json"),
            (f".new{suffix}.matphase",),
        )
        for suffix in (".tif", ".ome.zarr")
    ),
    Verb("simulate", ("simulate", "new", "--shape", "4,48,48", "-q"), ("new",)),
    Verb(
        "measure",
        (
            *("measure", "labels.tif", "--label-map", LABEL_MAP, "--groups", "fractions,chords"),
            *("--json", "new.json", "--csv", "new.csv", "--pictures", "new", "-q", "--overwrite"),
        ),
        ("new.json", "new.csv", "new"),
    ),
    Verb("align", ("align", "model", *DATA, "--out", "new", "-q"), ("new",)),
    Verb(
        "reproduce",
        (
            *("reproduce", "table1", "--preset", "quick", "--config", "few.toml", "--seeds", "1"),
            *("--images", "more.tif", "--labels", "more_labels.tif", "--label-map", LABEL_MAP),
            *("--out", "new", "-q"),
        ),
        ("new",),
        ("new",),
    ),
)

VOLATILE = re.compile(r"seconds|written|machine|date|per_pixel|per_second|^model$|^files$")
"""Names of values in JSON that differ from run to run."""


# --- runs -----------------------------------------------------------------------------------------


def make_world(world: Path) -> None:
    """Inputs of all commands, made in a child, so that this process stays without threads."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            build(world)
            _more_slices(world)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the world could not be made")
    for name in ("images", "training", "predicted_tif", "predicted_zarr"):
        shutil.rmtree(world / name)


def _more_slices(world: Path) -> None:
    """The slices that `reproduce` needs, and settings of few steps."""
    import numpy as np
    import tomli_w
    from fuzz import TINY

    import matphase as mp

    rng = np.random.default_rng(1)
    labels = np.broadcast_to(np.arange(34)[:, None] // 5 % 3, (12, 34, 33)).astype(np.uint8)
    grey = np.array([10.0, 25.0, 80.0])[labels] + rng.normal(0, 4, labels.shape)
    mp.save(world / "more.tif", mp.Volume.from_array(grey.astype("f4")))
    mp.save(world / "more_labels.tif", mp.Volume.from_array(labels.copy()))
    few = {**TINY, "ugsm": {**TINY["ugsm"], "max_steps": 4}}
    few["data"] = {**TINY["data"], "local_images": 2}
    (world / "few.toml").write_text(tomli_w.dumps(few), "utf-8")


def begun(words: tuple[str, ...], folder: Path) -> int:
    """Start a command in a fork; gives its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        errors = os.open(STDERR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(errors, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # no processes besides this one, which would import everything anew
        matphase.reproduce.run.default_workers = lambda: engine.IN_LINE
        sys.argv = ["matphase", *words]
        command_line()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except KeyboardInterrupt:
        status = 130
    finally:
        os._exit(status)


def ended(child: int, after: float | None = None, number: int = signal.SIGKILL) -> int:
    """Wait for a run, and end it by a signal after some seconds; gives its exit status."""
    began, sent = time.monotonic(), False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        passed = time.monotonic() - began
        if after is not None and passed > after and not sent:
            os.kill(child, number)
            sent = True
        if passed > SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 999
        time.sleep(0.001)


def content(folder: Path) -> dict[str, str]:
    """Hash of each file in a folder; of JSON without what differs from run to run."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = _digest(path)
    return found


def _digest(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".json" and path.name != "manifest.json":
        try:
            data = json.dumps(_stable(json.loads(data)), sort_keys=True).encode()
        except ValueError:
            return "not JSON"
    if path.suffix in (".png", ".md", ".csv", ".npz") or path.name == "manifest.json":
        return "there"  # archives and pictures have dates; pages have times
    return hashlib.sha256(data).hexdigest()


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _stable(part) for name, part in value.items() if not VOLATILE.search(name)}
    return [_stable(part) for part in value] if isinstance(value, list) else value


# --- what is checked ------------------------------------------------------------------------------


@dataclass
class Tally:
    """Counts of one command."""

    runs: int = 0
    half: int = 0
    lost: int = 0
    leftovers: int = 0
    other: int = 0
    unclear: int = 0
    stopped: int = 0

    def row(self) -> list[str]:
        return [
            str(number)
            for number in (
                *(self.runs, self.stopped, self.half, self.lost, self.leftovers, self.other),
                self.unclear,
            )
        ]


HEADER = (
    *("command", "runs", "ended early", "half-written", "inputs lost", "leftovers"),
    *("other result", "unclear message"),
)


def check(
    verb: Verb, folder: Path, world: dict[str, str], whole: dict[str, str], tally: Tally
) -> None:
    """Check a folder after a run was ended, run the command again, and check the result."""

    def told(what: str, found: object) -> None:
        print(f"{verb.name}: {what}: {str(found)[:300]}", flush=True)

    def is_output(name: str) -> bool:
        return any(name == one or name.startswith(f"{one}/") for one in verb.outputs)

    found = content(folder)
    half = {name for name in found if is_output(name) and found[name] != whole.get(name)}
    if (
        verb.name == "reproduce"
    ):  # its folder grows result by result, and hidden files are no results
        half = {name for name in half if name.endswith(("result.json", "table1.json"))}
    elif verb.name == "measure":
        half = {name for name in half if found[name] == "not JSON"} | _incomplete(
            found, whole, "new/"
        )
    else:
        for one in verb.outputs:
            half |= _incomplete(found, whole, f"{one}/")
    if half:
        tally.half += 1
        told("half-written", half)
    if any(found.get(name) != known for name, known in world.items()):
        tally.lost += 1
        told("inputs lost", {name for name in world if found.get(name) != world[name]})
    words = verb.words
    if verb.name == "train" and (folder / "new").exists():
        words = (*words, "--overwrite")
    elif verb.name == "train" and (folder / "new.partial").exists():
        words = (*words, "--resume")
    elif verb.name != "reproduce" and any((folder / one).exists() for one in verb.outputs):
        words = (*words, "--overwrite")
    status = ended(begun(words, folder))
    again = content(folder)
    left = {name for name in again if name not in whole and name not in world}
    left |= {path.name for path in folder.rglob(".matphase-*")}
    if left:
        tally.leftovers += 1
        told("leftovers", left)
    different = {name for name in whole if again.get(name) != whole[name]}
    if status or different:
        tally.other += 1
        told(f"other result, status {status}", different or STDERR.read_text())


def _incomplete(found: dict[str, str], whole: dict[str, str], prefix: str) -> set[str]:
    """Files that a folder with its final name lacks."""
    if not any(name.startswith(prefix) for name in found):
        return set()
    return {name for name in whole if name.startswith(prefix) and name not in found}


def one_sentence(status: int) -> bool:
    """Whether a run said in one line why it ended."""
    said = STDERR.read_text("utf-8")
    return status == 1 and said.startswith("matphase: ") and said.count("\n") == 1


def by_signals(verb: Verb, world: Path, moments: int) -> Tally:
    """End a command at moments that are spread over its duration."""
    tally = Tally()
    with tempfile.TemporaryDirectory(dir=SHARED) as room:
        folder = Path(room) / "user"
        inputs, whole, seconds = undisturbed(verb, world, folder)
        for number in SIGNALS:
            for moment in range(moments):
                shutil.rmtree(folder)
                shutil.copytree(world, folder)
                after = seconds * (moment + 0.5) / moments
                status = ended(begun(verb.words, folder), after, number)
                tally.runs += 1
                tally.stopped += status != 0
                if number == signal.SIGINT and status not in (0, 130) and not one_sentence(status):
                    tally.unclear += 1
                    print(f"{verb.name}: status {status}, {STDERR.read_text()!r}")
                check(verb, folder, inputs, whole, tally)
    return tally


def undisturbed(
    verb: Verb, world: Path, folder: Path
) -> tuple[dict[str, str], dict[str, str], float]:
    """Inputs and result of a run that nobody disturbs, and its seconds (the shorter of two)."""
    seconds = []
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(world, folder)
        inputs, began = content(folder), time.monotonic()
        if ended(begun(verb.words, folder)):
            raise SystemExit(STDERR.read_text())
        seconds.append(time.monotonic() - began)
    return inputs, content(folder), min(seconds)


def by_full_disks(verb: Verb, world: Path, levels: int) -> Tally:
    """Run a command on disks of different room."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as place:
        with small_disk(Path(place), 2**30) as disk:
            folder = disk / "user"
            before = disk_used(disk)
            shutil.copytree(world, folder)
            base = disk_used(disk) - before
            peak = base
            child = begun(verb.words, folder)
            while not os.waitpid(child, os.WNOHANG)[0]:
                peak = max(peak, disk_used(disk) - before)
                time.sleep(0.001)
            inputs, whole = content(world), content(folder)
            needed = max(peak, disk_used(disk) - before) - base
        for level in range(levels):
            with small_disk(Path(place), 2**28) as disk:
                folder = disk / "user"
                shutil.copytree(world, folder)
                room = int(needed * (level + 0.5) / levels)
                filler = disk / "filler"
                with filler.open("wb") as file:
                    os.posix_fallocate(
                        file.fileno(), 0, max(1, shutil.disk_usage(disk).free - room)
                    )
                status = ended(begun(verb.words, folder))
                tally.runs += 1
                tally.stopped += status != 0
                if status and not one_sentence(status):
                    tally.unclear += 1
                    print(f"{verb.name}: status {status}, {STDERR.read_text()!r}")
                filler.unlink()
                check(verb, folder, inputs, whole, tally)
    return tally


def disk_used(disk: Path) -> int:
    """Bytes that are taken on a disk."""
    return shutil.disk_usage(disk).used


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A disk in memory of some bytes."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def main() -> None:
    """End runs, fill disks, and write the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--levels", type=int, default=20)
    parser.add_argument("--verbs", nargs="*", default=[verb.name for verb in VERBS])
    parser.add_argument("--publish", action="store_true", help="write results/kills.md and .json")
    arguments = parser.parse_args()
    os.environ["TMPDIR"] = tempfile.gettempdir()
    found: dict[str, dict[str, list[str]]] = {"signals": {}, "full disks": {}}
    with tempfile.TemporaryDirectory(dir=SHARED) as place:
        world = Path(place) / "world"
        make_world(world)
        for verb in VERBS:
            if verb.name not in arguments.verbs:
                continue
            if arguments.moments:
                found["signals"][verb.name] = by_signals(verb, world, arguments.moments).row()
                print("signals", verb.name, *found["signals"][verb.name], flush=True)
            if arguments.levels and os.geteuid() == 0:
                row = by_full_disks(verb, world, arguments.levels).row()
                found["full disks"][verb.name] = row
                print("full disks", verb.name, *row, flush=True)
    if arguments.publish:
        publish("kills", found, page(found, arguments.moments, arguments.levels))
    bad = Counter(
        {
            kind: sum(int(n) for row in rows.values() for n in row[2:])
            for kind, rows in found.items()
        }
    )
    print(json.dumps(bad))
    STDERR.unlink(missing_ok=True)
    sys.exit(any(bad.values()))


def page(found: dict[str, dict[str, list[str]]], moments: int, levels: int) -> str:
    """The results as Markdown."""
    tables = {kind: [[name, *row] for name, row in rows.items()] for kind, rows in found.items()}
    return "\n\n".join(
        [
            "# Runs that are ended, and disks that run full",
            "`python benchmarks/kills.py --publish`; its docstring says what is checked.",
            f"## INT, TERM and KILL at {moments} moments each",
            grid(HEADER, tables["signals"]),
            f"## A disk that is full at {levels} levels",
            grid(HEADER, tables["full disks"]),
        ]
    )


if __name__ == "__main__":
    main()
