import errno
import os
import re
from pathlib import Path

import pytest

from matphase.support.errors import InputError, OutputError
from matphase.support.files import (
    MODEL_FILES,
    STORE_FILES,
    atomic_write,
    check_not_input,
    check_output,
    others_in,
    reason,
    remove,
    remove_at_once,
    removed_name,
    replace,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def a_folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file.txt").write_text(text, "utf-8")
    return path


def anything(folder: Path) -> None:
    """Allow any folder to be replaced."""


# --- atomic_write --------------------------------------------------------------------------------


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "out.v1.ome.tif"
    with atomic_write(path) as beside:
        assert beside.name == path.name
        assert beside.parent.parent == path.parent, "must be on the same disk"
        beside.write_text("half", "utf-8")
        assert not path.exists()
        beside.write_text("whole", "utf-8")
    assert path.read_text("utf-8") == "whole"
    assert names(path.parent) == {path.name}


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "model") as beside:
        a_folder(beside, "weights")
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model/file.txt").read_text("utf-8") == "weights"
    assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_what_was_there_stays_when_writing_fails(
    tmp_path: Path, kind: str, error: BaseException
) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        a_folder(out, "old")
    else:
        out.write_text("old", "utf-8")
    replaces = anything if kind == "folder" else None
    with (  # noqa: PT012
        pytest.raises(type(error)),
        atomic_write(out, overwrite=True, replaces=replaces) as beside,
    ):
        beside.write_text("half", "utf-8")
        raise error
    assert names(tmp_path) == {"out"}
    kept = out / "file.txt" if kind == "folder" else out
    assert kept.read_text("utf-8") == "old"


def test_a_full_disk_is_told_by_the_name_that_the_user_gave(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/somewhere/.matphase-xyz/out.tif")
    out = tmp_path / "out.tif"
    with pytest.raises(OutputError) as caught, atomic_write(out):
        raise full
    assert str(caught.value) == f"cannot write {out}: No space left on device"
    assert names(tmp_path) == set()


def test_errors_of_ours_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^scan 3 is damaged$"), atomic_write(tmp_path / "out"):
        raise InputError("scan 3 is damaged")


def test_a_block_that_writes_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    a_folder(tmp_path / "out", "old")
    with (
        pytest.raises(OutputError, match="cannot write"),
        atomic_write(tmp_path / "out", overwrite=True, replaces=anything),
    ):
        pass
    assert (tmp_path / "out/file.txt").read_text("utf-8") == "old"
    assert names(tmp_path) == {"out"}


def test_an_existing_path_is_refused_before_any_work(tmp_path: Path) -> None:
    out = a_folder(tmp_path / "out", "old")
    with pytest.raises(OutputError, match=r"out exists; .* overwrite=True"), atomic_write(out):
        pytest.fail("began to work")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_overwrite_replaces_a_thing_by_one_of_its_kind(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    for text in ("old", "new"):
        replaces = anything if kind == "folder" else None
        with atomic_write(out, overwrite=True, replaces=replaces) as beside:
            if kind == "folder":
                a_folder(beside, text)
            else:
                beside.write_text(text, "utf-8")
    written = out / "file.txt" if kind == "folder" else out
    assert written.read_text("utf-8") == "new"
    assert names(tmp_path) == {"out"}


def test_a_file_never_replaces_a_folder_nor_a_folder_a_file(tmp_path: Path) -> None:
    a_folder(tmp_path / "results", "mine")
    with (
        pytest.raises(OutputError, match="results is a folder; choose another name"),
        atomic_write(tmp_path / "results", overwrite=True),
    ):
        pytest.fail("began to work")
    (tmp_path / "scan.tif").write_text("mine")
    with (
        pytest.raises(OutputError, match=r"scan\.tif is a file, which is not replaced by a folder"),
        atomic_write(tmp_path / "scan.tif", overwrite=True, replaces=anything),
    ):
        pytest.fail("began to work")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="pipe is a pipe or a device"):
        check_output(tmp_path / "pipe", overwrite=True)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(OutputError, match="nowhere exists"):
        check_output(tmp_path / "nowhere", overwrite=False)


def test_a_file_that_comes_into_the_folder_meanwhile_stops_it(tmp_path: Path) -> None:
    out = a_folder(tmp_path / "out", "old")

    def only_own(folder: Path) -> None:
        if names(folder) != {"file.txt"}:
            raise OutputError(f"{folder} is not replaced")

    with (  # noqa: PT012
        pytest.raises(OutputError, match=f"^{out} is not replaced$"),
        atomic_write(out, overwrite=True, replaces=only_own) as beside,
    ):
        a_folder(beside, "new")
        (out / "thesis.tex").write_text("mine")
    assert names(out) == {"file.txt", "thesis.tex"}
    assert (out / "file.txt").read_text("utf-8") == "old"
    assert names(tmp_path) == {"out"}


def test_a_relative_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("old", "new"):
        with atomic_write(Path("out"), overwrite=True, replaces=anything) as beside:
            a_folder(beside, text)
    assert Path("out/file.txt").read_text("utf-8") == "new"
    assert names(tmp_path) == {"out"}


def test_files_are_readable_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "out") as beside:
            beside.write_text("x", "utf-8")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


