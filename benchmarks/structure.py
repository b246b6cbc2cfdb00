"""Statistics of the virtual electrode's structure beside those of other microstructures.

    python benchmarks/structure.py FOLDER OUT [--picture docs/pictures/structure.png]

FOLDER holds the labelled volumes of `VOLUMES`, which are not part of this project; OUT keeps what
was measured on each. Voxel sizes are not recorded in all of them, and particles differ in size;
lengths are therefore in units of the mean chord of the active material. All is measured within
slices, since one of the sets has slices only.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from common import publish
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from matphase.properties.chords import chord_counts
from matphase.properties.correlation import correlation_along, correlation_counts
from matphase.properties.interfaces import directions, interface_counts
from matphase.reproduce.engine import Case, run
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


Structure = dict[str, Any]
"""What was measured on one volume: `fractions` of pore, carbon and nickel; `mean_nickel_chord_px`,
the unit; `numbers` by name; `curves`, values on GRID by name."""


def measure(labels: Labels) -> Structure:
    """Measure a volume of slices (z, y, x): 0 pore, 1 carbon, 2 nickel."""
    lengths = [chords(labels == phase) for phase in range(3)]
    means = [float(length @ number / number.sum()) for length, number in lengths]
    unit = means[2]
    curves = {}
    for phase, name in enumerate(PHASES):
        curves[f"correlation, {name}"] = correlation(labels == phase, unit)
        length, number = lengths[phase]
        shorter = np.array([number[length <= place * unit].sum() for place in GRID])
        curves[f"chords, {name}"] = shorter / number.sum()
    curves["particle size, nickel"] = sizes(labels == 2, unit)
    numbers = {f"mean chord, {name}": mean / unit for name, mean in zip(PHASES, means, strict=True)}
    for first, second in ((0, 1), (0, 2), (1, 2)):
        name = f"surface {PHASES[first]}-{PHASES[second]}"
        numbers[name] = surface(labels, first, second) * unit
    return {
        "fractions": [float((labels == phase).mean()) for phase in range(3)],
        "mean_nickel_chord_px": unit,
        "numbers": numbers,
        "curves": {name: curve.tolist() for name, curve in curves.items()},
    }


def chords(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths in pixels, and how many runs along x and y have them and do not touch a rim."""
    y, x = (chord_counts(mask, axis).whole for axis in (1, 2))
    number = np.zeros(max(len(y), len(x)), np.int64)
    for counts in (y, x):
        number[: len(counts)] += counts
    return np.arange(len(number)), number


def correlation(mask: NDArray[np.bool_], unit: float) -> NDArray[np.float64]:
    """Two-point correlation within slices, (S2 - f^2) / (f - f^2), mean of x and y."""
    fraction = mask.mean()
    reach = min(int(GRID[-1] * unit) + 2, min(mask.shape[1:]) // 2)
    counts = correlation_counts(mask, (0, reach - 1, reach - 1))
    values = (correlation_along(counts, 1) + correlation_along(counts, 2)) / 2
    values = (values - fraction**2) / (fraction - fraction**2)
    curve: NDArray[np.float64] = np.interp(GRID * unit, np.arange(reach), values)
    return curve


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
    along = [directions(3).index(step) for step in ((0, 1, 0), (0, 0, 1))]
    pairs = interface_counts(labels, len(PHASES))[along].sum(axis=0)
    return float(2 * (pairs[first, second] + pairs[second, first]) / pairs.sum())


def draw(found: dict[str, Structure], path: Path) -> None:
    """Draw the curves side by side."""
    figure = Figure(figsize=(14, 7.5), layout="constrained")
    panels = figure.subplots(2, 4).ravel()
    names = list(found[OURS]["curves"])
    for panel, name in zip(panels, names, strict=False):
        for volume, structure in found.items():
            mine = volume == OURS
            panel.plot(
                GRID,
                structure["curves"][name],
                color="black" if mine else None,
                linewidth=2.5 if mine else 1.2,
                label=volume,
            )
        panel.set_title(name)
        panel.set_xlabel("length / mean nickel chord")
    bars = panels[len(names)]
    kinds = [name for name in found[OURS]["numbers"] if name.startswith("surface")]
    for n, (volume, structure) in enumerate(found.items()):
        heights = [structure["numbers"][kind] for kind in kinds]
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
    numbers = list(found[OURS]["numbers"])
    rows = [
        [
            name,
            " / ".join(f"{part:.2f}" for part in structure["fractions"]),
            f"{structure['mean_nickel_chord_px']:.1f}",
            *(f"{structure['numbers'][number]:.2f}" for number in numbers),
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


def measured(folder: Path, case: Case, _: Path) -> dict[str, Any]:
    """Measure one of `VOLUMES`, or the virtual electrode."""
    if case.condition == OURS:
        return {"structure": measure(grow(Microstructure(), 0)[::4])}
    file, values = VOLUMES[case.condition]
    volume = tifffile.imread(folder / file)
    labels = np.zeros(volume.shape, np.uint8)
    for phase, value in enumerate(values):
        labels[volume == value] = phase
    return {"structure": measure(labels[:: max(1, len(labels) // 30)])}


def main() -> None:
    """Measure what is missing, and write results/structure.{json,md} and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/structure.png"))
    arguments = parser.parse_args()
    cases = [Case(name) for name in (*VOLUMES, OURS)]
    results = run(cases, partial(measured, arguments.folder), arguments.out)
    found = {case.condition: result["structure"] for case, result in results.items()}
    inside: dict[str, float] = {}
    for name, curve in found[OURS]["curves"].items():
        others = np.array([found[volume]["curves"][name] for volume in VOLUMES])
        ours = np.array(curve)
        between = (ours >= others.min(axis=0) - 0.05) & (ours <= others.max(axis=0) + 0.05)
        inside[name] = float(between.mean())
    draw(found, arguments.picture)
    content = {"grid": GRID.tolist(), "between": inside, "structures": found}
    publish("structure", content, report(found, inside))


if __name__ == "__main__":
    main()
