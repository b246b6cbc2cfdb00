"""Options, messages and exit status that all commands share."""

import functools
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

import typer
from rich.console import Console
from rich.table import Table
from typer.models import OptionInfo

from matphase.support import records
from matphase.support.errors import EndedElsewhere, MatPhaseError
from matphase.support.files import check_not_input, reason
from matphase.support.progress import Reporter, terminal_reporter
from matphase.support.warning import MatPhaseWarning

P = ParamSpec("P")
R = TypeVar("R")

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")]
ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Model folder that `matphase train` wrote; or base, the model that comes with "
        "MatPhase and needs no labels.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the numbers to a JSON file; - prints them."),
]
VoxelSize = Annotated[
    str | None,
    typer.Option(help="Edge length of a voxel: one number, or Z,Y,X. Needs --unit."),
]
Unit = Annotated[str | None, typer.Option(help="Unit of the voxel size: nm, um, mm, cm or m.")]
MaskOption = Annotated[
    str | None,
    typer.Option(
        "--mask",
        metavar="FILE|circle",
        help="Region of interest: a file that is non-zero inside, of all slices or one for all; "
        "or circle, the inscribed circle of each slice. NaN is outside, too.",
    ),
]
LabelSlices = Annotated[
    str | None,
    typer.Option(
        help="Which slices of the images have labels, if not all: 0,10,20 or FIRST:END:STEP, "
        "counted from 0. By default inferred from the slice spacing.",
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        help="Most memory that a prediction may use besides the program itself, such as 2GB."
    ),
]
Tta = Annotated[
    bool | None,
    typer.Option(
        "--tta/--no-tta",
        help="Average over flips and quarter turns of the image: better, and eight times as long "
        "for a network without dropout. By default as the model's settings say.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="TOML file with settings that replace the preset's."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.NAME=VALUE",
        help="Change one setting, such as ugsm.width=32; repeat for more. Comes after --config.",
    ),
]

_ARGUMENT = re.compile(r"(?<![\w.-])([a-z_]+)=(?:True\b|'([^']+)'|(?=[\s,;.)]|$))")
"""An argument as in Python: `overwrite=True`, `memory='4GB'`, or `voxel_size=` without a value."""

_LACKS_MEMORY = re.compile(
    "out of memory|(can't|[cC]annot) allocate memory|failed to map segment|can't start new thread|"
    "error return without exception set"
)
"""What libraries say when memory runs out, also while they are imported."""


def reports_errors(verb: Callable[P, R]) -> Callable[P, R]:
    """Print errors meant for the user as one line on standard error, with exit status 1.

    Warnings are printed in the same way.
    With MATPHASE_DEBUG set in the environment, the traceback is printed, too.
    """

    @functools.wraps(verb)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with printing_warnings(verb):
                return verb(*args, **kwargs)
        except EndedElsewhere as error:
            # another process has already printed why
            raise typer.Exit(0) from error
        except (Exception, KeyboardInterrupt) as error:
            message = _message(error)
            if message is None:
                raise
            if os.environ.get("MATPHASE_DEBUG"):
                traceback.print_exc()
        text = with_options(" ".join(message.splitlines()), verb)
        typer.echo(f"matphase: {text}", err=True)
        raise typer.Exit(1)

    return wrapped


def run(app: Callable[[], None]) -> None:
    """Run the command line: also what fails outside of a command ends in one line.

    This is output that nobody can take, as on a full disk, and memory that runs out early.
    """
    # coroutines of zarr that Ctrl-C stopped halfway would say so on lines of their own
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # it was closed
                sys.stdout.flush()
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        with suppress(OSError):
            typer.echo(f"matphase: {message}", err=True)
        # what is still in the buffer cannot be written, and Python would say so once more
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the end
        sys.exit(1)


