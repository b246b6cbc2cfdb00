"""What holds for every verb: help, exit status, messages, and a quick start."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

import matphase as mp
import matphase.images.formats
from matphase.cli.common import (
    Memory,
    Overwrite,
    Unit,
    VoxelSize,
    reports_errors,
    with_options,
)
from matphase.support.errors import InputError
from samples import striped

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
        (
            "simulate",
            "OUT_DIR --recipe --shape --seed --cnr --labels --label-map --axes --overwrite",
        ),
        (
            "reproduce",
            "TARGETS --preset --seeds --out --workers --config --images --labels --label-map "
            "--axes --label-axes",
        ),
        ("info", "VOLUME --mask --axes --shape --dtype --voxel-size --unit --json"),
        (
            "train",
            "--images --labels --label-map --out --preset --config --set --seed --axes --shape "
            "--dtype --label-axes --label-dtype --label-slices --mask --voxel-size --unit "
            "--validation-mask --validation-images --validation-labels --resume --tensorboard "
            "--overwrite",
        ),
        (
            "predict",
            "MODEL VOLUME --out --samples --seed --intensity --probabilities --keep-samples "
            "--memory --mask --resample --axes --shape --dtype --voxel-size --unit --overwrite",
        ),
        (
            "align",
            "MODEL --images --labels --out --label-map --axes --shape --dtype --label-axes "
            "--label-dtype --label-slices --mask --voxel-size --unit --overwrite",
        ),
        (
            "measure",
            "LABELS --label-map --voxel-size --unit --axes --shape --dtype --groups --only --axis "
            "--roles --conductivities --mask --crop --json --csv --pictures --pybamm --bpx "
            "--bpx-template --electrode --memory --overwrite",
        ),
        (
            "evaluate",
            "PREDICTION LABELS --label-map --label-slices --mask --voxel-size --unit --axes "
            "--shape --dtype --json --overwrite",
        ),
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


@pytest.mark.parametrize(
    ("message", "printed"),
    [
        ("a.tif exists; pass overwrite=True", "a.tif exists; pass --overwrite"),
        ("give voxel_size= and unit=.", "give --voxel-size and --unit."),
        ("raise it (memory='4GB')", "raise it (--memory 4GB)"),
        ("give label_map='pore=0,carbon=1'", "give --label-map pore=0,carbon=1"),
        ("no such argument: colour=True, pore=0", "no such argument: colour=True, pore=0"),
        ("of what groups= says", "of what --only says"),
    ],
)
def test_errors_name_the_options_of_the_command(message: str, printed: str) -> None:
    def verb(
        voxel_size: VoxelSize = None,
        unit: Unit = None,
        memory: Memory = "2GB",
        label_map: Annotated[str, typer.Option(help="Phases.")] = "",
        groups: Annotated[str, typer.Option("--only", "-o")] = "",
        overwrite: Overwrite = False,
    ) -> None: ...

    assert with_options(message, verb) == printed


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


# --- what fails outside of a command --------------------------------------------------------------


def run_alone(
    *words: str, memory: int | None = None, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process, perhaps with so many bytes of address space."""

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    return subprocess.run(
        [sys.executable, "-m", "matphase", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if memory is None else limit,
        **how,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"]])
def test_output_that_nobody_can_take_is_one_sentence(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = run_alone(*words, stdout=full)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="limits differ elsewhere")
@pytest.mark.parametrize(
    "megabytes", [150, 300, *(pytest.param(some, marks=pytest.mark.slow) for some in (600, 900))]
)
def test_memory_that_runs_out_during_imports_is_one_sentence(
    model_folder: Path, megabytes: int, tmp_path: Path
) -> None:
    mp.save(tmp_path / "scan.tif", mp.Volume.from_array(striped(1, 48, 56).images))
    words = ["predict", str(model_folder), "scan.tif", "--out", "out.tif"]
    done = run_alone(*words, memory=megabytes * 10**6, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("matphase: out of memory; close other programs"), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scan.tif"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("libx.so: cannot allocate memory in static TLS block"),
        RuntimeError("can't start new thread"),
        SystemError("error return without exception set"),
    ],
)
def test_what_libraries_say_when_memory_runs_out(error: Exception) -> None:
    @reports_errors
    def verb() -> None:
        raise error

    with pytest.raises(typer.Exit):
        verb()


def test_a_bug_is_not_hidden() -> None:
    @reports_errors
    def verb() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        verb()
