"""`matphase predict`: phases of a volume by a trained model."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from matphase.cli.common import (
    Memory,
    Overwrite,
    Quiet,
    Unit,
    VoxelSize,
    keep_inputs,
    parse_memory,
    parse_voxel_size,
    progress,
    reports_errors,
    say,
)


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
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Name the phase of every voxel.

    Writes labels, and beside them what UGSM alone says, entropy, the IDK mask and a record; also
    the mask of trusted pixels by a model that makes a promise of them (`calibration.risk`), and of
    LCGAR's answers by a model that chooses where to take them (`idk.target`).
    """
    from matphase import formats
    from matphase.errors import OutputError
    from matphase.records import (
        check_room,
        deferred_map,
        files_of,
        probability_maps,
        sample_maps,
        save_prediction,
        trusted_map,
    )

    available = parse_memory(memory)
    check_room(files_of(out), overwrite=overwrite)
    for path in files_of(out):
        keep_inputs(path, volume)
    if out.parent.resolve() == model.resolve():
        raise OutputError(f"{model} holds a model and nothing else; write {out.name} elsewhere")
    opened = formats.open(volume, voxel_size=parse_voxel_size(voxel_size), unit=unit)

    from matphase.pipeline import load

    trained = load(model)
    maps = probability_maps(out, trained.phases) if probabilities else []
    if trained.promise is not None:
        maps.append(trusted_map(out))
    if trained.settings.idk.target == "gain":
        maps.append(deferred_map(out))
    if keep_samples:
        maps += sample_maps(out, samples or trained.settings.ugsm.samples)
    check_room(maps, overwrite=overwrite)
    for path in maps:
        keep_inputs(path, volume)
    began = time.monotonic()
    with progress(quiet=quiet) as reporter:
        result = trained.predict(
            opened,
            samples=samples,
            seed=seed,
            intensity=intensity,
            memory=available,
            keep_samples=keep_samples,
            reporter=reporter,
        )
    seconds = time.monotonic() - began
    written = save_prediction(
        result, out, model=model, seconds=seconds, probabilities=probabilities, overwrite=overwrite
    )
    for name, fraction in result.volume_fractions().items():
        say(f"{name:<20} {100 * fraction:6.2f} %", quiet=quiet)
    say(f"{'IDK':<20} {100 * result.idk.mean():6.2f} %", quiet=quiet)
    if result.deferred is not None:
        say(f"{'LCGAR has answered':<20} {100 * result.deferred.mean():6.2f} %", quiet=quiet)
    if result.trusted is not None:
        say(f"{'trusted':<20} {100 * result.trusted.mean():6.2f} %", quiet=quiet)
    say(f"written: {', '.join(str(path) for path in written)}", quiet=quiet)
