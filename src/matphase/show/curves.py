"""Pictures of measured curves: profiles, correlations, size and chord distributions."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from matphase.properties.estimate import Measurements
from matphase.support.files import file_name

INDEX = "curves.txt"
"""Lists the pictures of a folder, and tells such a folder from others."""

RIM = [Stroke(linewidth=3.2, foreground="black"), Normal()]
"""The brightest phase would vanish on white, so every line has a dark rim."""


def draw_curves(found: Measurements, folder: Path) -> list[Path]:
    """Draw each curve into a PNG of its own, in the colours of the phases.

    Args:
        found: with the curves.
        folder: is made, with `INDEX` in it.

    Returns:
        the files, in the order of the curves.
    """
    folder.mkdir(parents=True)
    colors = dict(zip(found.about["phases"], found.about["colors"], strict=True))
    written = []
    for name, curve in found.curves.items():
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        panel = figure.subplots()
        for of, values in curve.lines.items():
            panel.plot(curve.x, values, color=colors[of], linewidth=2, label=of, path_effects=RIM)
        panel.set_title(curve.title, fontsize=11)
        panel.set_xlabel(curve.x_name)
        panel.set_ylabel(curve.y_name)
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
        path = folder / f"{file_name(name)}.png"
        figure.savefig(path, dpi=130)
        written.append(path)
    (folder / INDEX).write_text("\n".join(path.name for path in written) + "\n", "utf-8")
    return written
