"""`matphase train`: a model from labelled slices."""

from pathlib import Path
from typing import Annotated

import typer

from matphase.cli.common import (
    LabelSlices,
    Overwrite,
    Quiet,
    Seed,
    keep_inputs,
    parse_slices,
    progress,
    reports_errors,
    say,
)


@reports_errors
def train(
    images: Annotated[
        str, typer.Option(help="Grey slices: file, folder, OME-Zarr, or FILE.h5:/dataset.")
    ],
    labels: Annotated[
        str,
        typer.Option(help="Their labels, or those of some of them, in the same order and size."),
    ],
    label_map: Annotated[
        str,
        typer.Option(help="Phases and their values, as pore=0,carbon=1,nickel=2,ignore=255."),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    label_slices: LabelSlices = None,
    preset: Annotated[str, typer.Option(help="quick, small, best or paper.")] = "small",
    model: Annotated[
        str,
        typer.Option(
            help="matphase, or a baseline: ugsm, unet, mcd_unet, unetpp, manet, deeplabv3, fcn, "
            "segnet, local_unet, resnet18, resnet34, resnet50, adapted_lcgar."
        ),
    ] = "matphase",
    config: Annotated[Path | None, typer.Option(help="TOML file with settings to change.")] = None,
    seed: Seed = 0,
    validation_images: Annotated[
        str | None,
        typer.Option(
            help="Slices for idk.tune_recall, calibration, and the error bars of `measure`."
        ),
    ] = None,
    validation_labels: Annotated[str | None, typer.Option(help="Their labels.")] = None,
    validation_slices: LabelSlices = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was interrupted.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard logs (extra `tracking`).")
    ] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Processes that train together: GPUs, or shares of the CPU.")
    ] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Machines that train together, each with --devices.")
    ] = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Train UGSM, HCL-IDK and LCGAR, or a baseline, on labelled slices; write a model folder.

    While it runs, its checkpoints lie in OUT.partial; after a stop, --resume goes on from there.
    """
    from matphase.images import formats
    from matphase.images.phases import PhaseTable
    from matphase.settings import Settings
    from matphase.support.errors import InputError, Interrupted, OutputError
    from matphase.support.files import check_output, remove

    phases = PhaseTable.parse(label_map)
    settings = Settings.preset(preset)
    if config is not None:
        settings = settings.with_file(config)
    if model != "matphase":  # else the file has its say
        settings = settings.updated({"model": model}, where="--model")
    if (validation_images is None) != (validation_labels is None):
        raise InputError("--validation-images and --validation-labels go together; give both")
    check_output(out, overwrite=overwrite, replaces="manifest.json")
    keep_inputs(out, images, labels, validation_images, validation_labels, config)
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not resume and not overwrite:
        raise OutputError(
            f"{partial} holds an interrupted training; pass --resume to go on with it, "
            "or --overwrite to start again"
        )
    if resume and not partial.exists():
        raise InputError(f"there is no interrupted training in {partial}; leave out --resume")
    grey, known = formats.open(images), formats.open(labels)
    validation = None
    if validation_images is not None and validation_labels is not None:
        validation = formats.open(validation_images), formats.open(validation_labels)

    from matphase.method.run_folder import check_run_folder
    from matphase.model import MatPhase

    check_run_folder(partial)
    keep_inputs(partial, images, labels, validation_images, validation_labels, config)

    trained = MatPhase(settings=settings, seed=seed)
    with progress(quiet=quiet) as reporter:
        try:
            trained.fit(
                grey,
                known,
                phases,
                label_slices=parse_slices(label_slices),
                validation=validation,
                validation_slices=parse_slices(validation_slices),
                folder=partial,
                restart=not resume,
                reporter=reporter,
                tensorboard=tensorboard,
                devices=devices,
                nodes=nodes,
            )
            if trained.team.rank > 0:
                return  # the first process writes the model
            trained.save(out, overwrite=overwrite)
        except (Interrupted, KeyboardInterrupt) as error:
            if not partial.exists():
                raise KeyboardInterrupt from error
            kept = str(error) or f"stopped; the finished stages are kept in {partial}"
            raise Interrupted(f"{kept}; go on with --resume") from error
    remove(partial)
    if settings.calibration.scaling == "auto" and trained.scaling is None:
        missing = "validation slices" if validation is None else "every phase in validation slices"
        say(f"probabilities are not scaled, which takes {missing}", quiet=quiet)
    for part in (trained.scaling, trained.guarantee):
        if part is not None:
            say(part.text(), quiet=quiet)
    say(f"model written to {out}", quiet=quiet)
