"""Statistics of the virtual electrode's structure beside those of other microstructures.

    python benchmarks/structure.py FOLDER [--picture docs/pictures/structure.png]

FOLDER holds the labelled volumes of `VOLUMES`, which are not part of this project. Voxel sizes are
not recorded in all of them, and particles differ in size; lengths are therefore in units of the
mean chord of the active material. All is measured within slices, since one of the sets has slices
only.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from common import publish
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from matphase.reproduce.page import grid
from matphase.virtual.microstructure import Microstructure, grow

PHASES = ("pore", "carbon", "nickel")
VOLUMES = {
    # label values of pore, binder and active material
    "MATBOX (tomography, binder made)": ("matbox_nmc_bridge.tif", (0, 2, 1)),
    "SliceGAN": ("slicegan_nmc.tif", (0, 255, 128)),
    "SuperRes facets": ("superres_nmc_facets.tif", (0, 255, 128)),
}
OURS = "virtual electrode"
GRID = np.linspace(0, 3, 31)
"""Abscissae of all curves, in mean chords of the active material."""

Labels = NDArray[np.uint8]


@dataclass
class Structure:
    """What was measured on one volume.

    Attributes:
        fractions: of pore, carbon, nickel.
        unit: mean chord of the active material, pixels.
        curves: name -> values on GRID.
        numbers: name -> value.
    """

    fractions: list[float]
    unit: float
    curves: dict[str, NDArray[np.float64]]
    numbers: dict[str, float]


def measure(labels: Labels) -> Structure:
    """Measure a volume of slices (z, y, x): 0 pore, 1 carbon, 2 nickel."""
    lengths = [chords(labels == phase) for phase in range(3)]
    unit = float(lengths[2].mean())
    curves = {}
    for phase, name in enumerate(PHASES):
        curves[f"correlation, {name}"] = correlation(labels == phase, unit)
        share = np.array([(lengths[phase] <= place * unit).mean() for place in GRID])
        curves[f"chords, {name}"] = share
    curves["particle size, nickel"] = sizes(labels == 2, unit)
    numbers = {
        f"mean chord, {name}": float(lengths[phase].mean()) / unit
        for phase, name in enumerate(PHASES)
    }
    for first, second in ((0, 1), (0, 2), (1, 2)):
        name = f"surface {PHASES[first]}-{PHASES[second]}"
        numbers[name] = surface(labels, first, second) * unit
    return Structure([float((labels == phase).mean()) for phase in range(3)], unit, curves, numbers)


def chords(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths in pixels of the runs along x and y that do not touch a rim."""
    found = []
    for plane in (mask, mask.transpose(0, 2, 1)):
        rows = plane.reshape(-1, plane.shape[2])
        step = np.diff(np.pad(rows, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        starts, ends = np.nonzero(step == 1)[1], np.nonzero(step == -1)[1]
        whole = (starts > 0) & (ends < rows.shape[1])
        found.append((ends - starts)[whole])
    return np.concatenate(found)


def correlation(mask: NDArray[np.bool_], unit: float) -> NDArray[np.float64]:
    """Two-point correlation within slices, (S2 - f^2) / (f - f^2), mean of x and y."""
    fraction = mask.mean()
    reach = min(int(GRID[-1] * unit) + 2, min(mask.shape[1:]) // 2)
    values = np.zeros(reach)
    for shift in range(reach):
        along_y = (mask[:, shift:] & mask[:, : mask.shape[1] - shift]).mean()
        along_x = (mask[:, :, shift:] & mask[:, :, : mask.shape[2] - shift]).mean()
        values[shift] = (along_y + along_x) / 2
    values = (values - fraction**2) / (fraction - fraction**2)
    return np.interp(GRID * unit, np.arange(reach), values)


def sizes(mask: NDArray[np.bool_], unit: float) -> NDArray[np.float64]:
    """Share of a phase's area that no disc of the diameter fits into (granulometry)."""
    inside = np.stack([ndimage.distance_transform_edt(plane) for plane in mask])
    share = []
    for diameter in GRID:
        radius = diameter * unit / 2
        left = 0
        for plane, distance in zip(mask, inside, strict=True):
            core = distance > radius
            if core.any():
                reach = ndimage.distance_transform_edt(~core)
                left += int((plane & (reach <= radius)).sum())
        share.append(1 - left / mask.sum())
    return np.array(share)


def surface(labels: Labels, first: int, second: int) -> float:
    """Area of contact per volume, 1/pixel: 2 x crossings per length of lines along x and y."""
    crossings = total = 0
    for axis in (1, 2):
        a, b = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        crossings += int((((a == first) & (b == second)) | ((a == second) & (b == first))).sum())
        total += a.size
    return 2 * crossings / total


def draw(found: dict[str, Structure], path: Path) -> None:
    """Draw the curves side by side."""
    figure = Figure(figsize=(14, 7.5), layout="constrained")
    panels = figure.subplots(2, 4).ravel()
    names = list(found[OURS].curves)
    for panel, name in zip(panels, names, strict=False):
        for volume, structure in found.items():
            mine = volume == OURS
            panel.plot(
                GRID,
                structure.curves[name],
                color="black" if mine else None,
                linewidth=2.5 if mine else 1.2,
                label=volume,
            )
        panel.set_title(name)
        panel.set_xlabel("length / mean nickel chord")
    bars = panels[len(names)]
    kinds = [name for name in found[OURS].numbers if name.startswith("surface")]
    for n, (volume, structure) in enumerate(found.items()):
        heights = [structure.numbers[kind] for kind in kinds]
        place = np.arange(len(kinds)) + 0.2 * n
        color = "black" if volume == OURS else f"C{n}"
        bars.bar(place, heights, 0.18, color=color)
    bars.set_xticks(np.arange(len(kinds)) + 0.3, [kind.removeprefix("surface ") for kind in kinds])
    bars.set_title("contact area per volume x chord")
    panels[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def report(found: dict[str, Structure], inside: dict[str, float]) -> str:
    """Tables in Markdown."""
    numbers = list(found[OURS].numbers)
    rows = [
        [
            name,
            " / ".join(f"{part:.2f}" for part in structure.fractions),
            f"{structure.unit:.1f}",
            *(f"{structure.numbers[number]:.2f}" for number in numbers),
        ]
        for name, structure in found.items()
    ]
    header = ["structure", "pore / carbon / nickel", "nickel chord (px)", *numbers]
    shares = [[name, f"{100 * share:.0f} %"] for name, share in inside.items()]
    return (
        "# Structure\n\nLengths in mean nickel chords, surfaces per volume times that chord.\n\n"
        + grid(header, rows)
        + "\n\nShare of each curve that lies between the others, or within .05 of them:\n\n"
        + grid(["curve", "between"], shares)
    )


def main() -> None:
    """Measure all volumes, and write results/structure.{json,md} and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/structure.png"))
    arguments = parser.parse_args()
    found = {}
    for name, (file, values) in VOLUMES.items():
        volume = tifffile.imread(arguments.folder / file)
        labels = np.zeros(volume.shape, np.uint8)
        for phase, value in enumerate(values):
            labels[volume == value] = phase
        found[name] = measure(labels[:: max(1, len(labels) // 30)])
    found[OURS] = measure(grow(Microstructure(), 0)[::4])
    inside: dict[str, float] = {}
    for name, curve in found[OURS].curves.items():
        others = np.stack([found[volume].curves[name] for volume in VOLUMES])
        between = (curve >= others.min(axis=0) - 0.05) & (curve <= others.max(axis=0) + 0.05)
        inside[name] = float(between.mean())
    draw(found, arguments.picture)
    content: dict[str, Any] = {
        "grid": GRID.tolist(),
        "between": inside,
        "structures": {
            name: {
                "fractions": structure.fractions,
                "mean_nickel_chord_px": structure.unit,
                "numbers": structure.numbers,
                "curves": {key: curve.tolist() for key, curve in structure.curves.items()},
            }
            for name, structure in found.items()
        },
    }
    publish("structure", content, report(found, inside))


if __name__ == "__main__":
    main()
