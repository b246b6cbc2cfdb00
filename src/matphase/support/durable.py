"""Files that survive a power cut: on the disk before they are renamed or trusted.

Systems keep what was written in memory for up to a minute, and may put a new name on the disk
before the content that it stands for. After a power cut such a file is empty or ends early.
"""

import os
from pathlib import Path

MANY = 100
"""Files of a folder from which on the whole system is synced at once, which is then faster."""


def sync(path: Path) -> None:
    """Put a file, or a folder with all that it holds, on the disk.

    Raises:
        OSError: the disk refuses, for example because it is full.
    """
    if not path.is_dir() or path.is_symlink():
        _sync_one(path)
        return
    held = [*path.rglob("*"), path]
    if len(held) > MANY and hasattr(os, "sync"):
        os.sync()
        return
    for one in held:
        if not one.is_symlink():
            _sync_one(one)


def rename(source: Path, target: Path) -> None:
    """Rename a file or folder, replacing a file, such that the new name never lacks its content.

    Raises:
        OSError: it cannot be renamed.
    """
    sync(source)
    source.replace(target)
    _sync_one(target.absolute().parent)


def _sync_one(path: Path) -> None:
    if path.is_dir():
        if os.name == "nt":  # where folders cannot be opened
            return
        handle = os.open(path, os.O_RDONLY)
    else:
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
