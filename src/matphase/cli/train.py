"""`matphase train`: train a model on labelled slices."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from matphase.cli.common import (
    Config,
    LabelSlices,
    MaskOption,
    Overwrite,
    Quiet,
    Seed,
    Set,
    Unit,
    VoxelSize,
    keep_inputs,
    one_or_many,
    progress,
    reports_errors,
    say,
)
from matphase.cli.opening import (
    Axes,
    LabelAxes,
    LabelDtype,
    Layout,
    RawDtype,
    RawShape,
    label_layout,
    open_pair,
)
from matphase.cli.parsing import parse_minutes, parse_settings, parse_slices
from matphase.networks import registry

if TYPE_CHECKING:
    from matphase.images.volume import Volume


class Train(TyperCommand):
    """The command, whose options may have several files behind them, as a shell's pattern gives."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give each file behind a repeatable option an option of its own."""
        repeatable = {
            name
            for option in self.params
            if getattr(option, "multiple", False)
            for name in option.opts
        }
        spread: list[str] = []
        option = ""
        for word, before in zip(args, ["", *args], strict=False):
            if word.startswith("-"):
                option = word
            elif option in repeatable and before != option:
                spread.append(option)
            spread.append(word)
        return super().parse_args(ctx, spread)


@reports_errors
def train(
    images: Annotated[
        list[str],
        typer.Option(
            metavar="FILES",
            help="Grey slices: file, folder, OME-Zarr, FILE.h5:/dataset, pattern such as "
            "'scan/slice_*.tif', or several files of one slice each.",
        ),
    ],
    labels: Annotated[
        list[str],
        typer.Option(
            metavar="FILES",
            help="Labels of all or some of these slices, of the same size: paired by the names of "
            "the files, or by place.",
        ),
    ],
    label_map: Annotated[
        str,
        typer.Option(help="Label value of each phase: pore=0,carbon=1,nickel=2,ignore=255."),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    axes: Axes = None,
    shape: RawShape = None,
    dtype: RawDtype = None,
    label_axes: LabelAxes = None,
    label_dtype: LabelDtype = None,
    label_slices: LabelSlices = None,
    mask: MaskOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="auto (settings chosen on slices that it leaves out), quick, small, best or "
            "paper. Without it: auto, or small where a model is named."
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Most time that preset auto may take, such as 10min, 90s or 2h."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help=f"What to train: {', '.join(registry.names())}.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="base|MODEL",
            help="Start from the base model, which knows virtual electrodes, or from a model "
            "folder.",
        ),
    ] = None,
    config: Config = None,
    settings: Set = None,
    seed: Seed = 0,
    validation_images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILES",
            help="Grey slices for idk.tune_recall, calibration, and the error bars of `measure`.",
        ),
    ] = None,
    validation_labels: Annotated[
        list[str] | None, typer.Option(metavar="FILES", help="Labels of the validation slices.")
    ] = None,
    validation_slices: Annotated[
        str | None,
        typer.Option(help="Which of the validation images have labels, as --label-slices."),
    ] = None,
    validation_mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|circle",
            help="Region of interest of the validation images; by default that of --mask.",
        ),
    ] = None,
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted training; with as many threads it gives the same model.",
        ),
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
    from matphase.images.phases import PhaseTable
    from matphase.settings import Settings
    from matphase.support.checked import read_toml
    from matphase.support.errors import InputError, Interrupted, OutputError
    from matphase.support.files import check_output, check_surroundings
    from matphase.support.manifest import MODEL

    phases = PhaseTable.parse(label_map)
    changes = {
        str(config): {} if config is None else read_toml(config),
        "--model": {} if model is None else {"model": model},
        "--set": parse_settings(settings or ()),
    }
    chosen = Settings.usual(*changes.values()) if preset is None else Settings.preset(preset)
    for where, values in changes.items():
        chosen = chosen.updated(values, where=where)
    if time is not None:
        if not chosen.search.is_on:
            raise InputError(
                "--time bounds the search of preset auto; leave it out, or give --preset auto and "
                "no model"
            )
        chosen = chosen.updated({"search": {"minutes": parse_minutes(time)}}, where="--time")
    registry.composition(chosen.model)
    if bool(validation_images) != bool(validation_labels):
        raise InputError(
            "--validation-images and --validation-labels belong together; give both or neither"
        )
    check_output(out, overwrite=overwrite, replaces=MODEL)
    inputs = [*images, *labels, *(validation_images or ()), *(validation_labels or ())]
    keep_inputs(out, inputs, mask, validation_mask, config, start)
    if tensorboard is not None:
        check_surroundings(tensorboard)
        keep_inputs(tensorboard, inputs, mask, validation_mask)
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not resume and not overwrite:
        raise OutputError(
            f"{partial} holds an interrupted training; pass --resume to continue it, "
            "or --overwrite to start again"
        )
    if resume and not partial.exists():
        raise InputError(f"there is no interrupted training in {partial}; omit --resume")
    layout = Layout(axes, shape, dtype)
    of_labels = label_layout(layout, label_axes, label_dtype)

    def opened(images: Sequence[str], labels: Sequence[str]) -> "tuple[Volume, Volume]":
        pair = one_or_many(images), one_or_many(labels)
        return open_pair(*pair, layout, of_labels, voxel_size=voxel_size, unit=unit)

    grey, known = opened(images, labels)
    validation = None
    if validation_images and validation_labels:
        validation = opened(validation_images, validation_labels)

    from matphase.method.training_folder import check_run_folder, remove_training
    from matphase.model import MatPhase

    check_run_folder(partial)
    keep_inputs(partial, inputs, mask, validation_mask, config)

    trained = MatPhase(settings=chosen, seed=seed)
    with progress(quiet=quiet) as reporter:
        try:
            trained.fit(
                grey,
                known,
                phases,
                label_slices=parse_slices(label_slices),
                mask=mask,
                validation=validation,
                validation_slices=parse_slices(validation_slices),
                validation_mask=validation_mask,
                start=start,
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
    for decided, text in trained.decisions.items():
        say(f"{decided}: {text}", quiet=quiet)
    for part in (trained.scaling, trained.guarantee):
        if part is not None:
            say(part.text(), quiet=quiet)
    say(f"model written to {out}", quiet=quiet)
