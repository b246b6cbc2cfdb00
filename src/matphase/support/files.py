"""Write beside, then rename: a file or folder appears under its name only when it is complete."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matphase.support.errors import OutputError


def check_output(path: Path, *, overwrite: bool, replaces: str | None = None) -> None:
    """Refuse an output path that exists (unless `overwrite`) or whose folder cannot take it.

    Args:
        path: file or folder to be written.
        overwrite: what exists there may be replaced.
        replaces: a file by which a folder shows that it is of the kind to be written; a folder
            without it, and not empty, is somebody's own and stays.

    Raises:
        OutputError: the path names nothing (as `.` or `..`), it exists, or its parent is not a
            folder that can be written.
    """
    if path.name in ("", ".."):
        raise OutputError(f"{path} does not name what to write; give it a name of its own")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; choose another name or pass --overwrite")
    if replaces and path.is_dir() and any(path.iterdir()) and not (path / replaces).exists():
        raise OutputError(
            f"{path} is not replaced, since it holds other files (and no {replaces}); "
            "choose another name"
        )
    parent = nearest_folder(path.absolute().parent)
    if not parent.is_dir():
        raise OutputError(
            f"{parent} is a file, so {path} cannot be made in it; choose another path"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write in {parent}; choose another output path")


def nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest one above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def file_name(name: str) -> str:
    """The name of a phase as part of a file name: it may be called "active/binder", a file not."""
    return name.replace("/", "_").replace("\\", "_")


def reason(error: OSError) -> str:
    """What the system says is wrong, on one line; libraries pass it on in several forms."""
    return " ".join((error.strerror or str(error) or type(error).__name__).split())


def remove(path: Path) -> None:
    """Delete a file or a folder with all it holds; nothing happens where nothing is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace(source: Path, target: Path) -> None:
    """Move a finished file or folder onto `target`; what stood there goes only once it is safe."""
    if not target.exists() or (source.is_file() and target.is_file()):
        source.replace(target)
        return
    # nothing takes the place of a folder in one step
    room = Path(tempfile.mkdtemp(prefix=".matphase-", dir=target.parent))
    retired = room / target.name
    try:
        target.replace(retired)
        source.replace(target)
    except BaseException:
        if os.path.lexists(retired) and not os.path.lexists(target):
            retired.replace(target)
        raise
    finally:
        if os.path.lexists(target):
            shutil.rmtree(room, ignore_errors=True)


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a hidden path beside `path` to write to; it takes the name at the end, if all went well.

    The suffix is kept, since writers choose the format by it. The block may make a file or a
    folder there. When it raises, what it wrote is removed and `path` is as it was.

    Raises:
        OutputError: `path` exists or cannot be written, or the disk is full.
    """
    check_output(path, overwrite=overwrite)
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=".matphase-", dir=path.absolute().parent))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    try:
        yield room / path.name
        replace(room / path.name, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
