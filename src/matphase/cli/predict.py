"""`matphase predict`: the phases of a volume, by a trained model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from matphase.cli.common import (
    MaskOption,
    Memory,
    ModelName,
    Overwrite,
    Quiet,
    Tta,
    Unit,
    VoxelSize,
    one_or_many,
    progress,
    reports_errors,
    say,
)
from matphase.cli.opening import Axes, Layout, RawDtype, RawShape
from matphase.cli.parsing import parse_memory


@reports_errors
def predict(
    model: ModelName,
    volume: Annotated[
        list[str],
        typer.Argument(
            help="File, folder of slices, OME-Zarr, FILE.h5:/dataset, pattern, or several files of "
            "one slice each."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File for the labels, .tif, .h5 or .ome.zarr; the other maps are written beside "
            "it."
        ),
    ],
    mask: MaskOption = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Stochastic passes T.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the dropout masks.")] = 0,
    intensity: Annotated[
        Literal["model", "volume"],
        typer.Option(help="Scale grey values as in training, or by this volume's own range."),
    ] = "model",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probability of each phase.")
    ] = False,
    keep_samples: Annotated[
        bool,
        typer.Option(
            "--keep-samples",
            help="Also write the labels of each stochastic pass, for the error bars of `measure`.",
        ),
    ] = False,
    mutual_information: Annotated[
        bool,
        typer.Option(
            "--mutual-information",
            help="Also write the part of the uncertainty that more training data would remove.",
        ),
    ] = False,
    tta: Tta = None,
    memory: Memory = "2GB",
    resample: Annotated[
        bool,
        typer.Option(
            "--resample",
            help="Bring the volume to the voxel size that the model was trained at, and the maps "
            "back.",
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on this machine, each with its share of the cores."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask scheduler whose workers predict, as tcp://HOST:8786."),
    ] = None,
    axes: Axes = None,
    shape: RawShape = None,
    dtype: RawDtype = None,
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    overwrite: Overwrite = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Start from the beginning, whatever an unfinished prediction left."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Predict the phase of every voxel.

    Writes the labels, and beside them the labels of UGSM alone, the entropy, the mask of uncertain
    voxels and a record; also the mask of trusted voxels, if the model guarantees a risk
    (`calibration.risk`), and the mask of voxels that LCGAR decided, if the model chooses them
    (`idk.target`). If the command is interrupted, the same command goes on with the blocks that
    are not finished.
    """
    from matphase.prediction.files import record_file, recorded_files
    from matphase.prediction.maps import KINDS

    available = parse_memory(memory)
    record_file(out)  # refuses a name of another kind before anything is loaded
    if scheduler is not None:
        # workers have working folders of their own
        volume = [str(Path(part).absolute()) for part in volume]
    opened = Layout(axes, shape, dtype).open(one_or_many(volume), voxel_size, unit)

    from matphase.model import load

    trained = load(model)
    with progress(quiet=quiet) as reporter:
        result = trained.predict(
            opened,
            mask=mask,
            out=out,
            samples=samples,
            seed=seed,
            intensity=intensity,
            memory=available,
            probabilities=probabilities,
            keep_samples=keep_samples,
            mutual_information=mutual_information,
            tta=tta,
            resample=resample,
            workers=workers,
            scheduler=scheduler,
            overwrite=overwrite,
            restart=restart,
            reporter=reporter,
        )
    shares = {name: 100 * share for name, share in result.volume_fractions().items()}
    for kind in KINDS.values():
        if kind.share and (share := result.record.get(f"{kind.name}_share")) is not None:
            shares[kind.share] = 100 * share
    if result.record["outside_share"]:
        shares["outside, not counted"] = 100 * result.record["outside_share"]
    for name, share in shares.items():
        say(f"{name:<20} {share:6.2f} %", quiet=quiet)
    record, *files = recorded_files(out)
    say(f"written: {', '.join(map(str, (*files, record)))}", quiet=quiet)
