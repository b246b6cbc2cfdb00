"""`matphase train`: train a model on labelled slices."""

from pathlib import Path
from typing import Annotated

import typer

from matphase.cli.common import (
    Config,
    LabelSlices,
    Overwrite,
    Quiet,
    Seed,
    Set,
    keep_inputs,
    progress,
    reports_errors,
    say,
)
from matphase.cli.parsing import parse_settings, parse_slices
from matphase.networks import registry


@reports_errors
def train(
    images: Annotated[
        str, typer.Option(help="Grey slices: file, folder, OME-Zarr, or FILE.h5:/dataset.")
    ],
    labels: Annotated[
        str,
        typer.Option(help="Labels of all or some of these slices, in the same order and size."),
    ],
    label_map: Annotated[
        str,
        typer.Option(help="Label value of each phase: pore=0,carbon=1,nickel=2,ignore=255."),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    label_slices: LabelSlices = None,
    preset: Annotated[str, typer.Option(help="quick, small, best or paper.")] = "small",
    model: Annotated[
        str | None, typer.Option(help=f"What to train: {', '.join(registry.names())}.")
    ] = None,
    config: Config = None,
    settings: Set = None,
    seed: Seed = 0,
    validation_images: Annotated[
        str | None,
        typer.Option(
            help="Grey slices for idk.tune_recall, calibration, and the error bars of `measure`."
        ),
    ] = None,
    validation_labels: Annotated[
        str | None, typer.Option(help="Labels of the validation slices.")
    ] = None,
    validation_slices: Annotated[
        str | None,
        typer.Option(help="Which of the validation images have labels, as --label-slices."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard logs (extra `tracking`).")
    ] = None,
    devices: Annotated[
        int,
        typer.Option(
            min=1, help="Training processes on this machine: one per GPU, or sharing the CPU."
        ),
    ] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Number of machines, each with --devices processes.")
    ] = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Train MatPhase (UGSM, HCL-IDK, LCGAR) or a baseline on labelled slices.

    Writes a model folder. During the training, checkpoints are kept in OUT.partial; after an
    interruption, --resume continues from them.
    """
    from matphase.images import formats
    from matphase.images.phases import PhaseTable
    from matphase.settings import Settings
    from matphase.support.errors import InputError, Interrupted, OutputError
    from matphase.support.files import check_output, check_surroundings
    from matphase.support.manifest import MODEL

    phases = PhaseTable.parse(label_map)
    chosen = Settings.preset(preset)
    if config is not None:
        chosen = chosen.with_file(config)
    if model is not None:
        chosen = chosen.updated({"model": model})
    chosen = chosen.updated(parse_settings(settings or ()), where="--set")
    registry.composition(chosen.model)
    if (validation_images is None) != (validation_labels is None):
        raise InputError(
            "--validation-images and --validation-labels belong together; give both or neither"
        )
    check_output(out, overwrite=overwrite, replaces=MODEL)
    keep_inputs(out, images, labels, validation_images, validation_labels, config)
    if tensorboard is not None:
        check_surroundings(tensorboard)
        keep_inputs(tensorboard, images, labels, validation_images, validation_labels)
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not resume and not overwrite:
        raise OutputError(
            f"{partial} holds an interrupted training; pass --resume to continue it, "
            "or --overwrite to start again"
        )
    if resume and not partial.exists():
        raise InputError(f"there is no interrupted training in {partial}; omit --resume")
    grey, known = formats.open(images), formats.open(labels)
    validation = None
    if validation_images is not None and validation_labels is not None:
        validation = formats.open(validation_images), formats.open(validation_labels)

    from matphase.method.training_folder import check_run_folder, remove_training
    from matphase.model import MatPhase

    check_run_folder(partial)
    keep_inputs(partial, images, labels, validation_images, validation_labels, config)

    trained = MatPhase(settings=chosen, seed=seed)
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
            raise Interrupted(f"{kept}; continue with --resume") from error
    remove_training(partial)
    if chosen.calibration.scaling == "auto" and trained.scaling is None:
        lack = "there are none" if validation is None else "some phases do not occur in them"
        say(
            "probabilities are not calibrated, which needs validation slices with every phase: "
            + lack,
            quiet=quiet,
        )
    for part in (trained.scaling, trained.guarantee):
        if part is not None:
            say(part.text(), quiet=quiet)
    say(f"model written to {out}", quiet=quiet)
