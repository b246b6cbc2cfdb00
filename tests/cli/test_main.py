"""What holds for every verb: help, exit status, messages, and a quick start."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import matphase.images.formats
from matphase.cli.common import parse_memory, parse_slices, parse_voxel_size
from matphase.support.errors import InputError

VERBS = [
    "demo",
    "simulate",
    "info",
    "train",
    "align",
    "predict",
    "measure",
    "evaluate",
    "reproduce",
]
SMALL = {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def python(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **SMALL, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_verb(call: Callable[..., Any]) -> None:
    result = call("--help")
    assert result.exit_code == 0
    listed = re.findall(r"^  (\w+)  ", result.stdout.split("Commands:")[1], flags=re.MULTILINE)
    assert sorted(listed) == sorted(VERBS)


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("demo", "--out --seed --smoke --overwrite"),
        ("simulate", "OUT_DIR --recipe --shape --seed --cnr --labels --label-map --overwrite"),
        (
            "reproduce",
            "TARGETS --preset --seeds --out --workers --config --images --labels --label-map",
        ),
        ("info", "VOLUME --voxel-size --unit --json"),
        (
            "train",
            "--images --labels --label-map --out --preset --config --seed --validation-images "
            "--validation-labels --resume --tensorboard --overwrite",
        ),
        (
            "predict",
            "MODEL VOLUME --out --samples --seed --intensity --probabilities --keep-samples "
            "--memory --voxel-size --unit --overwrite",
        ),
        ("align", "MODEL --images --labels --out --label-map --overwrite"),
        (
            "measure",
            "LABELS --label-map --voxel-size --unit --groups --axes --roles --conductivities "
            "--json --csv --pictures --pybamm --bpx --bpx-template --electrode --memory "
            "--overwrite",
        ),
        ("evaluate", "PREDICTION LABELS --label-map --json --overwrite"),
    ],
)
def test_help_names_every_option(call: Callable[..., Any], verb: str, options: str) -> None:
    result = call(verb, "--help")
    assert result.exit_code == 0
    for option in [*options.split(), "--quiet"]:
        assert re.search(rf"(?<![\w-]){re.escape(option.lower())}\b", result.stdout.lower()), option


def test_no_verb_shows_the_help_and_is_a_wrong_call(call: Callable[..., Any]) -> None:
    result = call()
    assert result.exit_code == 2
    assert "Commands:" in result.stdout + result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["segment"],
        ["info"],
        ["info", "a.tif", "b.tif"],
        ["info", "a.tif", "--colour"],
        ["train", "--images", "a.tif"],
        ["train", "--images", "a", "--labels", "b", "--label-map", "x=0,y=1"],
        ["predict", "model", "a.tif"],
        ["predict", "model", "a.tif", "--out", "b.tif", "--samples", "0"],
        ["predict", "model", "a.tif", "--out", "b.tif", "--samples", "many"],
        ["predict", "model", "a.tif", "--out", "b.tif", "--intensity", "slice"],
        ["evaluate", "a.tif"],
        ["measure", "a.tif", "--electrode", "left"],
        ["demo", "--seed", "x"],
    ],
)
def test_a_wrong_call_has_exit_status_2(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*words)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["predict", "--help"]])
def test_help_does_without_heavy_libraries(words: list[str]) -> None:
    code = (
        "import atexit, sys\n"
        "heavy = {'torch', 'lightning', 'scipy', 'matplotlib', 'h5py', 'skimage'}\n"
        "atexit.register(lambda: print('loaded:', heavy & set(sys.modules)))\n"
        "from matphase.cli import main; main()"
    )
    done = python(code, *words)
    assert done.returncode == 0
    assert "Usage: matphase" in done.stdout
    assert done.stdout.endswith("loaded: set()\n")
    assert done.stderr == ""


def test_an_import_of_the_pipeline_says_nothing() -> None:
    done = python("import matphase.model")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_terminal_that_lacks_a_sign_is_no_trouble(work: Path) -> None:
    code = "from matphase.cli import main; main()"
    words = ["evaluate", "labels.tif", "labels.tif", "--label-map", "pore=0,β=1,nickel=2"]
    done = python(code, *words, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"100.00 \xb1 0.00" in done.stdout
    assert r"F1 \u03b2" in done.stdout


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "stopped; nothing was written"),
        (MemoryError(), "out of memory; close other programs"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "out of memory; close"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory; close"),
        (
            PermissionError(errno.EACCES, "Permission denied", "scans/a.tif"),
            "cannot read or write scans/a.tif: Permission denied",
        ),
        (OSError("read failed (offset = 3\n, size = 5)"), "read failed (offset = 3 , size = 5)"),
        (InputError("one\ntwo"), "one two"),
    ],
)
def test_troubles_are_told_in_one_line(
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    message: str,
) -> None:
    monkeypatch.delenv("MATPHASE_DEBUG", raising=False)
    monkeypatch.setattr(matphase.images.formats, "open", fail(error))
    refused("info", "images.tif", says=[message])


def test_a_bug_is_not_disguised(
    work: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matphase.images.formats, "open", fail(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        call("info", "images.tif")


def test_debugging_shows_where_it_happened(
    work: Path,
    call: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MATPHASE_DEBUG", "1")
    result = call("info", "nothing.tif")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("matphase: nothing.tif does not exist; check the path\n")


@pytest.mark.parametrize(
    ("text", "amount"),
    [("2GB", 2 * 10**9), ("500 mb", 5 * 10**8), ("1.5g", 15 * 10**8), ("7", 7), ("1TB", 10**12)],
)
def test_memory(text: str, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize("text", ["", "GB", "0", "0GB", "-1GB", "2 apples", "2GBGB", "1e9", "nan"])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(InputError, match="write it like 2GB"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [(None, None), ("0.2", 0.2), ("0.2,0.1,0.1", (0.2, 0.1, 0.1)), (" 1 , 2 ", (1.0, 2.0))],
)
def test_voxel_size(text: str | None, size: Any) -> None:
    assert parse_voxel_size(text) == size


@pytest.mark.parametrize("text", ["", "a", "0.2um", "1,,2", "1;2"])
def test_what_is_no_voxel_size(text: str) -> None:
    with pytest.raises(InputError, match=r"write 0\.2, or"):
        parse_voxel_size(text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0,10,20", [0, 10, 20]), ("7", [7]), ("0:100:40", [0, 40, 80]), ("3:6", [3, 4, 5])],
)
def test_numbers_of_slices(text: str, numbers: list[int]) -> None:
    assert parse_slices(text) == numbers
    assert parse_slices(None) is None


@pytest.mark.parametrize("text", ["", "one", "0;5", "1:2:3:4", "0:5:0"])
def test_what_is_no_number_of_a_slice(text: str) -> None:
    with pytest.raises(InputError, match="0,10,20"):
        parse_slices(text)
