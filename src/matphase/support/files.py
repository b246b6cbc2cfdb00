"""Atomic writing: a file or folder appears under its name only when it is complete."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from matphase.support.durable import rename, sync
from matphase.support.errors import OutputError

UNFINISHED = ".matphase-"
"""Beginning of the hidden names under which files and folders are written."""


def check_output(path: Path, *, overwrite: bool, replaces: str | None = None) -> None:
    """Check that an output path can be written, before any work is done.

    Args:
        path: file or folder to write.
        overwrite: an existing file or folder may be replaced.
        replaces: name of a file that marks a folder of the kind to write; another folder that is
            not empty is never replaced.

    Raises:
        OutputError: the path has no name (such as `.` or `..`), it exists, or its parent is not a
            writable folder.
    """
    if path.name in ("", ".."):
        raise OutputError(f"{path} has no name of its own; name a file or folder to write")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; choose another name or pass overwrite=True")
    if replaces and path.is_dir() and any(path.iterdir()) and not (path / replaces).exists():
        raise OutputError(
            f"{path} is not replaced, since it contains other files (and no {replaces}); "
            "choose another name"
        )
    parent = nearest_folder(path.absolute().parent)
    if not parent.is_dir():
        raise OutputError(
            f"{parent} is a file, so {path} cannot be created in it; choose another path"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write in {parent}; choose another output path")


def check_not_input(path: Path, sources: Iterable[Path]) -> None:
    """Check that writing `path` would not replace an input, its folder, or a slice in it.

    Raises:
        OutputError: it would; the message names both.
    """
    if not path.exists():
        return
    written = path.resolve()
    for source in sources:
        read = source.resolve()
        a_slice = written.is_file() and written.parent == read
        if written == read or written in read.parents or a_slice:
            raise OutputError(
                f"{path} would replace {source}, which is an input; choose another name"
            )


def nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def file_name(name: str) -> str:
    """Name of a phase as part of a file name, without slashes."""
    return name.replace("/", "_").replace("\\", "_")


def reason(error: OSError) -> str:
    """Cause of the error on one line; libraries give it in different forms."""
    return " ".join((error.strerror or str(error) or type(error).__name__).split())


def remove(path: Path) -> None:
    """Delete a file, or a folder with its content; do nothing if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def removed_name(folder: Path) -> Path:
    """Name that `remove_at_once` gives a folder while it deletes it."""
    return folder.with_name(f".{folder.name}.done")


def remove_at_once(folder: Path) -> None:
    """Delete a folder that disappears at once: a kill in between leaves no half of it in place.

    What an earlier call could not delete is deleted, too.
    """
    retired = removed_name(folder)
    remove(retired)
    if folder.exists():
        folder.replace(retired)
        remove(retired)


def replace(source: Path, target: Path) -> None:
    """Move a finished file or folder to `target`, and only then delete what was there before."""
    if not target.exists() or (source.is_file() and target.is_file()):
        rename(source, target)
        return
    # a folder cannot be replaced in one step
    room = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=target.parent))
    retired = room / target.name
    try:
        sync(source)
        target.replace(retired)
        rename(source, target)
    except BaseException:
        if os.path.lexists(retired) and not os.path.lexists(target):
            retired.replace(target)
        raise
    finally:
        if os.path.lexists(target):
            shutil.rmtree(room, ignore_errors=True)


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Context manager that gives a temporary path to write to, and renames it to `path` at the end.

    The temporary path is in a hidden folder beside `path` and has the same name, since writers
    choose the format by the suffix. The block may create a file or a folder there. If the block
    raises, what it wrote is deleted and `path` stays as it was.

    Raises:
        OutputError: `path` exists or cannot be written, or the disk is full.
    """
    check_output(path, overwrite=overwrite)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.absolute().parent))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    try:
        yield room / path.name
        replace(room / path.name, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
