"""`matphase measure`: the properties of an electrode, with error bars."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from matphase.cli.common import (
    JsonFile,
    MaskOption,
    Overwrite,
    Quiet,
    Unit,
    VoxelSize,
    keep_inputs,
    progress,
    reports_errors,
    say,
    show,
    with_options,
    write_json,
)
from matphase.cli.opening import Axes, Layout, RawDtype, RawShape
from matphase.cli.parsing import (
    parse_crop,
    parse_list,
    parse_memory,
    parse_numbers,
    parse_pairs,
    parse_voxel_size,
)

if TYPE_CHECKING:
    from matphase.properties.estimate import Measurements


@reports_errors
def measure(
    labels: Annotated[str, typer.Argument(help="A prediction, or any labelled volume.")],
    label_map: Annotated[
        str | None,
        typer.Option(help="Phases and their values, such as pore=0,carbon=1,nickel=2."),
    ] = None,
    axes: Axes = None,
    shape: RawShape = None,
    dtype: RawDtype = None,
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            "--only",
            help="Groups of properties to measure: fractions, interfaces, connectivity, "
            "transport, sizes, correlation, chords, particles; several with commas.",
        ),
    ] = None,
    axis: Annotated[
        str | None,
        typer.Option(help="Axes of directed properties, such as z or z,x; all by default."),
    ] = None,
    roles: Annotated[
        str | None,
        typer.Option(help="Roles of the phases: pore=NAME,active=NAME,binder=NAME."),
    ] = None,
    conductivities: Annotated[
        str | None,
        typer.Option(help="Conductivities of phases that conduct together: carbon=10,nickel=.1."),
    ] = None,
    mask: MaskOption = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="Z0:Z1,Y0:Y1,X0:X1",
            help="Measure this part only; the ends are not part of it and may be left out, as in "
            ":50,:,20:. A slice has Y0:Y1,X0:X1.",
        ),
    ] = None,
    json: JsonFile = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the properties as CSV to this file.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for the curves as PNG files.")
    ] = None,
    pybamm: Annotated[
        Path | None, typer.Option(help="Write parameters for PyBaMM to this file (JSON).")
    ] = None,
    bpx: Annotated[
        Path | None,
        typer.Option(
            help="Write a BPX cell to this file: --bpx-template with the measured electrode."
        ),
    ] = None,
    bpx_template: Annotated[
        Path | None, typer.Option(help="A complete BPX file, whose electrode is replaced.")
    ] = None,
    electrode: Annotated[
        Literal["positive", "negative"], typer.Option(help="Which electrode of the cell this is.")
    ] = "positive",
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory for properties that need the whole volume, such as 4GB; 80 % of what is "
            "free by default."
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Measure fractions, areas, connectivity, transport, sizes and correlations, with errors.

    +- is half of the 90 % interval. For a prediction made with --keep-samples it includes the
    error of the segmentation; for other labels only the error of the finite volume.
    """
    from matphase.images.phases import PhaseTable
    from matphase.prediction.files import recorded_files
    from matphase.properties.estimate import HEADINGS
    from matphase.properties.export import (
        NEEDED,
        ElectrodeParameters,
        check_cell,
        pybamm_parameters,
        with_properties,
    )
    from matphase.properties.front import measure as measured
    from matphase.show.tables import properties_table
    from matphase.support.errors import InputError
    from matphase.support.files import atomic_write, check_output
    from matphase.support.manifest import PICTURES

    if (bpx is None) != (bpx_template is None):
        raise InputError("--bpx and --bpx-template need each other; give both")
    template = None
    if bpx_template is not None:
        template = _read_json(bpx_template)
        check_cell(template, str(bpx_template))
    exports = [path for path in (pybamm, bpx) if path is not None]
    chosen = None if groups is None else parse_list(groups)
    if exports and chosen is not None and (missing := [one for one in NEEDED if one not in chosen]):
        raise InputError(
            f"{exports[0]} also needs {', '.join(missing)}; add them to --groups, or leave it out"
        )
    outputs = [path for path in (json, csv, pictures, *exports) if path and str(path) != "-"]
    if len(set(outputs)) < len(outputs):
        raise InputError("two outputs have the same name; give each its own name")
    inputs = labels, mask, bpx_template, *recorded_files(Path(labels))
    for path in outputs:
        check_output(path, overwrite=overwrite, replaces=PICTURES if path == pictures else None)
        keep_inputs(path, *inputs)
        if pictures is not None and pictures.resolve() in path.resolve().parents:
            raise InputError(f"{path} is inside the folder of the pictures; choose another name")
    layout = Layout(axes, shape, dtype)
    with progress(quiet=quiet) as reporter:
        found = measured(
            layout.open(labels) if layout else labels,
            None if label_map is None else PhaseTable.parse(label_map),
            voxel_size=parse_voxel_size(voxel_size),
            unit=unit,
            groups=chosen,
            axis=None if axis is None else parse_list(axis),
            roles=parse_pairs(roles, "--roles"),
            conductivities=parse_numbers(conductivities, "--conductivities"),
            mask=mask,
            crop=parse_crop(crop),
            memory=None if memory is None else parse_memory(memory),
            reporter=reporter,
        )
    write_json(found.to_json(), json, overwrite=overwrite)
    if csv is not None:
        with atomic_write(csv, overwrite=overwrite) as beside:
            beside.write_text(found.to_csv(), "utf-8")
    if pictures is not None:
        with atomic_write(pictures, overwrite=overwrite, replaces=PICTURES) as beside:
            _write_pictures(found, beside)
    if exports:
        one = ElectrodeParameters.of(found)
        if pybamm is not None:
            write_json(pybamm_parameters(one, electrode), pybamm, overwrite=overwrite)
        if bpx is not None:
            write_json(with_properties(template, one, electrode), bpx, overwrite=overwrite)
    if str(json) == "-":
        return
    show(properties_table(HEADINGS, found.table_rows(), labels), quiet=quiet)
    for note in found.notes:
        say(with_options(note, measure), quiet=quiet)


def _write_pictures(found: "Measurements", folder: Path) -> None:
    """Write each curve as a PNG file into a new folder, with a list of them."""
    from matphase.show.curves import draw_curves
    from matphase.support.files import file_name
    from matphase.support.manifest import PICTURES, write_manifest

    folder.mkdir(parents=True)
    colors = dict(zip(found.about["phases"], found.about["colors"], strict=True))
    names = []
    for name, curve in found.curves.items():
        figure = draw_curves(
            curve.x,
            curve.lines,
            colors,
            title=curve.title,
            x_name=curve.x_name,
            y_name=curve.y_name,
        )
        names.append(f"{file_name(name)}.png")
        figure.savefig(folder / names[-1], dpi=130)
    (folder / PICTURES.marker).write_text("\n".join(names) + "\n", "utf-8")
    write_manifest(folder)


def _read_json(path: Path) -> Any:
    from matphase.support.errors import InputError
    from matphase.support.records import read_json

    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON; give a BPX file") from error