@contextmanager
def printing_warnings(verb: Callable[..., Any]) -> Iterator[None]:
    """Print warnings meant for the user as one line on standard error, each once."""
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, MatPhaseWarning):
            before(message, category, *where, **more)
            return
        text = with_options(" ".join(str(message).splitlines()), verb)
        if text not in shown:
            shown.add(text)
            typer.echo(f"matphase: warning: {text}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", MatPhaseWarning)
        before = warnings.showwarning
        warnings.showwarning = show
        yield


def with_options(message: str, verb: Callable[..., Any]) -> str:
    """Message whose Python arguments are replaced by the options of a command.

    `overwrite=True` becomes `--overwrite`, `voxel_size=` becomes `--voxel-size`, and `memory='4GB'`
    becomes `--memory 4GB`, if the command has these options.
    """
    options = {}
    for name, hint in get_type_hints(verb, include_extras=True).items():
        for part in getattr(hint, "__metadata__", ()):
            if isinstance(part, OptionInfo):
                # typer keeps the first name where functions without Annotated have the default
                names = (str(text) for text in (part.default, *(part.param_decls or ())))
                long = (text for text in names if text.startswith("--"))
                options[name] = next(long, f"--{name.replace('_', '-')}")

    if "label_map" in options:
        options["phases"] = options["label_map"]
    if "validation_images" in options:
        options["validation"] = f"{options['validation_images']} and {options['validation_labels']}"

    def replaced(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name not in options:
            return found.group()
        return f"{options[name]} {value}" if value else options[name]

    return _ARGUMENT.sub(replaced, message)


def _message(error: BaseException) -> str | None:
    """Message for the user; None for an unexpected error, which is a bug."""
    match error:
        case MatPhaseError():
            return str(error)
        case KeyboardInterrupt():
            return "stopped; nothing was written"
        case OSError():
            where = f" {error.filename}" if error.filename else ""
            return f"cannot read or write{where}: {reason(error)}; check the path and the disk"
    if isinstance(error, MemoryError) or _LACKS_MEMORY.search(str(error)):
        return (
            "out of memory; close other programs, or give predict a smaller --memory "
            "and train a smaller batch_size"
        )
    return None


def say(text: str, *, quiet: bool) -> None:
    """Print one line without wrapping it."""
    if not quiet:
        typer.echo(text)


def show(table: Table, *, quiet: bool) -> None:
    """Print a table; 120 columns wide where the output is not a terminal."""
    plain = Console(quiet=quiet)
    (plain if plain.is_terminal else Console(quiet=quiet, width=120)).print(table)


def progress(*, quiet: bool) -> AbstractContextManager[Reporter]:
    """Progress bars on a terminal; nothing elsewhere or when `quiet`."""
    return terminal_reporter(quiet=quiet)


def write_json(content: Any, file: Path | None, *, overwrite: bool = False) -> None:
    """Write JSON to a file, or print it if the file is `-`; do nothing if it is None."""
    if file is None:
        return
    if str(file) == "-":
        typer.echo(records.json_text(content), nl=False)
    else:
        records.write_json(file, content, overwrite=overwrite)


def one_or_many(files: Sequence[str]) -> str | list[str]:
    """What `matphase.open` takes: a path or pattern, or a list of files of one slice each."""
    return files[0] if len(files) == 1 else list(files)


def keep_inputs(out: Path, *sources: str | Path | Sequence[str] | None) -> None:
    """Refuse an output that would overwrite an input: the same file, its folder, or a slice of it.

    Raises:
        OutputError: the output would overwrite an input; the message names both.
    """
    from matphase.images.formats.hdf5 import split_path
    from matphase.images.mask import CIRCLE

    files: list[Path] = []
    for source in sources:
        for one in [source] if source is None or isinstance(source, str | Path) else source:
            if one not in (None, CIRCLE):
                files += _files_at(split_path(Path(one))[0])
    check_not_input(out, files)


def _files_at(path: Path) -> list[Path]:
    """The path; as a pattern, also the files that match it."""
    return [path] if path.exists() else [path, *map(Path, glob(str(path)))]  # noqa: PTH207 - absolute
