"""What the verbs share: options, messages, exit status."""

import functools
import json
import os
import re
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from matphase.support.errors import EndedElsewhere, InputError, MatPhaseError, OutputError
from matphase.support.files import atomic_write, reason
from matphase.support.progress import Reporter, terminal_reporter

P = ParamSpec("P")
R = TypeVar("R")

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace output that exists.")]
Seed = Annotated[int, typer.Option(help="Names every random draw.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers here; - prints.")
]
VoxelSize = Annotated[
    str | None,
    typer.Option(help="Length of a voxel, one number or one per axis as Z,Y,X. Needs --unit."),
]
Unit = Annotated[str | None, typer.Option(help="Unit of the voxel size: nm, um, mm, cm or m.")]
LabelSlices = Annotated[
    str | None,
    typer.Option(
        help="Which slices of the images are labelled, where there are more of them than labels: "
        "0,10,20 or FIRST:END:STEP, counted from 0. Without it the distances of the slices say it.",
    ),
]
Memory = Annotated[str, typer.Option(help="Memory that prediction may take at a time, as 2GB.")]

_LACKS_MEMORY = re.compile("out of memory|can't allocate memory")
_MEMORY_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def reports_errors(verb: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors meant for the user into one line on standard error and exit status 1.

    With MATPHASE_DEBUG set in the environment the traceback comes too.
    """

    @functools.wraps(verb)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except EndedElsewhere as error:
            # one report is enough, and one process that failed ends the others
            raise typer.Exit(0) from error
        except (MatPhaseError, OSError, MemoryError, RuntimeError, KeyboardInterrupt) as error:
            message = _message(error)
            if message is None:
                raise
            if os.environ.get("MATPHASE_DEBUG"):
                traceback.print_exc()
        typer.echo(f"matphase: {' '.join(message.splitlines())}", err=True)
        raise typer.Exit(1)

    return wrapped


def _message(error: BaseException) -> str | None:
    """What to tell the user of an error; None for one that nobody meant to raise."""
    match error:
        case MatPhaseError():
            return str(error)
        case KeyboardInterrupt():
            return "stopped; nothing was written"
        case OSError():
            where = f" {error.filename}" if error.filename else ""
            return f"cannot read or write{where}: {reason(error)}; check the path and the disk"
    # torch has no MemoryError of its own: it raises RuntimeError for lack of memory, too
    if isinstance(error, MemoryError) or _LACKS_MEMORY.search(str(error)):
        return (
            "out of memory; close other programs, or give predict a smaller --memory "
            "and train a smaller batch_size"
        )
    return None


def say(text: str, *, quiet: bool) -> None:
    """Print one line as it stands, however long."""
    if not quiet:
        typer.echo(text)


def show(table: Table, *, quiet: bool) -> None:
    """Print a table; 120 columns where output is no terminal."""
    plain = Console(quiet=quiet)
    (plain if plain.is_terminal else Console(quiet=quiet, width=120)).print(table)


def progress(*, quiet: bool) -> AbstractContextManager[Reporter]:
    """Bars with time left on a terminal; silence elsewhere."""
    return terminal_reporter(quiet=quiet)


def write_json(content: Any, file: Path | None, *, overwrite: bool = False) -> None:
    """Write JSON to a file, or print it for `-`; nothing happens without a file."""
    if file is None:
        return
    text = json.dumps(content, indent=2, ensure_ascii=False)
    if str(file) == "-":
        typer.echo(text)
        return
    with atomic_write(file, overwrite=overwrite) as beside:
        beside.write_text(text + "\n", "utf-8")


def keep_inputs(out: Path, *sources: str | Path | None) -> None:
    """Refuse to overwrite what is about to be read: the same file, a folder around it, a slice.

    Raises:
        OutputError: naming both.
    """
    from matphase.images.formats.hdf5 import split_path

    if not out.exists():
        return
    written = Path(os.path.realpath(out))
    for source in sources:
        if source is None:
            continue
        read = Path(os.path.realpath(split_path(Path(source))[0]))
        a_slice = written.is_file() and written.parent == read
        if written == read or written in read.parents or a_slice:
            raise OutputError(f"{out} would replace {source}, which is read; choose another name")


def parse_voxel_size(text: str | None) -> float | tuple[float, ...] | None:
    """`0.2` or `0.2,0.1,0.1` as numbers.

    Raises:
        InputError: something that is no number.
    """
    if text is None:
        return None
    try:
        lengths = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--voxel-size {text!r} is not a length; write 0.2, or 0.2,0.1,0.1 for z, y, x"
        ) from error
    return lengths[0] if len(lengths) == 1 else lengths


def parse_slices(text: str | None) -> list[int] | None:
    """`0,10,20`, or `0:100:10` as Python's `range`, as numbers of slices.

    Raises:
        InputError: neither.
    """
    if text is None:
        return None
    try:
        if ":" in text:
            numbers = list(range(*(int(part) for part in text.split(":"))))
        else:
            numbers = [int(part) for part in text.split(",")]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{text!r} are no numbers of slices; write 0,10,20, or 0:100:10 for every tenth"
        ) from error
    return numbers


def parse_memory(text: str) -> int:
    """`500MB` or `2GB` as bytes.

    Raises:
        InputError: not an amount of memory.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?b?)\s*", text.lower())
    unit = match.group(2) if match else "?"
    factor = _MEMORY_UNITS.get(unit if not unit or unit.endswith("b") else unit + "b")
    if match is None or factor is None or float(match.group(1)) == 0:
        raise InputError(f"--memory {text!r} is not an amount of memory; write it like 2GB")
    return int(float(match.group(1)) * factor)
