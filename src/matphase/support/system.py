"""What the operating system knows of the machine: its memory and its cores.

The only module that asks the system, so that the rest of the package runs on Linux, macOS and
Windows alike.
"""

import os

import psutil


def memory_bytes() -> int:
    """Main memory of this machine in bytes, used or free."""
    return int(psutil.virtual_memory().total)


def cores() -> int:
    """Number of CPU cores that this process may use; it can be smaller than the machine's.

    Where the system does not tell (macOS), all cores of the machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
