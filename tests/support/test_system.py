import os
from pathlib import Path

import psutil
import pytest

from matphase.support import system


def test_memory_is_that_of_the_machine() -> None:
    assert 2**28 < system.memory_bytes() < 2**50
    assert system.memory_bytes() >= psutil.virtual_memory().available


def test_free_memory_is_what_programs_can_still_take(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < system.free_memory_bytes() <= system.memory_bytes()
    free = psutil.virtual_memory()._replace(available=12345)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert system.free_memory_bytes() == 12345


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= system.cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert system.cores() == 3


@pytest.mark.parametrize(("counted", "cores"), [(6, 6), (None, 1)])
def test_cores_where_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, counted: int | None, cores: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    assert system.cores() == cores


def test_no_other_module_needs_linux() -> None:
    root = Path(system.__file__).parents[1]
    names = ("sysconf", "sched_getaffinity", "statvfs", "getrusage", "/proc/")
    for path in root.rglob("*.py"):
        if path != Path(system.__file__):
            text = path.read_text("utf-8")
            assert not [name for name in names if name in text], path
