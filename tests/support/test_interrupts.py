"""The second Ctrl-C always ends the process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import signal
import sys
import time
from matphase.support import interrupts

interrupts.install()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    if sys.argv[1] == "ignored":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupts.restore()
    print("closing", flush=True)
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print("went on", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal here")
@pytest.mark.parametrize("library", ["busy", "ignored"])
def test_the_first_stops_in_good_order_and_the_second_at_once(library: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, library], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in ("ready\n", "closing\n"):
                assert process.stdout.readline() == line
                process.send_signal(signal.SIGINT)
            assert process.wait(20) == -signal.SIGINT
            assert process.stdout.read() == ""
        finally:
            process.kill()


def test_libraries_do_not_take_over_ctrl_c() -> None:
    """Only the program does, not whoever imports the package."""
    code = "import signal, matphase, matphase.cli; print(signal.getsignal(signal.SIGINT))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert "default_int_handler" in done.stdout
