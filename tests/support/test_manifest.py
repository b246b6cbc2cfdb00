import json
import os
import shutil
from pathlib import Path

import pytest

from matphase.support.errors import OutputError
from matphase.support.manifest import (
    DEMO,
    ELECTRODE,
    MANIFEST,
    MODEL,
    FolderKind,
    checksum,
    content_of,
    write_manifest,
)

KIND = FolderKind("notes.json", r"notes\.json|[a-z]+\.tif|deep/\w+\.tif")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder as the program writes it, beside somebody's file."""
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    for name in ("notes.json", "a.tif", "b.tif", "deep/c.tif"):
        (folder / name).write_text(name)
    write_manifest(folder)
    (tmp_path / "thesis.tif").write_text("years of work")
    return folder


def test_a_folder_of_its_kind_may_be_replaced(written: Path) -> None:
    KIND(written)
    (written / "a.tif").unlink()
    KIND(written)
    shutil.rmtree(written)
    written.mkdir()
    KIND(written)


@pytest.mark.parametrize("name", ["thesis.docx", "c.tif", "deep/thesis.docx", "other/c.tif", ".x"])
def test_any_other_file_is_named(written: Path, name: str) -> None:
    (written / name).parent.mkdir(exist_ok=True)
    (written / name).write_text("years of work")
    with pytest.raises(OutputError, match=rf"out is not replaced, since it contains {name}, which"):
        KIND(written)


def test_links_folders_and_changed_files_are_not_the_programs(written: Path) -> None:
    (written / "a.tif").write_text("corrected by hand")
    with pytest.raises(OutputError, match=r"since a\.tif in it was changed after it was written"):
        KIND(written)
    (written / "a.tif").unlink()
    (written.parent / "elsewhere.tif").write_text("a.tif")
    (written / "a.tif").symlink_to(written.parent / "elsewhere.tif")
    with pytest.raises(OutputError, match=r"a\.tif in it was changed"):
        KIND(written)
    (written / "a.tif").unlink()
    (written / "a.tif").mkdir()
    with pytest.raises(OutputError, match=r"a\.tif in it was changed"):
        KIND(written)
    (written / "a.tif").rmdir()
    os.mkfifo(written / "a.tif")
    with pytest.raises(OutputError, match=r"a\.tif in it was changed"):
        KIND(written)
    (written / "a.tif").unlink()
    (written / "empty").mkdir()
    with pytest.raises(OutputError, match="contains empty"):
        KIND(written)
    (written / "empty").rmdir()
    (written / "link").symlink_to(written.parent)
    with pytest.raises(OutputError, match="contains link"):
        KIND(written)


@pytest.mark.parametrize(
    "name", ["thesis.docx", "../thesis.tif", "/etc/passwd", "A.tif", "a.TIF", "deep/../x.tif", ""]
)
def test_a_planted_manifest_covers_nothing_else(written: Path, name: str) -> None:
    """Neither names that the program does not give, nor other letters, nor other places."""
    (written / "thesis.docx").write_text("years of work")
    (written / "A.tif").write_text("years of work")
    sums = json.loads((written / MANIFEST).read_text())
    sums[name] = checksum(written / "thesis.docx")
    (written / MANIFEST).write_text(json.dumps(sums))
    with pytest.raises(OutputError, match=r"contains (thesis\.docx|A\.tif), which"):
        KIND(written)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 1000, '{"a.tif": 3}'])
def test_a_manifest_that_is_none_covers_nothing(written: Path, content: str) -> None:
    (written / MANIFEST).write_text(content)
    with pytest.raises(OutputError, match="is not replaced"):
        KIND(written)
    (written / MANIFEST).unlink()
    with pytest.raises(OutputError, match="is not replaced"):
        KIND(written)


def test_folders_of_another_kind_stay(written: Path) -> None:
    with pytest.raises(OutputError, match=r"contains other files \(and no config\.toml\)"):
        MODEL(written)
    with pytest.raises(OutputError, match="is not replaced"):
        KIND(written.parent)


def test_a_folder_in_a_folder_belongs_to_it(written: Path, tmp_path: Path) -> None:
    assert list(content_of(written)) == ["a.tif", "b.tif", MANIFEST, "notes.json", "deep/c.tif"]
    demo = tmp_path / "demo"
    (demo / "model").mkdir(parents=True)
    for name in ("metrics.json", "model/config.toml", "model/ugsm.safetensors"):
        (demo / name).write_text("x")
    write_manifest(demo / "model")
    write_manifest(demo)
    DEMO(demo)
    MODEL(demo / "model")
    (demo / "model" / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"contains model/notes\.txt"):
        DEMO(demo)
    with pytest.raises(OutputError, match="is not replaced"):
        ELECTRODE(demo)
