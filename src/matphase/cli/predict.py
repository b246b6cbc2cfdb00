"""`matphase predict`: phases of a volume by a trained model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from matphase.cli.common import (
    Memory,
    Overwrite,
    Quiet,
    Unit,
    VoxelSize,
    keep_inputs,
    progress,
    reports_errors,
    say,
)
from matphase.cli.parsing import parse_memory, parse_voxel_size

if TYPE_CHECKING:
    from matphase.prediction.run import Crew


@reports_errors
def predict(
    model: Annotated[Path, typer.Argument(help="Model folder that `matphase train` wrote.")],
    volume: Annotated[
        str, typer.Argument(help="File, folder of slices, OME-Zarr, or FILE.h5:/dataset.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="Labels to write, .tif, .h5 or .ome.zarr; the maps go beside it."),
    ],
    samples: Annotated[int | None, typer.Option(min=1, help="Stochastic passes T.")] = None,
    seed: Annotated[int, typer.Option(help="Names the dropout masks.")] = 0,
    intensity: Annotated[
        Literal["model", "volume"],
        typer.Option(help="Scale grey values as in training, or by this volume's own range."),
    ] = "model",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write one map of probability a phase, too.")
    ] = False,
    keep_samples: Annotated[
        bool,
        typer.Option(
            "--keep-samples",
            help="Write the labels of each stochastic pass, too: the error bars of `measure`.",
        ),
    ] = False,
    memory: Memory = "2GB",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of this machine, each with its share of the cores."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask scheduler whose workers predict, as tcp://HOST:8786."),
    ] = None,
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    overwrite: Overwrite = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin anew, whatever an unfinished prediction left."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Name the phase of every voxel.

    Writes labels, and beside them what UGSM alone says, entropy, the IDK mask and a record; also
    the mask of trusted pixels by a model that makes a promise of them (`calibration.risk`), and of
    LCGAR's answers by a model that chooses where to take them (`idk.target`).
    After a kill the same command goes on with the blocks that are not finished.
    """
    from matphase.images import formats
    from matphase.prediction.records import (
        check_room,
        deferred_map,
        files_of,
        is_whole,
        probability_maps,
        sample_maps,
        trusted_map,
    )
    from matphase.support.errors import InputError, OutputError

    available = parse_memory(memory)
    if workers is not None and scheduler is not None:
        raise InputError("--workers and --scheduler exclude each other; give one of them")
    if scheduler is not None:
        volume = str(Path(volume).absolute())  # the workers have working folders of their own
    # of a prediction that was killed while its files took their places, some may be there
    overwrite = overwrite or (is_whole(out) and not restart)
    check_room(files_of(out), overwrite=overwrite)
    for path in files_of(out):
        keep_inputs(path, volume)
    if out.parent.resolve() == model.resolve():
        raise OutputError(f"{model} holds a model and nothing else; write {out.name} elsewhere")
    opened = formats.open(volume, voxel_size=parse_voxel_size(voxel_size), unit=unit)

    from matphase.method.folder import read
    from matphase.prediction import run
    from matphase.prediction.task import task_of

    trained = read(model)
    maps = probability_maps(out, trained.phases) if probabilities else []
    if trained.calibrator.guarantee is not None:
        maps.append(trusted_map(out))
    if trained.settings.idk.target == "gain":
        maps.append(deferred_map(out))
    if keep_samples:
        maps += sample_maps(out, samples or trained.settings.ugsm.samples)
    check_room(maps, overwrite=overwrite)
    for path in maps:
        keep_inputs(path, volume)
    task = task_of(
        trained,
        opened,
        samples=samples,
        seed=seed,
        intensity=intensity,
        memory=available,
        keep_samples=keep_samples,
    )
    with crew_of(workers, scheduler, model) as crew, progress(quiet=quiet) as reporter:
        written, record = run.predict_to_files(
            trained,
            opened,
            task,
            out,
            folder=model,
            probabilities=probabilities,
            restart=restart,
            crew=crew,
            reporter=reporter,
        )
    for name, fraction in record["volume_fractions"].items():
        say(f"{name:<20} {100 * fraction:6.2f} %", quiet=quiet)
    say(f"{'IDK':<20} {100 * record['idk_share']:6.2f} %", quiet=quiet)
    if record["deferred_share"] is not None:
        say(f"{'LCGAR has answered':<20} {100 * record['deferred_share']:6.2f} %", quiet=quiet)
    if record["trusted_share"] is not None:
        say(f"{'trusted':<20} {100 * record['trusted_share']:6.2f} %", quiet=quiet)
    say(f"written: {', '.join(str(path) for path in written)}", quiet=quiet)


@contextmanager
def crew_of(workers: int | None, scheduler: str | None, model: Path) -> Iterator["Crew | None"]:
    """Who computes the blocks; None: this process."""
    if workers is None and scheduler is None:
        yield None
        return
    from matphase.prediction.cluster import Cluster, cluster_at, local_cluster

    chosen = cluster_at(scheduler) if scheduler is not None else local_cluster(workers or 1)
    with chosen as client:
        if not client.nthreads():
            typer.echo(f"no worker is there yet; waiting for one to join {scheduler}", err=True)
        yield Cluster(client, model)
