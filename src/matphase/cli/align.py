"""`matphase align`: align labels that are misregistered with the image."""

from pathlib import Path
from typing import Annotated

import typer

from matphase.cli.common import (
    LabelSlices,
    MaskOption,
    ModelName,
    Overwrite,
    Quiet,
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
from matphase.cli.parsing import parse_slices


@reports_errors
def align(
    model: ModelName,
    images: Annotated[
        list[str],
        typer.Option(
            metavar="FILES",
            help="Grey slices: file, folder, OME-Zarr, FILE.h5:/dataset, pattern, or a list of "
            "files, each after an --images of its own.",
        ),
    ],
    labels: Annotated[
        list[str],
        typer.Option(
            metavar="FILES", help="Labels of all or some of these slices, in the same way."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    label_map: Annotated[
        str | None,
        typer.Option(help="Label value of each phase: pore=0,carbon=1; default: the model's."),
    ] = None,
    axes: Axes = None,
    shape: RawShape = None,
    dtype: RawDtype = None,
    label_axes: LabelAxes = None,
    label_dtype: LabelDtype = None,
    label_slices: LabelSlices = None,
    mask: MaskOption = None,
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Align labels that are misregistered with the image, by a smooth displacement of each slice.

    Writes labels.tif, the displacement in pixels as displacement_y.tif and displacement_x.tif (the
    new label of a pixel is the old one at the pixel plus the displacement), and alignment.json with
    the size of the displacement and the change of the volume fractions.
    """
    from matphase.images import formats
    from matphase.images.phases import PhaseTable
    from matphase.images.volume import Volume
    from matphase.support.files import atomic_write, check_output
    from matphase.support.manifest import ALIGNMENT, write_manifest
    from matphase.support.records import json_text

    check_output(out, overwrite=overwrite, replaces=ALIGNMENT)
    keep_inputs(out, images, labels, mask, model)
    phases = None if label_map is None else PhaseTable.parse(label_map)
    layout = Layout(axes, shape, dtype)
    opened = open_pair(
        *(one_or_many(images), one_or_many(labels)),
        *(layout, label_layout(layout, label_axes, label_dtype)),
        voxel_size=voxel_size,
        unit=unit,
    )

    from matphase.model import load

    trained = load(model)
    with progress(quiet=quiet) as reporter:
        found = trained.align(
            *opened,
            phases=phases,
            label_slices=parse_slices(label_slices),
            mask=mask,
            reporter=reporter,
        )
    grey, known = opened
    like = grey if grey.shape == known.shape else known
    maps = {
        "labels": found.labels,
        "displacement_y": found.fields[:, 0],
        "displacement_x": found.fields[:, 1],
    }
    with atomic_write(out, overwrite=overwrite, replaces=ALIGNMENT) as folder:
        folder.mkdir()
        for name, array in maps.items():
            stack = array.reshape(like.shape)
            volume = Volume.from_array(stack, like.axes, like.voxel_size, like.unit, name)
            formats.save(folder / f"{name}.tif", volume)
        (folder / "alignment.json").write_text(json_text(found.summary), "utf-8")
        write_manifest(folder)
    length = ""
    if "unit" in found.summary:
        length = f" ({found.summary['mean_displacement']:.3g} {found.summary['unit']})"
    say(
        f"labels moved by {found.summary['mean_displacement_px']:.2f} px{length} on average, "
        f"by less than {found.summary['displacement_95_percent_px']:.2f} px in 95 % of the pixels; "
        f"written to {out}",
        quiet=quiet,
    )
