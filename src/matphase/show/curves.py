"""Figures of curves: profiles, correlations, size and chord distributions."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.typing import ColorType
from numpy.typing import ArrayLike

OUTLINE = [Stroke(linewidth=3.2, foreground="black"), Normal()]
"""A dark outline of every line, since the brightest phase would not be visible on white."""


def draw_curves(
    x: ArrayLike,
    lines: Mapping[str, ArrayLike],
    colors: Mapping[str, ColorType],
    *,
    title: str,
    x_name: str,
    y_name: str,
) -> Figure:
    """Draw several curves over one axis.

    Args:
        x: (points,) the same for all curves.
        lines: (points,) values by the name of the curve.
        colors: colour by the name of the curve.
        title: of the figure.
        x_name: label of the horizontal axis, with its unit.
        y_name: label of the vertical axis, with its unit.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    panel = figure.subplots()
    for name, values in lines.items():
        panel.plot(x, values, color=colors[name], linewidth=2, label=name, path_effects=OUTLINE)
    panel.set_title(title, fontsize=11)
    panel.set_xlabel(x_name)
    panel.set_ylabel(y_name)
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
    return figure
