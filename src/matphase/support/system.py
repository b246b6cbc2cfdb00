"""What the operating system knows of the machine: its memory and its cores.

The only module that asks the system, so that the rest of the package runs on Linux, macOS and
Windows alike.
"""

import os
from typing import IO

import psutil


def memory_bytes() -> int:
    """Main memory of this machine in bytes, used or free."""
    return int(psutil.virtual_memory().total)


def free_memory_bytes() -> int:
    """Main memory in bytes that programs can still take without swapping."""
    return int(psutil.virtual_memory().available)


def resident_bytes() -> int:
    """Memory of this process in bytes: Python, its libraries, and all that is loaded."""
    return int(psutil.Process().memory_info().rss)


def reserve(file: IO[bytes], size: int) -> None:
    """Make a new file `size` bytes long, all of them on the disk.

    Raises:
        OSError: the disk has no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(min(size, 2**20))
    for first in range(0, size, len(zeros)):
        file.write(zeros[: size - first])
    file.flush()


def cores() -> int:
    """Number of CPU cores that this process may use; it can be smaller than the machine's.

    Where the system does not tell (macOS), all cores of the machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
