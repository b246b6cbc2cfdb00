"""Nothing gets its name before its content is on the disk."""

import os
from pathlib import Path

import pytest
from power import watched_disk

from matphase.support import durable
from matphase.support.files import atomic_write, replace


def a_folder(path: Path, files: int) -> Path:
    for number in range(files):
        part = path / f"part{number % 3}" / f"{number}.bin"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"content")
    return path


@pytest.mark.parametrize("files", [1, 20, durable.MANY + 1])
def test_a_folder_is_put_on_the_disk_with_all_that_it_holds(tmp_path: Path, files: int) -> None:
    folder = a_folder(tmp_path / "folder", files)
    with watched_disk(tmp_path) as disk:
        assert len(disk.lost(folder)) == files
        durable.sync(folder)
        assert disk.lost(folder) == []
        (folder / "part0" / "0.bin").write_bytes(b"changed")
        os.utime(folder / "part0" / "0.bin", ns=(1, 1))
        assert disk.lost(folder) == [folder / "part0" / "0.bin"]


@pytest.mark.parametrize("new", ["file", "folder"])
@pytest.mark.parametrize("old", ["nothing", "file", "folder"])
def test_what_has_its_name_is_on_the_disk(tmp_path: Path, new: str, old: str) -> None:
    target = tmp_path / "out"
    if old == "file":
        target.write_text("old", "utf-8")
    elif old == "folder":
        a_folder(target, 2)
    rename = Path.replace
    with watched_disk(tmp_path) as disk, pytest.MonkeyPatch.context() as patch:

        def checking(self: Path, place: Path) -> Path:
            if place == target:
                assert disk.lost(self) == []
            return rename(self, place)

        patch.setattr(Path, "replace", checking)
        made = tmp_path / "made"
        if new == "file":
            made.write_text("new", "utf-8")
        else:
            a_folder(made, 5)
        replace(made, target, lambda _: None)
        assert disk.lost(target) == []


def test_a_power_cut_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with watched_disk(tmp_path) as disk:
        for text in ("first", "second"):
            with atomic_write(path, overwrite=True) as beside:
                beside.write_text(text, "utf-8")
            disk.cut(tmp_path)
            assert path.read_text("utf-8") == text


def test_a_disk_that_refuses_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems say only at this moment that the disk is full."""
    path = tmp_path / "out"
    path.write_text("old", "utf-8")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Exception, match="No space left"), atomic_write(path, overwrite=True) as one:
        one.write_text("new", "utf-8")
    assert path.read_text("utf-8") == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
