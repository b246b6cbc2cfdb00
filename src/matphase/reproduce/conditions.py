"""The conditions and slices of a folder of results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matphase.reproduce import results
from matphase.reproduce.data import Source, UserSlices, electrode
from matphase.reproduce.protocol import Protocol

FORMAT = 1
"""Of the results; raised when what a unit computes changes."""


def claim(out: Path, protocol: Protocol, slices: UserSlices | None = None) -> None:
    """Record in the folder of results under which conditions it is filled, or check them.

    Raises:
        InputError: it holds results of other conditions, or other files.
        OutputError: it cannot be written.
    """
    record = {
        "format": FORMAT,
        "protocol": protocol.model_dump(mode="json"),
        "slices": slices.record() if slices is not None else None,
    }

    def same(before: dict[str, Any]) -> bool:
        if not protocol.is_recorded_by(before.get("protocol")):
            return False
        return before | {"protocol": record["protocol"]} == record

    results.claim(out, record, same=same)


def source_of(
    protocol: Protocol,
    slices: UserSlices | None,
    seed: int,
    out: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Source:
    """The user's slices, or the virtual electrode of that seed, simulated once and kept in `out`.

    Raises:
        InputError: the slices cannot be used.
        OutputError: the electrode cannot be written.
    """
    if slices is not None:
        return slices.read()
    folder = out / "electrodes" / f"seed{seed}"
    if not folder.exists():
        say(f"simulating the virtual electrode of seed {seed}")
    return electrode(protocol, seed, folder)