# --- replace --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("no"), KeyboardInterrupt()])
def test_a_folder_comes_back_when_its_successor_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    new, old = a_folder(tmp_path / "new", "new"), a_folder(tmp_path / "old", "old")
    move = Path.replace

    def moved(self: Path, target: Path) -> Path:
        if self == new:
            raise error
        return move(self, target)

    monkeypatch.setattr(Path, "replace", moved)
    with pytest.raises(type(error)):
        replace(new, old, anything)
    assert names(tmp_path) == {"new", "old"}
    assert (old / "file.txt").read_text("utf-8") == "old"


# --- check_output ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [".", "..", "/", "a/.."])
def test_a_path_that_names_nothing(path: str) -> None:
    with pytest.raises(OutputError, match="has no name of its own"):
        check_output(Path(path), overwrite=True)


def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_text("x", "utf-8")
    with pytest.raises(OutputError, match=r"scan\.tif is a file, so .* cannot be created in it"):
        check_output(tmp_path / "scan.tif" / "deep" / "out", overwrite=False)


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)))
    with pytest.raises(OutputError, match="no permission to write in"):
        check_output(tmp_path / "not" / "yet" / "out", overwrite=False)
    assert asked == [(tmp_path, os.W_OK | os.X_OK)], "the folder that would be written"


@pytest.mark.parametrize("deep", ["out.tif", "a/b/out.tif"])
def test_nothing_is_written_into_a_model_or_a_store(tmp_path: Path, deep: str) -> None:
    for folder, files in (("model", MODEL_FILES), ("a.zarr", STORE_FILES[:1])):
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).touch()
        (tmp_path / f"link to {folder}").symlink_to(tmp_path / folder)
        for place in (folder, f"link to {folder}"):
            with pytest.raises(OutputError, match=f"{folder} is a (model folder|Zarr store); "):
                check_output(tmp_path / place / deep, overwrite=False)
    check_output(tmp_path / "a.zarr" / "labels" / "x", overwrite=False, inside_store=True)
    with pytest.raises(OutputError, match="is a model folder"):
        check_output(tmp_path / "model" / "labels" / "x", overwrite=False, inside_store=True)
    check_output(tmp_path / "out.tif", overwrite=False)


# --- check_not_input ------------------------------------------------------------------------------


def test_an_output_neither_replaces_nor_extends_an_input(tmp_path: Path) -> None:
    scan = a_folder(tmp_path / "scan", "slice")
    (tmp_path / "link").symlink_to(scan)
    for path, source, says in (
        ("scan/file.txt", "scan/file.txt", "would replace"),
        ("scan", "scan/file.txt", "would replace"),
        ("scan", "scan", "would replace"),
        ("scan/file.txt", "scan", "would replace a part of"),
        ("scan/new.tif", "scan", "would become a part of"),
        ("scan/deep/new.tif", "scan", "would become a part of"),
        ("link/new.tif", "scan", "would become a part of"),
        ("scan/new.tif", "link", "would become a part of"),
        ("scan/slice_7.tif", "scan/slice_*.tif", "would become a part of"),
    ):
        with pytest.raises(OutputError, match=rf"{path} {says} .*which is an input"):
            check_not_input(tmp_path / path, [tmp_path / source])
    (tmp_path / "s[1].tif").touch()
    for path, source in (
        *(("out.tif", "scan"), ("scan/new.tif", "scan/file.txt"), ("scan/x.tif", "scan/s_*.tif")),
        *(("s1.tif", "s[1].tif"), ("scan2", "scan")),
    ):
        check_not_input(tmp_path / path, [tmp_path / source])


# --- remove, reason -------------------------------------------------------------------------------


def test_remove_takes_files_folders_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    a_folder(tmp_path / "folder", "x")
    for name in ("file", "folder", "nothing"):
        remove(tmp_path / name)
    assert names(tmp_path) == set()


def test_remove_takes_a_link_and_leaves_what_it_points_to(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "folder", "x")
    (tmp_path / "link").symlink_to(folder)
    remove(tmp_path / "link")
    assert names(tmp_path) == {"folder"}
    assert names(folder) == {"file.txt"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("write failed\n, errno = 28"), "write failed , errno = 28"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_reason_is_one_line(error: OSError, text: str) -> None:
    assert reason(error) == text


OWN = re.compile(r"run\.json|.*\.ckpt")


def test_a_folder_that_is_removed_at_once_leaves_nothing_of_earlier_ones(tmp_path: Path) -> None:
    folder = tmp_path / "model.partial"
    left = removed_name(folder)
    for place in (folder, left):
        place.mkdir()
        (place / "run.json").touch()
    remove_at_once(folder, OWN)
    assert list(tmp_path.iterdir()) == []
    left.mkdir()
    remove_at_once(folder, OWN)
    assert list(tmp_path.iterdir()) == []


def test_files_of_the_user_in_a_folder_that_is_removed_stay(tmp_path: Path) -> None:
    folder = tmp_path / "model.partial"
    for place in (folder, removed_name(folder)):
        place.mkdir()
        for name in ("run.json", "a.ckpt", "notes.txt"):
            (place / name).touch()
    assert others_in(folder, OWN) == ["notes.txt"]
    remove_at_once(folder, OWN)
    assert names(folder) == names(removed_name(folder)) == {"notes.txt"}
    (tmp_path / "link").symlink_to(folder)
    (folder / "run.json").touch()
    remove_at_once(tmp_path / "link", OWN)
    assert names(folder) == {"notes.txt", "run.json"}
    assert not (tmp_path / "link").is_symlink()
