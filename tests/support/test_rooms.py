import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from matphase.support.files import atomic_write
from matphase.support.rooms import UNFINISHED, clear_rooms, retire, working_room

PROGRAM = """
import sys, time
from pathlib import Path
from matphase.support.rooms import retire, working_room
with working_room(Path(sys.argv[1])) as room:
    (room / "out.tif").write_text("half")
    if sys.argv[2:]:
        retire(Path(sys.argv[1]) / sys.argv[2], room)
    print(room.name, flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def writing(folder: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """A process that writes beside us, and the name of its room."""
    command = [sys.executable, "-c", PROGRAM, str(folder), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    process, room = writing(tmp_path)
    with atomic_write(tmp_path / "mine.txt") as beside:
        beside.write_text("whole")
    assert names(tmp_path) == {"mine.txt", room}, "the other process is still writing"
    assert (tmp_path / room / "out.tif").read_text() == "half"
    ended(process)
    assert room in names(tmp_path)
    with atomic_write(tmp_path / "other.txt") as beside:
        beside.write_text("whole")
    assert names(tmp_path) == {"mine.txt", "other.txt"}


def test_what_was_to_be_replaced_comes_back_after_a_kill(tmp_path: Path) -> None:
    for name in ("model", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    process, _ = writing(tmp_path, "model")
    assert names(tmp_path) != {"model", "old"}
    ended(process)
    clear_rooms(tmp_path)
    assert names(tmp_path) == {"model", "old"}
    assert (tmp_path / "model" / "weights").read_text() == "model"


def test_what_was_replaced_before_the_kill_is_removed(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("old")
    process, _ = writing(tmp_path, "model")
    (tmp_path / "model").write_text("new")
    ended(process)
    clear_rooms(tmp_path)
    assert names(tmp_path) == {"model"}
    assert (tmp_path / "model").read_text() == "new"


def test_an_error_gives_back_what_was_retired(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("old")
    with pytest.raises(KeyboardInterrupt), working_room(tmp_path) as room:  # noqa: PT012
        retire(tmp_path / "model", room)
        assert not (tmp_path / "model").exists()
        raise KeyboardInterrupt
    assert names(tmp_path) == {"model"}


def test_folders_of_others_stay(tmp_path: Path) -> None:
    for name in ("notes", "two", "file"):
        (tmp_path / f"{UNFINISHED}{name}").mkdir()
    (tmp_path / f"{UNFINISHED}notes" / "thesis.tex").write_text("mine")
    for name in (".matphase.lock", "a.txt", "b.txt"):
        (tmp_path / f"{UNFINISHED}two" / name).touch()
    (tmp_path / f"{UNFINISHED}file").rmdir()
    (tmp_path / f"{UNFINISHED}file").touch()
    (tmp_path / f"{UNFINISHED}link").symlink_to(tmp_path / f"{UNFINISHED}two")
    before = names(tmp_path)
    clear_rooms(tmp_path)
    assert names(tmp_path) == before
    (tmp_path / f"{UNFINISHED}empty").mkdir()
    clear_rooms(tmp_path)
    assert names(tmp_path) == before


def test_a_room_that_another_process_takes_for_a_leftover_is_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp

    def taken(**where: str) -> str:
        made = make(**where)
        clear_rooms(tmp_path)
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
    with working_room(tmp_path) as room:
        clear_rooms(tmp_path)
        assert room.is_dir()
    assert names(tmp_path) == set()
