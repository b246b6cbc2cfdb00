"""`matphase reproduce`: the paper's tables and figures."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from matphase.cli.common import Config, Quiet, Set, keep_inputs, reports_errors, say
from matphase.cli.opening import Axes, LabelAxes
from matphase.cli.parsing import parse_settings


class Target(StrEnum):
    """The tables and figures that can be made."""

    TABLE1 = "table1"
    TABLE2 = "table2"
    TABLE3 = "table3"
    TABLE5 = "table5"
    CURRICULUM = "curriculum"
    SAMPLING = "sampling"
    TRUST = "trust"
    FIGURES = "figures"
    ALL = "all"


@reports_errors
def reproduce(
    targets: Annotated[list[Target], typer.Argument(help="Tables and figures to make.")],
    preset: Annotated[str, typer.Option(help="quick, small or paper.")] = "small",
    seeds: Annotated[
        int, typer.Option(min=1, help="Seeds per row, of electrode and training.")
    ] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder of results; reproduce-PRESET by default.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one per core, on a GPU one.")
    ] = None,
    config: Config = None,
    settings: Set = None,
    images: Annotated[
        str | None, typer.Option(help="Your own grey slices in place of virtual electrodes.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Their labels.")] = None,
    label_map: Annotated[
        str | None, typer.Option(help="Phases and their values, as pore=0,carbon=1,nickel=2.")
    ] = None,
    axes: Axes = None,
    label_axes: LabelAxes = None,
    quiet: Quiet = False,
) -> None:
    """Measure the rows of the paper's tables on virtual electrodes or on your own slices.

    The result of each model and seed is kept in the output folder as soon as it is finished. After
    a stop the same command continues; with more seeds it adds to the results.
    """
    from matphase.reproduce.protocol import Protocol
    from matphase.support.errors import InputError

    protocol = Protocol.named(preset)
    if config is not None:
        protocol = protocol.updated(settings=protocol.settings.with_file(config))
    if settings:
        changed = protocol.settings.updated(parse_settings(settings), where="--set")
        protocol = protocol.updated(settings=changed)
    given = (images, labels, label_map)
    if any(given) and not all(given):
        raise InputError("--images, --labels and --label-map go together; give all three")
    out = out or Path(f"reproduce-{preset}")
    keep_inputs(out, images, labels, config)
    wanted = [target.value for target in (Target if Target.ALL in targets else targets)]

    from matphase.reproduce.data import UserSlices
    from matphase.reproduce.run import reproduce_targets

    slices = None
    if images is not None and labels is not None and label_map is not None:
        slices = UserSlices(images, labels, label_map, axes, label_axes)
    written = reproduce_targets(
        [name for name in dict.fromkeys(wanted) if name != Target.ALL],
        protocol,
        slices,
        range(seeds),
        out,
        workers=workers,
        say=lambda text: say(text, quiet=quiet),
    )
    say("written: " + ", ".join(str(path) for path in written), quiet=quiet)
