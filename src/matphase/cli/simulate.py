"""`matphase simulate`: make a virtual electrode with exact labels."""

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
from matphase.cli.parsing import parse_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray
from matphase.cli.opening import Axes, Layout


@reports_errors
def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Folder to write.")],
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="easy, paper, hard, or a TOML file.")
    ] = "paper",
    shape: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Size in voxels; default: the recipe's.")
    ] = None,
    seed: Seed = 0,
    cnr: Annotated[
        float | None,
        typer.Option(help="Contrast-to-noise ratio of carbon and pore; lower is harder to label."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labelled volume to image instead of a simulated one.")
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(help="Label value of each phase: pore=0,active_material=1,carbon_binder=2."),
    ] = None,
    voxel_size: Annotated[
        float | None,
        typer.Option(help="Voxel edge of --labels in um, if the file does not give it."),
    ] = None,
    axes: Axes = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a virtual electrode: an X-ray image with exact labels and with simulated measured ones.

    Writes images.tif (attenuation in 1/cm), labels.tif, measured_labels.tif, recipe.toml and
    electrode.json to OUT_DIR. The same recipe and seed give the same electrode.
    """
    from matphase.images.phases import PhaseTable
    from matphase.support.errors import InputError
    from matphase.support.files import check_output
    from matphase.support.manifest import ELECTRODE
    from matphase.virtual import Recipe, VirtualElectrode

    if (labels is None) != (label_map is None):
        raise InputError("--labels and --label-map belong together; give both or neither")
    if labels is not None and shape is not None:
        raise InputError("--shape does not apply to --labels, which have a shape already; omit it")
    if labels is None and voxel_size is not None:
        raise InputError(
            "--voxel-size needs --labels; else set microstructure.voxel_size in a recipe"
        )
    chosen = Recipe.from_file(Path(recipe)) if recipe.endswith(".toml") else Recipe.named(recipe)
    if cnr is not None:
        chosen = chosen.with_cnr(cnr)
    check_output(out, overwrite=overwrite, replaces=ELECTRODE)
    keep_inputs(out, labels, recipe if recipe.endswith(".toml") else None)
    with progress(quiet=quiet) as reporter:
        if labels is not None and label_map is not None:
            array, size = _given(labels, axes, voxel_size)
            electrode = VirtualElectrode.from_labels(
                array,
                PhaseTable.parse(label_map),
                voxel_size=size,
                recipe=chosen,
                seed=seed,
                reporter=reporter,
            )
        else:
            wanted = None if shape is None else parse_shape(shape)
            electrode = VirtualElectrode.simulate(chosen, wanted, seed, reporter=reporter)
        electrode.save(out, overwrite=overwrite)
    facts = electrode.facts
    shares = (f"{name} {100 * part:.1f} %" for name, part in facts["fractions"].items())
    say(", ".join(shares), quiet=quiet)
    if facts["photons"] is not None:
        say(
            f"carbon-pore contrast-to-noise ratio {facts['cnr']:.3g}, noise "
            f"{facts['noise_per_cm']:.3g} /cm, {facts['photons']:.3g} photons per pixel "
            "and projection",
            quiet=quiet,
        )
    say(f"electrode written to {out}", quiet=quiet)


def _given(labels: str, axes: str | None, voxel_size: float | None) -> "tuple[NDArray[Any], float]":
    """Labels in a file, and the edge length of their voxels in micrometres."""
    from matphase.support.errors import InputError

    volume = Layout(axes).open(labels)
    array = volume.to_array().reshape(-1, *volume.shape[-2:])
    if voxel_size is not None:
        return array, voxel_size
    factor = {"nm": 1e-3, "um": 1.0, "mm": 1e3}.get(volume.unit or "")
    sizes = set(volume.voxel_size or ())
    if factor is None or len(sizes) != 1 or None in sizes:
        raise InputError(
            f"{labels} gives no voxel size, or its voxels are not cubes; give --voxel-size in um"
        )
    return array, float(sizes.pop() or 0) * factor
