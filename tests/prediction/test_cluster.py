"""Predictions by several processes: the same files, also where a worker is killed."""

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

import dask
import numpy as np
import psutil
import pytest
from distributed import Client

import matphase as mp
from matphase.method.model_folder import checksum_of, read
from matphase.prediction import cluster, run
from matphase.prediction.blocks import task_of
from matphase.support.device import arithmetic
from matphase.support.errors import InputError, MatPhaseError
from matphase.support.progress import Silent
from samples import striped

SMALL = 5 * 10**6
"""Memory for blocks that are rectangles of the slices below."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.tif"
    mp.save(path, mp.Volume.from_array(striped(2, 89, 101).images))
    return path


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster.local_cluster(2) as made:
        yield made


def predicted(
    folder: Path, scan: Path, out: Path, crew: run.Crew | None, reporter: Silent | None = None
) -> list[np.ndarray]:
    model, volume = read(folder), mp.open(scan)
    task = task_of(model, volume, memory=SMALL)
    result = run.predict_to_files(
        *(model, volume, task, out),
        folder=folder,
        probabilities=True,
        crew=crew,
        reporter=reporter or Silent(),
    )
    return [one.to_array() for name in result.maps for one in result.volumes(name)]


@pytest.fixture(scope="module")
def undisturbed(
    model_folder: Path, scan: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[np.ndarray]:
    return predicted(model_folder, scan, tmp_path_factory.mktemp("one") / "out.tif", None)


class Killing(Silent):
    """A reporter that kills a worker when some blocks are done."""

    def __init__(self, client: Client, after: int = 1) -> None:
        self.client, self.left = client, after

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(next(iter(self.client.run(os.getpid).values())), signal.SIGKILL)


def test_two_workers_write_what_one_process_writes(
    client: Client, model_folder: Path, scan: Path, tmp_path: Path, undisturbed: list[np.ndarray]
) -> None:
    crew = cluster.Cluster(client, model_folder)
    for one, other in zip(
        predicted(model_folder, scan, tmp_path / "out.tif", crew), undisturbed, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_python_starts_workers_for_a_model_that_was_never_saved(
    model: mp.MatPhase,
    client: Client,
    scan: Path,
    tmp_path: Path,
    undisturbed: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the workers of the other tests stand for those that it would start
    monkeypatch.setattr(cluster, "local_cluster", lambda _: nullcontext(client))
    unsaved = mp.MatPhase(settings=model.settings)
    unsaved._trained = model._trained
    result = unsaved.predict(
        scan, out=tmp_path / "out.ome.zarr", probabilities=True, memory=SMALL, workers=1
    )
    found = [one.to_array() for name in result.maps for one in result.volumes(name)]
    for one, other in zip(found, undisturbed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert result.record["model"] is None
    assert not list(tmp_path.glob(".*"))


def test_workers_keep_memory_as_other_processes_do(client: Client) -> None:
    """Two times as fast as with what Dask sets, by benchmarks/workers.py."""
    (found,) = set(client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_").values())
    assert found == os.environ.get("MALLOC_TRIM_THRESHOLD_")


@pytest.mark.parametrize("after", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5))])
def test_a_worker_that_is_killed_costs_only_time(
    client: Client,
    model_folder: Path,
    scan: Path,
    tmp_path: Path,
    undisturbed: list[np.ndarray],
    after: int,
) -> None:
    crew, killing = cluster.Cluster(client, model_folder), Killing(client, after)
    found = predicted(model_folder, scan, tmp_path / "out.tif", crew, killing)
    assert killing.left <= 0
    for one, other in zip(found, undisturbed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.slow
def test_a_scheduler_that_goes_while_blocks_are_predicted(
    model_folder: Path, scan: Path, tmp_path: Path, undisturbed: list[np.ndarray]
) -> None:
    with cluster.local_cluster(1) as client:

        class Closing(Silent):
            def advance(self, steps: int = 1, note: str = "") -> None:
                client.cluster.close()

        crew = cluster.Cluster(client, model_folder)
        with pytest.raises(MatPhaseError, match="the Dask scheduler has stopped; start one again"):
            predicted(model_folder, scan, tmp_path / "out.tif", crew, Closing())
    found = predicted(model_folder, scan, tmp_path / "out.tif", None)
    for one, other in zip(found, undisturbed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_a_worker_refuses_is_told_here_and_blocks_that_end_workers_are_given_up(
    model_folder: Path, scan: Path, tmp_path: Path
) -> None:
    """One worker for both, since a process takes long to start."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        cluster.local_cluster(1) as client,
    ):
        crew, killing = cluster.Cluster(client, model_folder), Killing(client)

        def unseen(job: run.Job, todo: Any) -> Any:
            elsewhere = replace(job.store, folder=Path("/where/no/worker/looks"))
            return crew(replace(job, store=elsewhere), todo)

        with pytest.raises(InputError, match="worker does not see /where/no/worker/looks; let all"):
            predicted(model_folder, scan, tmp_path / "out.tif", unseen)
        client.run(setattr, cluster, "version", str)
        with pytest.raises(InputError, match=r"a Dask worker has MatPhase matphase, but this is"):
            predicted(model_folder, scan, tmp_path / "out.tif", crew)
        assert list(tmp_path.iterdir()) == []
        client.run(setattr, cluster, "version", version)
        with pytest.raises(MatPhaseError, match=r"several workers died at block \d+"):
            predicted(model_folder, scan, tmp_path / "out.tif", crew, killing)


