"""The engine with trials that take no time."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from steps import Step, fail_at, note

from matphase.reproduce import engine, workers
from matphase.reproduce.engine import BEGUN, IN_LINE, Case, result_of, results_of
from matphase.reproduce.results import RESULT, Result, claim, conditions_of
from matphase.support.errors import InputError, Interrupted, MatPhaseError, OutputError

WORKERS = pytest.mark.parametrize("workers", [IN_LINE, 2])


FIRST = Step("a", arrays=("array.npz",))
SECOND = Step("b", FIRST)
THIRD = Step("c", SECOND)


def run(trials: Any, compute: Any, out: Path, **options: Any) -> list[str]:
    """What the engine says."""
    said: list[str] = []
    engine.run(trials, compute, out, say=said.append, **options)
    return said


def logged(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def test_the_folder_of_a_case_has_plain_characters_only() -> None:
    place = Case("areas/ball in voxels of 2:1:1 (radius) 5", 3).place
    assert place == "areas/ball_in_voxels_of_2_1_1_radius_5/seed3"


@WORKERS
def test_a_trial_runs_after_what_it_needs(tmp_path: Path, workers: int) -> None:
    log = tmp_path / "log"
    said = run([THIRD, SECOND], partial(note, log), tmp_path / "out", workers=workers)
    assert logged(log) == ["a", "b", "c"]
    assert said[0] == "0 of 3 trials are done"
    assert said[1:] == [
        f"{number} of 3 trials: {name} in 0 s; about 0 min left"
        for number, name in enumerate("abc", 1)
    ]


@WORKERS
def test_results_are_kept_with_machine_and_time(tmp_path: Path, workers: int) -> None:
    found = engine.run(
        [SECOND], partial(note, tmp_path / "log"), tmp_path / "out", workers=workers, say=print
    )
    assert found[SECOND]["found"] == "b"
    assert found[SECOND]["built_on"] == "w"
    assert found[SECOND]["seconds"] >= 0
    assert {"cpu", "cores", "torch"} <= set(found[SECOND]["machine"])
    assert result_of(SECOND, tmp_path / "out") == found[SECOND]
    assert results_of([THIRD, FIRST], tmp_path / "out").keys() == {FIRST}


def test_a_second_call_does_nothing_and_more_trials_add(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    cases = [Case("one way", seed) for seed in range(3)]
    run(cases[:2], partial(note, log), out)
    assert run(cases[:2], partial(note, log), out) == ["2 of 2 trials are done"]
    said = run(cases, partial(note, log), out)
    assert said[0] == "2 of 3 trials are done; about 0 min left"
    assert said[1].startswith("3 of 3 trials: one way, seed 2 in ")
    assert log.read_text().splitlines() == [f"one way, seed {seed}" for seed in range(3)]


@pytest.mark.parametrize("damaged", ["", "{", '{"found": "b", "seconds"', "[1, 2]", "null"])
def test_a_damaged_result_is_computed_again(tmp_path: Path, damaged: str) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    run([SECOND], partial(note, log), out)
    (out / "b" / RESULT).write_text(damaged)
    assert result_of(SECOND, out) is None
    run([SECOND], partial(note, log), out)
    assert logged(log) == ["a", "b", "b"]
    found = result_of(SECOND, out)
    assert found is not None
    assert found["found"] == "b"


@WORKERS
def test_a_failing_trial_ends_the_run_in_its_own_words(tmp_path: Path, workers: int) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    with pytest.raises(InputError, match="b cannot be computed"):
        run([THIRD], partial(fail_at, log, "b"), out, workers=workers)
    assert result_of(FIRST, out) is not None
    run([THIRD], partial(note, log), out, workers=workers)
    assert logged(log) == ["a", "b", "c"]


@WORKERS
def test_the_rest_goes_on_past_a_failing_trial(tmp_path: Path, workers: int) -> None:
    log, out, last = tmp_path / "log", tmp_path / "out", Step("d")
    said = run([THIRD, last], partial(fail_at, log, "b"), out, workers=workers, keep_going=True)
    assert "b failed: InputError: b cannot be computed" in said
    # c needs b
    assert sorted(logged(log)) == ["a", "d"]
    assert results_of([FIRST, SECOND, THIRD, last], out).keys() == {FIRST, last}


def test_lost_arrays_are_made_again_where_they_are_read(tmp_path: Path) -> None:
    """Results alone, as they are shared, are enough for a table but not to build on."""
    log, out = tmp_path / "log", tmp_path / "out"
    run([FIRST], partial(note, log), out)
    (out / "a" / "array.npz").unlink()
    assert run([FIRST], partial(note, log), out) == ["1 of 1 trials are done"]
    run([SECOND], partial(note, log), out)
    assert logged(log) == ["a", "a", "b"]
    (out / "a" / "array.npz").unlink()
    run([FIRST], partial(note, log), out, with_arrays=[FIRST])
    assert logged(log) == ["a", "a", "b", "a"]


def test_what_was_built_on_other_weights_is_made_again(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    run([SECOND], partial(note, log), out)
    (out / "a" / RESULT).unlink()
    (out / "b" / "ugsm.ckpt").write_text("of the old weights")
    run([FIRST, SECOND], partial(note, log, weights="other"), out)
    assert logged(log) == ["a", "b", "a", "b"]
    found = result_of(SECOND, out)
    assert found is not None
    assert found["built_on"] == "other"
    assert not (out / "b" / "ugsm.ckpt").exists()


def test_files_of_the_user_in_the_folder_of_a_trial_stay(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    run([SECOND], partial(note, log), out)
    for name in ("thesis.tex", "notes.npz.txt"):
        (out / "a" / RESULT).unlink(missing_ok=True)
        (out / "b" / name).write_text("mine")
        with pytest.raises(OutputError, match=f"it holds {name}, which is of no trial"):
            run([FIRST, SECOND], partial(note, log, weights=name), out)
        (out / "b" / name).rename(tmp_path / name)
    (out / "c").mkdir()
    (out / "c" / "x.npz").write_text("mine")
    with pytest.raises(OutputError, match=r"it holds x\.npz"):
        run([Step("c")], partial(note, log), out)
    assert (out / "c" / "x.npz").read_text() == "mine"


def test_a_checkpoint_on_the_same_weights_is_kept(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    run([SECOND], partial(note, log), out)
    (out / "b" / RESULT).unlink()
    (out / "b" / "ugsm.ckpt").write_text("half way")
    assert (out / "b" / BEGUN).read_text() == "w"
    run([SECOND], partial(note, log), out)
    assert (out / "b" / "ugsm.ckpt").exists()


def test_what_all_need_is_prepared_before(tmp_path: Path) -> None:
    prepared: list[list[Step]] = []
    for _ in range(2):
        run([SECOND], partial(note, tmp_path / "log"), tmp_path / "o", prepare=prepared.append)
    assert prepared == [[FIRST, SECOND]]


def stop(step: Step, folder: Path) -> Result:
    raise KeyboardInterrupt


def test_a_stop_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="the same command goes on"):
        run([FIRST], stop, tmp_path)


def test_a_worker_that_is_killed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = workers.ProcessPoolExecutor.submit

    def submit_and_kill(self: Any, *arguments: Any) -> Any:
        future = submit(self, *arguments)
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        return future

    monkeypatch.setattr(workers.ProcessPoolExecutor, "submit", submit_and_kill)
    for keep_going in (False, True):
        with pytest.raises(MatPhaseError, match="call again with fewer --workers"):
            run(
                [FIRST],
                partial(note, tmp_path / "log"),
                tmp_path / str(keep_going),
                workers=1,
                keep_going=keep_going,
            )


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """Else they would go on for minutes, beside the call that continues."""
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c',\n"
        "    'import os, time; from matphase.reproduce.workers import _prepare; _prepare(1);'\n"
        f'    \'open(r"{tmp_path}/pid", "w").write(str(os.getpid())); time.sleep(60)\'])\n'
        f"while not os.path.exists(r'{tmp_path}/pid'): time.sleep(0.05)\n"
        "time.sleep(0.3); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=False)
    child = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    if not child.parent.parent.exists():
        pytest.skip("no /proc here to see processes in")
    for _ in range(100):
        if not child.exists() or child.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker is still running")


PROGRAM = """
import sys, time
from pathlib import Path
from matphase.reproduce.engine import Case, run

