"""Figures of predictions."""

import io
import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume

PANEL_INCHES = 3.2
BACKDROP = 0.92
ERROR = (0.86, 0.10, 0.12)
OVER_GREY = 0.55
"""Opacity of phase colours over grey values."""
THUMBNAIL_SIDE = 192
"""Maximum side of a thumbnail, in pixels."""


def overview_figure(
    grey: NDArray[Any],
    truth: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    global_labels: NDArray[np.uint8],
    entropy: NDArray[np.float32],
    uncertain: NDArray[np.bool_],
    phases: PhaseTable,
    volume: Volume,
    z: int,
) -> Figure:
    """Draw one slice: input, truth, UGSM, MatPhase, errors, entropy, uncertain pixels.

    Args:
        grey: (height, width) grey values.
        truth: true phase indices; `IGNORE_INDEX` pixels are not compared.
        labels: phase indices predicted by MatPhase.
        global_labels: phase indices predicted by UGSM alone.
        entropy: uncertainty of UGSM, in nats.
        uncertain: mask of the uncertain pixels.
        phases: names and colours.
        volume: gives the voxel size for the scale bar.
        z: number of the slice, for the title.
    """
    counted = truth != IGNORE_INDEX
    height, width = labels.shape
    figure = Figure(
        figsize=(4 * PANEL_INCHES, 2 * PANEL_INCHES * height / width + 0.8), layout="constrained"
    )
    panels = figure.subplots(2, 4).ravel()
    panels[0].imshow(grey, cmap="gray")
    for panel, shown in zip(panels[1:4], (truth, global_labels, labels), strict=True):
        panel.imshow(phases.to_rgb(shown), interpolation="nearest")
    share = 100 * np.mean((labels == truth)[counted])
    _show_mask(panels[4], (labels != truth) & counted, ERROR)
    _show_entropy(panels[5], entropy, phases)
    _show_mask(panels[6], uncertain, (0.15, 0.35, 0.65))
    titles = (
        f"input, slice {z}",
        "truth",
        "UGSM",
        "MatPhase",
        f"errors of MatPhase ({100 - share:.1f} %)",
        "entropy of UGSM",
        f"uncertain ({100 * uncertain.mean():.1f} %)",
    )
    for panel, title in zip(panels, titles, strict=False):
        panel.set_title(title, fontsize=10)
    for panel in panels:
        panel.set_axis_off()
    draw_scale_bar(panels[0], volume)
    _draw_legend(panels[7], phases, fontsize=12)
    bar = panels[7].inset_axes((0.15, 0.2, 0.7, 0.06))
    shown = panels[5].images[0]
    figure.colorbar(shown, cax=bar, orientation="horizontal", label="entropy in nats")
    return figure


def slice_figure(
    grey: NDArray[Any] | None,
    labels: NDArray[np.uint8],
    entropy: NDArray[np.float32] | None,
    phases: PhaseTable,
    volume: Volume,
    title: str = "",
) -> Figure:
    """Draw one slice of a prediction: grey values, phases over them, and entropy.

    Args:
        grey: (height, width) grey values; None: only the phases are drawn.
        labels: predicted phase indices.
        entropy: uncertainty in nats; None: no entropy panel.
        phases: names and colours.
        volume: gives the voxel size for the scale bar.
        title: title of the figure.
    """
    height, width = labels.shape
    names = ["input"] if grey is not None else []
    names += ["phases"] + (["entropy in nats"] if entropy is not None else [])
    figure = Figure(
        figsize=(len(names) * PANEL_INCHES, PANEL_INCHES * height / width + 0.9),
        layout="constrained",
    )
    panels = dict(zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True))
    for name, panel in panels.items():
        panel.set_title(name, fontsize=10)
        panel.set_axis_off()
    if grey is not None:
        panels["input"].imshow(grey, cmap="gray")
        panels["phases"].imshow(grey, cmap="gray")
    over = OVER_GREY if grey is not None else 1
    panels["phases"].imshow(phases.to_rgb(labels), interpolation="nearest", alpha=over)
    if entropy is not None:
        _show_entropy(panels["entropy in nats"], entropy, phases)
        figure.colorbar(panels["entropy in nats"].images[0], ax=panels["entropy in nats"])
    draw_scale_bar(panels[names[0]], volume)
    figure.legend(
        handles=_patches(phases), loc="outside lower center", ncols=len(phases), frameon=False
    )
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def thumbnail(labels: NDArray[np.uint8], phases: PhaseTable) -> bytes:
    """Small PNG of a slice of phase indices, in phase colours."""
    step = max(1, -(-max(labels.shape) // THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    Image.fromarray(phases.to_rgb(labels[::step, ::step])).save(buffer, "png")
    return buffer.getvalue()


def _show_entropy(panel: Axes, entropy: NDArray[np.float32], phases: PhaseTable) -> None:
    panel.imshow(entropy, cmap="magma", vmin=0, vmax=math.log(len(phases)))


def _patches(phases: PhaseTable) -> list[Patch]:
    return [
        Patch(facecolor=phase.color, edgecolor="black", linewidth=0.5, label=phase.name)
        for phase in phases.phases
    ]


def _draw_legend(panel: Axes, phases: PhaseTable, fontsize: int) -> None:
    panel.legend(
        handles=_patches(phases),
        loc="upper center",
        frameon=False,
        fontsize=fontsize,
        title="phases",
    )


def _show_mask(panel: Axes, mask: NDArray[np.bool_], color: tuple[float, float, float]) -> None:
    picture = np.full((*mask.shape, 3), BACKDROP)
    picture[mask] = color
    panel.imshow(picture, interpolation="nearest")


def draw_scale_bar(panel: Axes, volume: Volume) -> None:
    """Draw a scale bar of a round length, about a fifth of the width.

    Args:
        panel: axes that show a slice of the volume.
        volume: gives width and voxel size; without a voxel size the bar is in pixels.
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
    """Largest number of at most `length` that is 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9))
