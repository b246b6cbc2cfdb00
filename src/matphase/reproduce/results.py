"""The folder of an experiment: its conditions, and the result of each trial."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matphase.support.errors import InputError
from matphase.support.records import json_or_none, write_json

Result = dict[str, Any]
"""The result of a trial, ready for JSON."""

RESULT = "result.json"
"""In the folder of a trial: its result, and the sign that it is done."""
RECORD = "protocol.json"
"""In the folder of the experiment: the conditions under which it is run."""


def claim(out: Path, record: Result, *, same: Callable[[Any], bool] | None = None) -> None:
    """Record the conditions of an experiment in its folder, or check that they are the same.

    Args:
        out: folder of the experiment.
        record: its conditions, ready for JSON.
        same: whether what the folder records stands for the same conditions; equality if none.

    Raises:
        InputError: the folder holds results of other conditions, or other files.
        OutputError: it cannot be written.
    """
    path = out / RECORD
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} holds other files than results; choose another output folder")
        write_json(path, record)
        return
    before = read_json(path)
    matches = before == record if same is None else before is not None and same(before)
    if not matches:
        raise InputError(
            f"{out} holds results of another preset, other settings, other slices or another "
            "version; choose another output folder, or remove it"
        )


def conditions_of(out: Path) -> Result | None:
    """The conditions that `claim` recorded in a folder; None where there are none."""
    return read_json(out / RECORD)


def result_at(folder: Path) -> Result | None:
    """The result in the folder of a trial; None if there is none, or it is damaged."""
    return read_json(folder / RESULT)


def read_json(path: Path) -> Result | None:
    """The JSON object in a file; None if there is no such file, or it holds something else."""
    content = json_or_none(path, finite=False)
    return content if isinstance(content, dict) else None


def write_result(folder: Path, result: Result) -> None:
    """Write the result of a trial into its folder, in place of an older one.

    Raises:
        OutputError: it cannot be written.
    """
    write_json(folder / RESULT, result, overwrite=True, indent=None)
