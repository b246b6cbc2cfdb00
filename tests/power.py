"""Power cuts: what was not put on the disk is lost."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """Knows which files are on the disk, by inode and time of the last change."""

    def __init__(self) -> None:
        self._kept: set[tuple[int, int]] = set()

    def keep(self, state: os.stat_result) -> None:
        """Note a file that was synced."""
        self._kept.add((state.st_ino, state.st_mtime_ns))

    def has(self, path: Path) -> bool:
        """Whether the content of a file is on the disk."""
        state = path.stat()
        return (state.st_ino, state.st_mtime_ns) in self._kept

    def lost(self, folder: Path) -> list[Path]:
        """Files below a folder, or the file itself, that a power cut would empty."""
        held = folder.rglob("*") if folder.is_dir() else [folder]
        return [path for path in held if path.is_file() and not self.has(path)]

    def cut(self, folder: Path, last: int | None = None) -> None:
        """Empty every second file that is not on the disk, and shorten the others.

        Args:
            folder: where.
            last: only so many files, which were written last; None: all.
        """
        lost = sorted(self.lost(folder), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for number, path in enumerate(lost[:last]):
            os.truncate(path, 0 if number % 2 else path.stat().st_size // 2)


@contextmanager
def watched_disk(folder: Path) -> Iterator[Disk]:
    """Context that notes what is put on the disk below a folder."""
    disk, fsync = Disk(), os.fsync

    def one(handle: int) -> None:
        disk.keep(os.fstat(handle))
        fsync(handle)

    def everything() -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                disk.keep(path.stat())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", one)
        patch.setattr(os, "sync", everything, raising=False)
        yield disk
