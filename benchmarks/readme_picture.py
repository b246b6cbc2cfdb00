"""The picture at the head of the README, from a run of its own.

    python benchmarks/readme_picture.py [--out docs/pictures/overview.png] [--seed 0]

A virtual electrode is simulated. A model (preset quick) learns from the slices at one end and is
validated on slices at the other end; the slices between them are predicted and measured. All of
it goes through the public API, in a few minutes on two CPU cores.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

import matphase as mp

SHAPE = (64, 128, 144)
TRAINING, PREDICTED, VALIDATION = slice(0, 32), slice(36, 52), slice(56, 64)
"""Slices; between the parts lie four that nothing uses."""

NAMES = {"pore": "pore", "carbon": "carbon binder", "nickel": "active material"}
BAR = 5.0
"""Length of the scale bar in um."""
HALF_SPAN = 0.04
"""Half of the range of volume fractions that each axis shows."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Everything that the picture shows of one slice and of the predicted block.

    Attributes:
        grey: (y, x) attenuation.
        labels: (y, x) phase indices.
        entropy: (y, x) in nats.
        phases: names and colours.
        pixel: side of a pixel in um.
        fractions: volume fraction of each phase with its 90 % confidence interval.
        exact: volume fraction of each phase in the exact labels of the same block.
    """

    grey: NDArray[Any]
    labels: NDArray[Any]
    entropy: NDArray[Any]
    phases: mp.PhaseTable
    pixel: float
    fractions: dict[str, tuple[float, tuple[float, float]]]
    exact: dict[str, float]


def main() -> None:
    """Run, draw, and print the numbers that the picture shows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    docs = Path(__file__).parents[1] / "docs"
    parser.add_argument("--out", type=Path, default=docs / "pictures" / "overview.png")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shown = run(arguments.seed)
    for name, (value, (low, high)) in shown.fractions.items():
        print(f"{name:8} {value:.3f} [{low:.3f}, {high:.3f}], exact {shown.exact[name]:.3f}")
    draw(shown).savefig(arguments.out, dpi=150)


def run(seed: int) -> Shown:
    """Simulate, train, predict and measure.

    Args:
        seed: of the electrode and of the training.
    """
    electrode = mp.VirtualElectrode.simulate(shape=SHAPE, seed=seed)
    images, known = electrode.image, electrode.measured_labels
    model = mp.MatPhase("quick", seed=seed).fit(
        images[TRAINING],
        known[TRAINING],
        electrode.phases,
        validation=(images[VALIDATION], known[VALIDATION]),
    )
    scan = mp.Volume.from_array(
        images[PREDICTED], voxel_size=electrode.voxel_size, unit=electrode.unit
    )
    result = model.predict(scan, keep_samples=True)
    found = mp.measure(result, groups=["fractions"])
    labels = electrode.labels[PREDICTED]
    fractions, exact = {}, {}
    for index, name in enumerate(electrode.phases.names):
        one = found["porosity"] if name == "pore" else found["volume_fraction", name]
        # the exact value is that of the same block, so that sampling adds no error
        interval = one.segmentation_interval()
        assert interval is not None, "samples and validation slices give an interval"
        fractions[name] = one.value, interval
        exact[name] = float(np.mean(labels == index))
    z = scan.shape[0] // 2
    # values of the labels are phase indices: the electrode's phases have the values 0, 1, 2
    return Shown(
        np.asarray(images[PREDICTED][z]),
        np.asarray(result.labels[z]),
        np.asarray(result.entropy[z]),
        electrode.phases,
        electrode.voxel_size,
        fractions,
        exact,
    )


def draw(shown: Shown) -> Figure:
    """Draw the four panels side by side.

    Args:
        shown: what to draw.
    """
    figure = Figure(figsize=(13, 3.9), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 1.12))
    panels = left.subplots(1, 3)
    for panel, title in zip(panels, ("scan", "predicted phases", "uncertainty"), strict=True):
        panel.set_title(title, fontsize=15)
        panel.set_xticks([])
        panel.set_yticks([])
    low, high = np.percentile(shown.grey, (0.5, 99.5))
    panels[0].imshow(shown.grey, cmap="gray", vmin=low, vmax=high)
    _draw_scale_bar(panels[0], shown.grey.shape, shown.pixel)
    colors = [phase.color for phase in shown.phases.phases]
    panels[1].imshow(
        shown.labels,
        cmap=ListedColormap(colors),
        vmin=-0.5,
        vmax=len(colors) - 0.5,
        interpolation="nearest",
    )
    panels[1].legend(
        handles=[
            Patch(facecolor=phase.color, edgecolor="black", linewidth=0.6, label=NAMES[phase.name])
            for phase in shown.phases.phases
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        ncols=3,
        frameon=False,
        fontsize=11,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=0.8,
    )
    seen = panels[2].imshow(shown.entropy, cmap="cividis", vmin=0, vmax=math.log(len(colors)))
    bar = left.colorbar(seen, ax=panels[2], orientation="horizontal", fraction=0.05, pad=0.03)
    bar.set_label("entropy in nats", fontsize=11)
    _draw_fractions(right, shown)
    return figure


def _draw_scale_bar(panel: Axes, shape: tuple[int, ...], pixel: float) -> None:
    height, width = shape
    length = BAR / pixel
    left, top = 0.05 * width, 0.92 * height
    panel.add_patch(
        Rectangle(
            (left - 0.02 * width, 0.8 * height),
            length + 0.04 * width,
            0.18 * height,
            facecolor="black",
            alpha=0.6,
        )
    )
    panel.add_patch(Rectangle((left, top), length, 0.025 * height, facecolor="white"))
    panel.text(
        *(left + length / 2, top - 0.02 * height),
        f"{BAR:g} µm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=12,
    )


def _draw_fractions(figure: SubFigure, shown: Shown) -> None:
    """Draw each volume fraction on an axis of its own; all axes have the same scale."""
    rows = np.ravel(np.asarray(figure.subplots(len(shown.fractions), 1)))
    figure.suptitle("volume fractions", fontsize=15)
    for row, (name, (value, (low, high))) in zip(rows, shown.fractions.items(), strict=True):
        half = (high - low) / 2
        heading = "porosity" if name == "pore" else NAMES[name]
        row.set_title(f"{heading}  {value:.3f} ± {half:.3f}", fontsize=12, loc="left")
        row.errorbar(
            *(value, 0),
            xerr=[[value - low], [high - value]],
            fmt="o",
            color="#0072b2",
            markersize=7,
            capsize=5,
            linewidth=2.2,
            label="measured, 90 %",
        )
        row.plot(
            *(shown.exact[name], 0),
            "D",
            markerfacecolor="none",
            markeredgecolor="black",
            markeredgewidth=1.8,
            markersize=11,
            linestyle="none",
            label="exact",
        )
        middle = round(shown.exact[name], 2)
        row.set_xlim(middle - HALF_SPAN, middle + HALF_SPAN)
        row.set_xticks([middle - 0.03, middle, middle + 0.03])
        row.set_ylim(-1, 1)
        row.set_yticks([])
        row.tick_params(labelsize=11)
        for side in ("left", "right", "top"):
            row.spines[side].set_visible(False)
    handles, names = rows[0].get_legend_handles_labels()
    figure.legend(
        *(handles, names),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=11,
        columnspacing=1.2,
        handletextpad=0.4,
    )


if __name__ == "__main__":
    main()
