"""`matphase info`: the metadata of a volume, and an estimate of what predicting it takes."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from matphase.cli.common import (
    JsonFile,
    MaskOption,
    Memory,
    Quiet,
    Tta,
    Unit,
    VoxelSize,
    reports_errors,
    say,
    write_json,
)
from matphase.cli.opening import Axes, Layout, RawDtype, RawShape
from matphase.cli.parsing import parse_memory


@reports_errors
def info(
    volume: Annotated[
        str, typer.Argument(help="File, folder of slices, OME-Zarr, or FILE.h5:/dataset.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Model folder, or base: estimate memory, disk and time of a prediction."),
    ] = None,
    mask: MaskOption = None,
    memory: Memory = "2GB",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Stochastic passes T of that prediction.")
    ] = None,
    tta: Tta = None,
    intensity: Annotated[
        Literal["model", "volume"],
        typer.Option(help="Scale of grey values, as in `matphase predict`."),
    ] = "model",
    axes: Axes = None,
    shape: RawShape = None,
    dtype: RawDtype = None,
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Show the metadata of a volume, and estimate what predicting it takes."""
    from matphase.images.grey_checks import warn_of_round_field
    from matphase.images.grey_scale import GreySample, IntensityScale
    from matphase.images.mask import masked
    from matphase.prediction.prediction import prediction_bytes
    from matphase.support.text import times

    opened = Layout(axes, shape, dtype).open(volume, voxel_size, unit)
    seen = masked(opened, mask)
    sample = GreySample.of(seen)
    warn_of_round_field(sample, seen)
    scale = IntensityScale.of(sample)
    needed = prediction_bytes(opened.shape, n_phases=3)
    facts: dict[str, Any] = {
        "name": opened.name,
        "axes": opened.axes,
        "shape": list(opened.shape),
        "dtype": str(opened.dtype),
        "voxel_size": None if opened.voxel_size is None else list(opened.voxel_size),
        "unit": opened.unit,
        "mask": mask,
        "grey_low": scale.low,
        "grey_high": scale.high,
        "bytes": opened.nbytes,
        "prediction_bytes": needed,
    }
    if model is not None:
        from matphase.method.start import read
        from matphase.prediction.blocks import task_of
        from matphase.prediction.cost import estimate

        trained = read(model)
        task = task_of(
            *(trained, seen),
            samples=samples,
            intensity=intensity,
            memory=parse_memory(memory),
            tta=tta,
        )
        facts["prediction"] = asdict(estimate(trained, seen, task))
    write_json(facts, json)
    if json is not None and str(json) == "-":
        return
    size = "unknown"
    if opened.voxel_size is not None:
        lengths = " x ".join("?" if part is None else f"{part:g}" for part in opened.voxel_size)
        size = f"{lengths} {opened.unit}"
    lines = {
        "volume": opened.name,
        "axes": f"{opened.axes}, {times(opened.shape)} voxels",
        "voxel size": size,
        "type": str(opened.dtype),
        "grey values": f"{scale.low:.6g} to {scale.high:.6g} (percentiles 0.1 and 99.9"
        f"{'' if mask is None else f', inside of {mask}'})",
        "size in memory": f"{opened.nbytes / 1e6:.1f} MB",
        "predict needs": f"--memory (2 GB by default); a prediction of 3 phases that is kept in "
        f"memory, in Python, {needed / 1e6:.0f} MB more",
    }
    if model is not None:
        from matphase.support.memory import amount_text

        found = facts["prediction"]
        lines["predict needs"] = (
            f"up to {amount_text(found['memory'])} of memory ("
            f"{amount_text(found['program'])} of it for the program, its libraries and the model), "
            f"{amount_text(found['disk'])} of disk while it works, and about "
            f"{_duration(found['seconds'])}"
        )
        lines["blocks"] = f"{found['blocks']} of up to {times(found['block'])} voxels"
    for name, text in lines.items():
        say(f"{name:<15} {text}", quiet=quiet)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