@contextmanager
def a_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Address of a server that is no Dask scheduler."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    kept.append(connection)
                    answer(connection)

        Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


SERVERS: dict[str, Callable[[socket.socket], None]] = {
    "silent": lambda _: None,
    "closing": lambda connection: connection.close(),
    "web": lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9),
}


@pytest.mark.parametrize("kind", [*SERVERS, "nobody", "nonsense"])
def test_nobody_answers(
    kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 1)
    with ExitStack() as stack:
        if kind in SERVERS:
            address = stack.enter_context(a_server(SERVERS[kind]))
        else:
            address = {"nobody": "tcp://127.0.0.1:9", "nonsense": "nonsense://x"}[kind]
        with (
            pytest.raises(InputError, match=f"no Dask scheduler answers at {address}; .*tcp://H"),
            cluster.cluster_at(address),
        ):
            pass
    assert capfd.readouterr().err == ""


def test_no_other_machine_can_connect_to_what_is_started_here(client: Client) -> None:
    """Scheduler, workers and dashboards, and whatever else listens."""
    pids = {os.getpid(), *client.run(os.getpid).values()}
    listening = [
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}
    assert client.dashboard_link is None or "//127.0.0.1:" in client.dashboard_link


def test_workers_with_another_version_or_model(model_folder: Path) -> None:
    checksum, here = checksum_of(model_folder), arithmetic("auto")
    with pytest.raises(InputError, match="install the same version"):
        cluster._work(("0.0.0", here), model_folder, checksum, None, None)  # type: ignore[arg-type]
    other = version("matphase"), "bfloat16 on a machine of its own"
    with pytest.raises(InputError, match="use workers of one kind"):
        cluster._work(other, model_folder, checksum, None, None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sees another model"):
        cluster._model(model_folder, "of another")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as it was: dask-jobqueue takes it over on import, for this process and for good."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.filterwarnings("ignore:Port:UserWarning")
def test_the_manual_has_a_script_for_slurm() -> None:
    pytest.importorskip("dask_jobqueue")
    manual = Path(__file__).parents[2].joinpath("docs/volumes.md").read_text("utf-8")
    (script,) = re.findall(r"```python\n(from dask_jobqueue.*?)```", manual, re.DOTALL)
    made: dict[str, object] = {}
    exec(script.split("cluster.scale")[0], made)
    with made["cluster"] as slurm:  # type: ignore[attr-defined]
        job = slurm.job_script()
    assert "#SBATCH --cpus-per-task=16" in job
    assert "#SBATCH --mem=30G" in job
    assert re.search(r"--nthreads 1\b", job)
    assert "OMP_NUM_THREADS=16" in job
    assert "MALLOC_TRIM_THRESHOLD_=67108864" in job
