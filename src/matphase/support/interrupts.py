"""Ctrl-C: the first stops the work in good order, the second ends the process at once.

Libraries may ignore Ctrl-C while they close something, which can take long.
"""

import signal
import threading
from types import FrameType

_installed = False


def install() -> None:
    """Make a second SIGINT end this process, whatever it does; for programs, not for libraries."""
    global _installed
    if threading.current_thread() is threading.main_thread():
        _installed = True
        signal.signal(signal.SIGINT, _first)


def restore() -> None:
    """Undo that a library has begun to ignore SIGINT."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL if _installed else signal.default_int_handler)


def _first(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.default_int_handler(number, frame)