def compute(case, folder):
    while case.seed == 1 and not Path(sys.argv[2]).exists():
        time.sleep(0.05)
    return {"seed": case.seed}

run([Case("one", seed) for seed in range(3)], compute, Path(sys.argv[1]),
    say=lambda text: print(text, flush=True))
"""


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    go = tmp_path / "go"
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "out"), str(go)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "0 of 3 trials are done\n"
        assert first.stdout.readline().startswith("1 of 3 trials: one, seed 0 in ")
        first.kill()
    go.touch()
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    said = second.stdout.splitlines()
    assert said[0].startswith("1 of 3 trials are done; about ")
    assert len(said) == 3
    results = [result_of(Case("one", seed), tmp_path / "out") for seed in range(3)]
    assert [result["seed"] for result in results if result] == [0, 1, 2]


class TestClaim:
    def test_a_folder_belongs_to_its_conditions(self, tmp_path: Path) -> None:
        claim(tmp_path / "out", {"steps": 1})
        claim(tmp_path / "out", {"steps": 1})
        assert conditions_of(tmp_path / "out") == {"steps": 1}
        with pytest.raises(InputError, match="results of another preset"):
            claim(tmp_path / "out", {"steps": 2})
        claim(tmp_path / "out", {"steps": 2}, same=lambda before: before["steps"] == 1)
        (tmp_path / "out" / "protocol.json").write_text("{")
        with pytest.raises(InputError, match="results of another preset"):
            claim(tmp_path / "out", {"steps": 1}, same=lambda _: True)

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("mine")
        with pytest.raises(InputError, match="holds other files than results"):
            claim(tmp_path, {})
        with pytest.raises((InputError, OutputError)):
            claim(tmp_path / "thesis.tex", {})
        assert (tmp_path / "thesis.tex").read_text() == "mine"
        assert json.dumps(conditions_of(tmp_path)) == "null"
