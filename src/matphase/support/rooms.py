"""Hidden folders in which output is written before it gets its name, and what a kill leaves.

A room lies beside the output. Its owner holds a lock on a file in it, which the system releases
when the process ends, however it ends. So a room whose lock is free was left by a process that was
killed, and the next one that writes beside it removes it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

UNFINISHED = ".matphase-"
"""Beginning of the names of rooms."""
_LOCK = ".matphase.lock"
_RETIRED = ".matphase.old"
_ATTEMPTS = 10


@contextmanager
def working_room(parent: Path) -> Iterator[Path]:
    """Context manager that gives a room in `parent`, which is removed at the end.

    Raises:
        OSError: it cannot be made.
    """
    clear_rooms(parent)
    room, lock = _made(parent)
    try:
        yield room
    finally:
        lock.release()
        if _restored(room):
            shutil.rmtree(room, ignore_errors=True)


def retire(path: Path, room: Path) -> Path:
    """Move what is to be replaced into a room; it comes back if nothing takes its place.

    Returns:
        its new path.
    """
    (room / _RETIRED).mkdir()
    return path.replace(room / _RETIRED / path.name)


def clear_rooms(parent: Path) -> None:
    """Remove the rooms in a folder that killed processes left; rooms in use stay."""
    try:
        with os.scandir(parent) as entries:
            found = [
                Path(entry.path)
                for entry in entries
                if entry.name.startswith(UNFINISHED) and entry.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return
    for room in found:
        try:
            _clear(room)
        except (OSError, Timeout, NotImplementedError):
            continue  # in use, or of somebody else


def _clear(room: Path) -> None:
    names = set(os.listdir(room))  # noqa: PTH208 - names, not paths
    if not names:
        room.rmdir()  # killed before it had a lock; a process that is only slow makes another one
        return
    if _LOCK not in names or len(names - {_LOCK, _RETIRED}) > 1:
        return  # not made here
    with FileLock(room / _LOCK, timeout=0, thread_local=False):
        if _restored(room):
            shutil.rmtree(room)


def _restored(room: Path) -> bool:
    """Give back what was retired and not replaced; whether nothing of it is left in the room."""
    retired = room / _RETIRED
    if not retired.is_dir():
        return True
    for path in retired.iterdir():
        target = room.parent / path.name
        if not os.path.lexists(target):
            try:
                path.replace(target)
            except OSError:
                return False
    return True


def _made(parent: Path) -> tuple[Path, FileLock]:
    """Make a room whose lock is held."""
    for attempt in range(_ATTEMPTS):
        room = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
        lock = FileLock(room / _LOCK, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except (FileNotFoundError, Timeout):
            # another process took the new room for one that was left
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        except NotImplementedError:
            pass  # without locks on this disk, nobody removes the room of another
        except BaseException:
            shutil.rmtree(room, ignore_errors=True)
            raise
        return room, lock
    raise AssertionError
