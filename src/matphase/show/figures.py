"""Pictures of predictions."""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.images.volume import Volume
from matphase.prediction.prediction import Prediction

PANEL_INCHES = 3.2
BACKDROP = 0.92
ERROR = (0.86, 0.10, 0.12)


def draw_overview(prediction: Prediction, truth: NDArray[np.uint8], z: int, path: Path) -> None:
    """Draw one slice: input, truth, UGSM, MatPhase, errors, entropy, IDK, side by side.

    Args:
        prediction: of a volume (z, y, x).
        truth: (n, height, width) phase indices.
        z: slice to show.
        path: PNG to write.
    """
    phases, volume = prediction.phases, prediction.volume
    answer = phases.encode(prediction.labels[z])
    known = phases.encode(prediction.global_labels[z])
    counted = truth[z] != IGNORE_INDEX
    height, width = answer.shape
    figure = Figure(
        figsize=(4 * PANEL_INCHES, 2 * PANEL_INCHES * height / width + 0.8), layout="constrained"
    )
    panels = figure.subplots(2, 4).ravel()
    panels[0].imshow(volume.slice(z), cmap="gray")
    for panel, labels in zip(panels[1:4], (truth[z], known, answer), strict=True):
        panel.imshow(phases.to_rgb(labels), interpolation="nearest")
    share = 100 * np.mean((answer == truth[z])[counted])
    _show_mask(panels[4], (answer != truth[z]) & counted, ERROR)
    shown = panels[5].imshow(
        prediction.entropy[z], cmap="magma", vmin=0, vmax=math.log(len(phases))
    )
    _show_mask(panels[6], prediction.idk[z], (0.15, 0.35, 0.65))
    titles = (
        f"input, slice {z}",
        "truth",
        "UGSM",
        "MatPhase",
        f"errors of MatPhase ({100 - share:.1f} %)",
        "entropy u of UGSM",
        f"IDK ({100 * prediction.idk[z].mean():.1f} %)",
    )
    for panel, title in zip(panels, titles, strict=False):
        panel.set_title(title, fontsize=10)
    for panel in panels:
        panel.set_axis_off()
    draw_scale_bar(panels[0], volume)
    panels[7].legend(
        handles=[
            Patch(facecolor=phase.color, edgecolor="black", linewidth=0.5, label=phase.name)
            for phase in phases.phases
        ],
        loc="upper center",
        frameon=False,
        fontsize=12,
        title="phases",
    )
    bar = panels[7].inset_axes((0.15, 0.2, 0.7, 0.06))
    figure.colorbar(shown, cax=bar, orientation="horizontal", label="entropy u in nats")
    figure.savefig(path, dpi=150)


def _show_mask(panel: Axes, mask: NDArray[np.bool_], color: tuple[float, float, float]) -> None:
    picture = np.full((*mask.shape, 3), BACKDROP)
    picture[mask] = color
    panel.imshow(picture, interpolation="nearest")


def draw_scale_bar(panel: Axes, volume: Volume) -> None:
    """Draw a bar about a fifth of the width long, of a round length.

    Args:
        panel: shows a slice of the volume.
        volume: gives width and voxel size; without a voxel size the bar is labelled in pixels.
    """
    height, width = volume.shape[-2:]
    pixel = volume.voxel_size[-1] if volume.voxel_size is not None else None
    length = round_length(width * (pixel or 1) / 5)
    pixels = length / (pixel or 1)
    unit = {"um": "µm", None: "px"}.get(volume.unit, volume.unit)
    left, top = 0.05 * width, 0.93 * height
    panel.add_patch(
        Rectangle((left, top), pixels, 0.02 * height, facecolor="white", edgecolor="black", lw=0.5)
    )
    panel.text(
        left + pixels / 2,
        top - 0.015 * height,
        f"{length:g} {unit}",
        color="white",
        ha="center",
        va="bottom",
        fontsize=9,
        bbox={"facecolor": "black", "alpha": 0.55, "pad": 1.5, "edgecolor": "none"},
    )


def round_length(length: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not above `length`."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))
