"""Atomic writing: a file or folder appears under its name only when it is complete."""

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from glob import has_magic
from pathlib import Path

from matphase.support.durable import rename, sync
from matphase.support.errors import OutputError
from matphase.support.rooms import retire, working_room
from matphase.support.text import one_line

MODEL_FILES = ("manifest.json", "config.toml", "phases.json")
"""Files by which a model folder is known."""
STORE_FILES = ("zarr.json", ".zgroup", ".zarray")
"""Files by which a Zarr store, or a group or array in it, is known: one of them."""


OwnFolder = Callable[[Path], None]
"""Check that a folder holds only what the program wrote; raises OutputError with the other file."""


def check_output(
    path: Path,
    *,
    overwrite: bool,
    replaces: OwnFolder | None = None,
    inside_store: bool = False,
) -> None:
    """Check that an output path can be written, before any work is done.

    Args:
        path: file or folder to write.
        overwrite: an existing file or folder may be replaced.
        replaces: check of an existing folder, such as a `support.manifest.FolderKind`; None: a file
            is written, which never replaces a folder.
        inside_store: whether the path may lie in a Zarr store.

    Raises:
        OutputError: the path has no name (such as `.` or `..`) or one that no path can have, it
            exists, holds other files, lies in a model folder or a store, or its parent is not a
            writable folder.
    """
    if path.name in ("", "..") or "\0" in str(path):
        raise OutputError(
            f"{one_line(str(path))} has no name of its own; name a file or folder to write"
        )
    if path.name.encode("utf-8", "replace") != os.fsencode(path.name):
        raise OutputError(
            f"the name {one_line(path.name)} is not UTF-8, so no record can hold it; choose "
            "another name"
        )
    if os.path.lexists(path):
        if not overwrite:
            raise OutputError(f"{path} exists; choose another name or pass overwrite=True")
        if path.is_dir():
            _check_folder(path, replaces)
        elif replaces is not None:
            raise OutputError(
                f"{path} is a file, which is not replaced by a folder; choose another name"
            )
        elif is_special(path):
            raise OutputError(f"{path} is a pipe or a device; choose another name")
    parent = nearest_folder(path.absolute().parent)
    if not parent.is_dir():
        raise OutputError(
            f"{parent} is a file, so {path} cannot be created in it; choose another path"
        )
    check_surroundings(path, inside_store=inside_store)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write in {parent}; choose another output path")


def check_surroundings(path: Path, *, inside_store: bool = False) -> None:
    """Refuse a path in a model folder or a Zarr store, which would be damaged by it.

    Args:
        path: file or folder to write.
        inside_store: whether it may lie in a Zarr store.

    Raises:
        OutputError: it lies in one.
    """
    nearest = Path(os.path.realpath(nearest_folder(path.absolute().parent)))
    for folder in (nearest, *nearest.parents):
        if all((folder / name).is_file() for name in MODEL_FILES):
            raise OutputError(f"{folder} is a model folder; write {path.name} into another folder")
        if not inside_store and any((folder / name).is_file() for name in STORE_FILES):
            raise OutputError(f"{folder} is a Zarr store; write {path.name} into another folder")


def _check_folder(folder: Path, replaces: OwnFolder | None) -> None:
    if replaces is None:
        raise OutputError(f"{folder} is a folder; choose another name")
    replaces(folder)


def check_not_input(path: Path, sources: Iterable[Path]) -> None:
    """Check that writing `path` would neither replace an input nor add to one.

    Args:
        path: file or folder to write.
        sources: files, folders of slices, Zarr stores, and patterns of file names that are read.

    Raises:
        OutputError: it would; the message names both.
    """
    written = Path(os.path.realpath(path))
    for source in sources:
        read = Path(os.path.realpath(source))
        if os.path.lexists(path) and (written == read or written in read.parents):
            raise OutputError(
                f"{path} would replace {source}, which is an input; choose another name"
            )
        added = read.is_dir() and read in written.parents
        pattern = has_magic(str(source)) and not source.exists()
        if added or (pattern and fnmatch(str(written), str(read))):
            what = "replace a part of" if os.path.lexists(path) else "become a part of"
            raise OutputError(
                f"{path} would {what} {source}, which is an input; choose another place"
            )


def is_special(path: Path) -> bool:
    """Whether a path is a pipe, a socket or a device: neither a file nor a folder.

    Asks the system once, since readers call it for every part of a file.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # missing, or no path; who opens it is told why
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


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


def remove_at_once(folder: Path, own: re.Pattern[str]) -> None:
    """Delete a folder that disappears at once: a kill in between leaves no half of it in place.

    What an earlier call could not delete is deleted, too. Entries with other names than the
    program gives are not deleted, and keep the folder.

    Args:
        folder: to delete; of a link, only the link is deleted.
        own: names of the entries that the program makes.
    """
    if folder.is_symlink():
        folder.unlink()
        return
    retired = removed_name(folder)
    remove_own(retired, own)
    if not folder.is_dir():
        return
    if not others_in(folder, own) and not os.path.lexists(retired):
        folder.replace(retired)
        remove_own(retired, own)
    else:
        remove_own(folder, own)


def others_in(folder: Path, own: re.Pattern[str]) -> list[str]:
    """Names of the entries of a folder that the program did not make, in order."""
    return sorted(path.name for path in folder.iterdir() if not own.fullmatch(path.name))


def remove_own(folder: Path, own: re.Pattern[str]) -> None:
    """Delete the entries of a folder that the program made, and the folder if none is left."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in list(folder.iterdir()):
        if own.fullmatch(path.name):
            remove(path)
    with suppress(OSError):  # other files stay
        folder.rmdir()


def replace(source: Path, target: Path, replaces: OwnFolder | None = None) -> None:
    """Move a finished file or folder to `target`, and only then delete what was there before.

    Args:
        source: what was written.
        target: its final path.
        replaces: check of a folder that is there, which is made again at the last moment.

    Raises:
        OutputError: a folder at `target` holds something else than `replaces` allows.
        OSError: it cannot be moved.
    """
    if not os.path.lexists(target) or (source.is_file() and not target.is_dir()):
        rename(source, target)
        return
    # a folder cannot be replaced in one step
    sync(source)
    with working_room(target.absolute().parent) as room:
        retired = retire(target, room)
        if retired.is_dir() and not retired.is_symlink():
            try:
                _check_folder(retired, replaces)
            except OutputError as error:
                raise OutputError(str(error).replace(str(retired), str(target))) from error
        rename(source, target)


@contextmanager
def atomic_write(
    path: Path,
    *,
    overwrite: bool = False,
    replaces: OwnFolder | None = None,
    inside_store: bool = False,
) -> Iterator[Path]:
    """Context manager that gives a temporary path to write to, and renames it to `path` at the end.

    The temporary path is in a hidden folder beside `path` and has the same name, since writers
    choose the format by the suffix. The block may create a file or a folder there. If the block
    raises, what it wrote is deleted and `path` stays as it was.

    Args:
        path: file or folder to write.
        overwrite: replace what exists.
        replaces: as for `check_output`.
        inside_store: as for `check_output`.

    Raises:
        OutputError: `path` exists or cannot be written, or the disk is full.
    """
    check_output(path, overwrite=overwrite, replaces=replaces, inside_store=inside_store)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        with working_room(path.absolute().parent) as room:
            yield room / path.name
            replace(room / path.name, path, replaces)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
