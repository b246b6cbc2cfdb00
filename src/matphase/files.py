"""Write beside, then rename: a file or folder appears under its name only when it is complete."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matphase.errors import OutputError


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output path that exists (unless `overwrite`) or whose folder cannot take it.

    Raises:
        OutputError: the path exists, or its parent is not a folder that can be written.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; choose another name or pass --overwrite")
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(
            f"{parent} is a file, so {path} cannot be made in it; choose another path"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write in {parent}; choose another output path")


def remove(path: Path) -> None:
    """Delete a file or a folder with all it holds; nothing happens where nothing is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace(source: Path, target: Path) -> None:
    """Move a finished file or folder onto `target`; what stood there goes only once it is safe."""
    if not target.is_dir():
        source.replace(target)
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    target.replace(retired / target.name)
    source.replace(target)
    shutil.rmtree(retired)


@contextmanager
def written_whole(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
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
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield room / path.name
        replace(room / path.name, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
