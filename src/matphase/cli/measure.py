"""`matphase measure`: the properties of an electrode, with error bars."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from matphase.cli.common import (
    JsonFile,
    Overwrite,
    Quiet,
    Unit,
    VoxelSize,
    keep_inputs,
    progress,
    reports_errors,
    say,
    show,
    write_json,
)
from matphase.cli.parsing import parse_memory, parse_voxel_size


@reports_errors
def measure(
    labels: Annotated[str, typer.Argument(help="Prediction, or any labelled volume.")],
    label_map: Annotated[
        str | None,
        typer.Option(help="Phases and their values, as pore=0,carbon=1,nickel=2."),
    ] = None,
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Groups of properties: fractions, interfaces, connectivity, transport, sizes, "
            "correlation, chords, particles; several with commas."
        ),
    ] = None,
    axis: Annotated[
        str | None, typer.Option(help="Axes of transport and the like, as z or z,x; all.")
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(help="Which phase is which: pore=NAME,active=NAME,binder=NAME."),
    ] = None,
    conductivity: Annotated[
        str | None,
        typer.Option(help="Conductivities of phases that conduct together: carbon=10,nickel=.1."),
    ] = None,
    json: JsonFile = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table here.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for the curves as PNG.")] = None,
    pybamm: Annotated[
        Path | None, typer.Option(help="Write parameters for PyBaMM here (JSON).")
    ] = None,
    bpx: Annotated[
        Path | None,
        typer.Option(help="Write a BPX cell here: --bpx-template with the measured electrode."),
    ] = None,
    bpx_template: Annotated[Path | None, typer.Option(help="A complete BPX file.")] = None,
    electrode: Annotated[
        Literal["positive", "negative"], typer.Option(help="Which electrode of the cell this is.")
    ] = "positive",
    memory: Annotated[
        str, typer.Option(help="Memory for what needs the whole volume, as 4GB.")
    ] = "4GB",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure fractions, areas, connectivity, transport, sizes and correlations, with errors.

    +- is half of the 90 % interval. Of a prediction made with --keep-samples it holds the error of
    the segmentation, too; of other labels, that of the finite volume alone.
    """
    from matphase.images.phases import PhaseTable
    from matphase.prediction.files import recorded_files
    from matphase.properties.export import (
        NEEDED,
        ElectrodeParameters,
        check_cell,
        pybamm_parameters,
        with_properties,
    )
    from matphase.properties.front import measure as measured
    from matphase.properties.front import properties_table
    from matphase.show.curves import INDEX, draw_curves
    from matphase.support.errors import InputError
    from matphase.support.files import atomic_write, check_output

    if (bpx is None) != (bpx_template is None):
        raise InputError("--bpx and --bpx-template belong together; give both")
    template = None
    if bpx_template is not None:
        template = _read_json(bpx_template)
        check_cell(template, str(bpx_template))
    exports = [path for path in (pybamm, bpx) if path is not None]
    groups = None if only is None else _listed(only)
    if exports and groups is not None and (missing := [one for one in NEEDED if one not in groups]):
        raise InputError(
            f"{exports[0]} needs {', '.join(missing)}, too; name them in --only, or leave it out"
        )
    outputs = [path for path in (json, csv, pictures, *exports) if path and str(path) != "-"]
    if len(set(outputs)) < len(outputs):
        raise InputError("two outputs have the same name; give each a name of its own")
    inputs = labels, bpx_template, *recorded_files(Path(labels))
    for path in outputs:
        check_output(path, overwrite=overwrite, replaces=INDEX if path == pictures else None)
        keep_inputs(path, *inputs)
        if pictures is not None and pictures.resolve() in path.resolve().parents:
            raise InputError(f"{path} lies in the folder of the pictures; choose another name")
    with progress(quiet=quiet) as reporter:
        found = measured(
            labels,
            None if label_map is None else PhaseTable.parse(label_map),
            voxel_size=parse_voxel_size(voxel_size),
            unit=unit,
            groups=groups,
            axes=None if axis is None else _listed(axis),
            roles=_pairs(roles, "--roles"),
            conductivities=_numbers(conductivity, "--conductivity"),
            memory=parse_memory(memory),
            reporter=reporter,
        )
    write_json(found.to_json(), json, overwrite=overwrite)
    if csv is not None:
        with atomic_write(csv, overwrite=overwrite) as beside:
            beside.write_text(found.to_csv(), "utf-8")
    if pictures is not None:
        with atomic_write(pictures, overwrite=overwrite) as beside:
            draw_curves(found, beside)
    if exports:
        one = ElectrodeParameters.of(found)
        if pybamm is not None:
            write_json(pybamm_parameters(one, electrode), pybamm, overwrite=overwrite)
        if bpx is not None:
            write_json(with_properties(template, one, electrode), bpx, overwrite=overwrite)
    if str(json) == "-":
        return
    show(properties_table(found, labels), quiet=quiet)
    for note in found.notes:
        say(note, quiet=quiet)


def _listed(text: str) -> list[str]:
    from matphase.support.errors import InputError

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or len(set(parts)) < len(parts):
        raise InputError(f"{text!r} names nothing, or something twice; name each once")
    return parts


def _pairs(text: str | None, option: str) -> dict[str, str] | None:
    from matphase.support.errors import InputError

    if text is None:
        return None
    pairs: dict[str, str] = {}
    for part in _listed(text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise InputError(f"{part!r} in {option} is not NAME=VALUE; write it like a=b,c=d")
        if name in pairs:
            raise InputError(f"{option} {text!r} names {name} twice; give it once")
        pairs[name] = value
    return pairs


def _numbers(text: str | None, option: str) -> dict[str, float] | None:
    from matphase.support.errors import InputError

    pairs = _pairs(text, option)
    if pairs is None:
        return None
    try:
        return {name: float(value) for name, value in pairs.items()}
    except ValueError as error:
        raise InputError(
            f"{option} {text!r} holds something that is no number; correct it"
        ) from error


def _read_json(path: Path) -> Any:
    from matphase.support.errors import InputError

    try:
        return json_format.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON; give a BPX file") from error
