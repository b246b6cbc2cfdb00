"""`matphase simulate`: a virtual electrode with exact labels."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from matphase.cli.common import (
    Overwrite,
    Quiet,
    Seed,
    keep_inputs,
    progress,
    reports_errors,
    say,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@reports_errors
def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder to write.")],
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="easy, paper, hard, or a file.")
    ] = "paper",
    shape: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Voxels; 133,224,256 by default.")
    ] = None,
    seed: Seed = 0,
    cnr: Annotated[
        float | None,
        typer.Option(help="Contrast-to-noise ratio of carbon and pore in a voxel: the difficulty."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Image this labelled volume in place of a grown one.")
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(help="Its phases, as pore=0,active_material=1,carbon_binder=2."),
    ] = None,
    voxel_size: Annotated[
        float | None, typer.Option(help="Edge of its voxels in um, if the file does not say.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a virtual electrode: an X-ray image of known phases, with exact and measured labels.

    Writes images.tif (attenuation in 1/cm), labels.tif, measured_labels.tif, recipe.toml and
    electrode.json to OUT_DIR. The same recipe and seed give the same electrode.
    """
    from matphase.images.phases import PhaseTable
    from matphase.support.errors import InputError
    from matphase.support.files import check_output
    from matphase.virtual import Recipe, VirtualElectrode

    if (labels is None) != (label_map is None):
        raise InputError("--labels and --label-map go together; give both")
    if labels is not None and shape is not None:
        raise InputError("the shape is that of --labels; leave out --shape")
    if labels is None and voxel_size is not None:
        raise InputError("--voxel-size is for --labels; a recipe has microstructure.voxel_size")
    chosen = Recipe.from_file(Path(recipe)) if recipe.endswith(".toml") else Recipe.named(recipe)
    if cnr is not None:
        chosen = chosen.with_cnr(cnr)
    check_output(out, overwrite=overwrite, replaces="electrode.json")
    keep_inputs(out, labels, recipe if recipe.endswith(".toml") else None)
    with progress(quiet=quiet) as reporter:
        if labels is not None and label_map is not None:
            array, size = _given(labels, voxel_size)
            electrode = VirtualElectrode.from_labels(
                array,
                PhaseTable.parse(label_map),
                voxel_size=size,
                recipe=chosen,
                seed=seed,
                reporter=reporter,
            )
        else:
            wanted = None if shape is None else _shape(shape)
            electrode = VirtualElectrode.simulate(chosen, wanted, seed, reporter=reporter)
        electrode.save(out, overwrite=overwrite)
    facts = electrode.facts
    shares = (f"{name} {100 * part:.1f} %" for name, part in facts["fractions"].items())
    say(", ".join(shares), quiet=quiet)
    if facts["photons"] is not None:
        say(
            f"carbon-pore contrast-to-noise ratio {facts['cnr']:.3g}, noise "
            f"{facts['noise_per_cm']:.3g} /cm, {facts['photons']:.3g} photons a pixel and "
            "projection",
            quiet=quiet,
        )
    say(f"electrode written to {out}", quiet=quiet)


def _shape(text: str) -> tuple[int, int, int]:
    from matphase.support.errors import InputError

    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
    if match is None:
        raise InputError(f"--shape {text!r} is not a shape; write it like 133,224,256")
    slices, height, width = (int(part) for part in match.groups())
    return slices, height, width


def _given(labels: str, voxel_size: float | None) -> "tuple[NDArray[Any], float]":
    """Labels of a file and the edge of their voxels in micrometres."""
    from matphase.images import formats
    from matphase.support.errors import InputError

    if voxel_size is not None:
        return formats.open(labels, axes="zyx").to_array(), voxel_size
    volume = formats.open(labels, axes="zyx")
    factor = {"nm": 1e-3, "um": 1.0, "mm": 1e3}.get(volume.unit or "")
    sizes = set(volume.voxel_size or ())
    if factor is None or len(sizes) != 1 or None in sizes:
        raise InputError(
            f"{labels} does not say how large its voxels are, or they are no cubes; give "
            "--voxel-size in um"
        )
    return volume.to_array(), float(sizes.pop() or 0) * factor
