"""A folder with slices to work on, and ways to call the command line there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from typer.testing import CliRunner

import matphase as mp
from matphase.cli import app
from matphase.settings import Settings
from samples import Sample

Call = Callable[..., Any]
Refused = Callable[..., str]


@pytest.fixture
def work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: Sample, tiny_settings: Settings
) -> Path:
    """The current folder, with images.tif, labels.tif, and tiny.toml for a training of seconds."""
    monkeypatch.chdir(tmp_path)
    mp.save("images.tif", mp.Volume.from_array(sample.images, voxel_size=0.2, unit="um"))
    mp.save("labels.tif", mp.Volume.from_array(sample.labels))
    Path("tiny.toml").write_text(tomli_w.dumps(tiny_settings.model_dump()), "utf-8")
    return tmp_path


@pytest.fixture
def call() -> Call:
    """Run `matphase` with the given words; an error that is not meant for the user escapes."""

    def called(*words: object) -> Any:
        return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)

    return called


@pytest.fixture
def refused(work: Path, call: Call) -> Refused:
    """Run `matphase`, which must fail in one line that has all of `says`, and change nothing.

    Only what begins with `new` may be there afterwards that was not there before.
    """

    def called(*words: object, says: list[str], new: str = "/") -> str:
        before = contents(work)
        result = call(*words)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert re.fullmatch(r"matphase: .+\n", result.stderr), result.stderr
        for part in says:
            assert part in result.stderr
        after = {path: held for path, held in contents(work).items() if not path.startswith(new)}
        assert after == {path: held for path, held in before.items() if not path.startswith(new)}
        hidden = (str(path.relative_to(work)) for path in work.rglob(".*"))
        assert all(path.startswith(new) for path in hidden), "temporary files are left"
        return str(result.stderr)

    return called


def contents(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a folder, hidden files included: path to bytes, or None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
