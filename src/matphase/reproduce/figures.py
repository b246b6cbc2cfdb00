"""The paper's figures 1 to 3, and the figures of trust, drawn from results."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from matphase.images.neighbours import central
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume
from matphase.reproduce import curves
from matphase.reproduce.data import SplitData
from matphase.reproduce.engine import result_of
from matphase.reproduce.table_rows import MATPHASE
from matphase.reproduce.units import Unit
from matphase.show.figures import draw_scale_bar
from matphase.support.errors import InputError
from matphase.support.files import atomic_write

PANEL_INCHES = 3.1
DPI = 100  # shown as they are on a page, and small enough to be committed
WINDOWS = 3
WRONG = (0.93, 0.20, 0.10)


def write_figures(
    out: Path, seeds: Sequence[int], data: SplitData, voxel_size: float | None, unit: str | None
) -> list[Path]:
    """Draw all figures from the results on the blocked split.

    `figure1.png` to `figure3.png` show the middle test slice of the first seed, as figures 1 to 3
    of the paper do. `reliability.png`, `risk_coverage.png` and `error_by_distance.png` are of all
    seeds that are done.

    Args:
        out: folder of all results; the figures are written into it, over those of before.
        seeds: that were asked for; at least one.
        data: the slices of the first of them, split "blocked".
        voxel_size: edge of a pixel in `unit`, for the scale bar; none: the bar is in pixels.
        unit: of the voxel size; none exactly where that is none.

    Returns:
        The files written.

    Raises:
        InputError: U-Net, UGSM or MatPhase is not done for the first seed; nothing is written.
        OutputError: a figure cannot be written.
    """
    shown = Volume.from_array(central(data.first_channels, 1)[:, 0], None, voxel_size, unit)
    view = _View.read(out, seeds[0], data, shown)
    done = list(_done(out, seeds))
    ugsm, matphase = [pair[0] for pair in done], [pair[1] for pair in done]
    with matplotlib.rc_context({"font.size": 9.5, "axes.titlesize": 10, "legend.fontsize": 9.5}):
        drawn = {
            "figure1": _figure1(view),
            "figure2": _figure2(view),
            "figure3": _figure3(view),
            "reliability": curves.reliability(ugsm),
            "risk_coverage": curves.risk_coverage(ugsm),
            "error_by_distance": curves.error_by_distance({"UGSM": ugsm, "MatPhase": matphase}),
        }
        return [_written(figure, out / f"{name}.png") for name, figure in drawn.items()]


def most_different(
    first: NDArray[Any], second: NDArray[Any], side: int, count: int
) -> list[tuple[int, int]]:
    """Find the square windows in which two label images differ in most pixels.

    The first window is the best of all, each further one the best of those that overlap none of
    the ones before.

    Args:
        first: (height, width) labels.
        second: the same of another method.
        side: of a window, in pixels; at most height and width.
        count: windows wanted.

    Returns:
        Upper left corners (y, x), most different first; fewer than `count` where no further window
        holds a difference. Of windows that differ in as many pixels, the uppermost, then leftmost.
    """
    differ = np.pad(first != second, ((1, 0), (1, 0))).astype(np.int64)
    total = differ.cumsum(0).cumsum(1)
    inside = total[side:, side:] - total[:-side, side:] - total[side:, :-side]
    inside += total[:-side, :-side]
    corners: list[tuple[int, int]] = []
    for _ in range(count):
        y, x = (int(place) for place in np.unravel_index(inside.argmax(), inside.shape))
        if inside[y, x] <= 0:
            break
        corners.append((y, x))
        inside[max(0, y - side + 1) : y + side, max(0, x - side + 1) : x + side] = -1
    return corners


@dataclass(frozen=True, eq=False)
class _View:
    """One slice, as it is and as it was labelled; every array is (height, width) or so."""

    volume: Volume
    phases: PhaseTable
    image: NDArray[np.float32]
    truths: dict[str, NDArray[np.uint8]]
    unet: NDArray[np.uint8]
    matphase: NDArray[np.uint8]
    ugsm: NDArray[np.uint8]
    logits: NDArray[np.float32]
    entropy: NDArray[np.float32]

    @classmethod
    def read(cls, out: Path, seed: int, data: SplitData, volume: Volume) -> "_View":
        for name, title in (("unet", "U-Net"), ("ugsm", "UGSM"), (MATPHASE, "MatPhase")):
            if result_of(Unit("blocked", seed, name), out) is None:
                raise InputError(
                    f"{out} has no result of {title} for seed {seed}, which the figures show; "
                    f"compute it with `matphase reproduce figures --out {out}`"
                )
        z = len(data.images) // 2
        with np.load(out / Unit("blocked", seed, "ugsm").place / "test.npz") as kept:
            known = {name: kept[name][z] for name in ("labels", "logits", "entropy")}
        labels = {}
        for name in ("unet", MATPHASE):
            with np.load(out / Unit("blocked", seed, name).place / "labels.npz") as kept:
                labels[name] = kept["labels"][z]
        return cls(
            volume,
            data.phases,
            central(data.first_channels, 1)[z, 0],
            {name: truth[z] for name, truth in data.truths},
            unet=labels["unet"],
            matphase=labels[MATPHASE],
            ugsm=known["labels"],
            logits=known["logits"],
            entropy=known["entropy"],
        )


def _done(out: Path, seeds: Sequence[int]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The results of UGSM and of MatPhase, of the seeds that have both."""
    for seed in seeds:
        ugsm, matphase = (
            result_of(Unit("blocked", seed, name), out) for name in ("ugsm", MATPHASE)
        )
        if ugsm is not None and matphase is not None:
            yield ugsm, matphase


def _written(figure: Figure, path: Path) -> Path:
    with atomic_write(path, overwrite=True) as beside:
        # images of fixed shape leave titles too little room here and too much there
        figure.savefig(beside, dpi=DPI, bbox_inches="tight", pad_inches=0.05)
    return path


def _figure1(view: _View) -> Figure:
    """Input, U-Net and MatPhase, with rectangles where the two differ most, and the truth."""
    exact = "exact" in view.truths
    figure, panels = _panels(view, 3 if exact else 2, 2, 0.0 if exact else 0.6)
    legend_cell = panels.pop(3) if exact else None
    panels[0].imshow(view.image, cmap="gray", interpolation="nearest")
    panels[0].set_title("(a) input")
    draw_scale_bar(panels[0], view.volume)
    named = {"U-Net": view.unet, "MatPhase": view.matphase}
    named |= {f"{name} labels": truth for name, truth in view.truths.items()}
    for panel, letter, (name, labels) in zip(panels[1:], "bcde", named.items(), strict=False):
        panel.imshow(view.phases.to_rgb(labels), interpolation="nearest")
        panel.set_title(f"({letter}) {name}")
    side = max(4, min(view.image.shape) // 6)
    side = min(side, *view.image.shape)
    corners = most_different(view.unet, view.matphase, side, WINDOWS)
    for panel in panels:
        for y, x in corners:
            _draw_window(panel, y, x, side)
    handles = [
        Patch(facecolor=phase.color, edgecolor="black", linewidth=0.5, label=phase.name)
        for phase in view.phases.phases
    ]
    if corners:
        label = "U-Net and MatPhase differ most"
        handles.append(Patch(facecolor="none", edgecolor=WRONG, linewidth=1.8, label=label))
    if legend_cell is not None:
        legend_cell.legend(handles=handles, loc="center", frameon=False)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_window(panel: Axes, y: int, x: int, side: int) -> None:
    window = Rectangle((x - 0.5, y - 0.5), side, side, fill=False, edgecolor=WRONG, linewidth=1.8)
    # carbon is drawn in a red too
    window.set_path_effects([Stroke(linewidth=4, foreground="white"), Normal()])
    panel.add_patch(window)


def _figure2(view: _View) -> Figure:
    """Uncertainty of UGSM, and its labels in greys with the wrong ones in red."""
    columns = 1 + len(view.truths)
    figure = _figure(view, columns, 1, 0.7)
    panels, below = figure.subplots(2, columns, height_ratios=(18, 1))
    for panel in (*panels, *below[1:]):
        panel.set_axis_off()
    limit = math.log(len(view.phases))
    shown = panels[0].imshow(
        view.entropy, cmap="magma", vmin=0, vmax=limit, interpolation="nearest"
    )
    panels[0].set_title("(a) uncertainty of UGSM")
    figure.colorbar(shown, cax=below[0], orientation="horizontal", label="entropy u in nats")
    greys = _greys(view.phases)
    for panel, letter, (name, truth) in zip(panels[1:], "bc", view.truths.items(), strict=False):
        counted = truth != IGNORE_INDEX
        wrong = (view.ugsm != truth) & counted
        picture = greys[view.ugsm]
        picture[wrong] = WRONG
        panel.imshow(picture, interpolation="nearest")
        share = 100 * wrong.sum() / max(1, counted.sum())
        panel.set_title(f"({letter}) against {name} labels: {share:.1f} % wrong")
    handles = [
        Patch(facecolor=tuple(greys[index]), edgecolor="black", linewidth=0.5, label=phase.name)
        for index, phase in enumerate(view.phases.phases)
    ]
    handles.append(Patch(facecolor=WRONG, label="wrong"))
    legend = below[1].legend(
        handles=handles,
        loc="upper left",
        borderaxespad=0,
        ncols=max(4, math.ceil(len(handles) / 2)),
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
    )
    legend.set_in_layout(False)  # it may be wider than its panel
    return figure


def _greys(phases: PhaseTable) -> NDArray[np.float64]:
    """A grey for each index, (256, 3), in the order of the lightness of the phases' colours.

    Nothing but errors may be red, and the phases' own colours are.
    """
    lightness = phases.to_rgb(np.arange(len(phases))) @ np.array((0.299, 0.587, 0.114))
    table = np.full((256, 3), 0.5)
    for index, grey in zip(
        np.argsort(lightness), np.linspace(0.15, 0.95, len(phases)), strict=True
    ):
        table[index] = grey
    return table


def _figure3(view: _View) -> Figure:
    """Logits of UGSM, one map a phase, in one scale."""
    columns = min(len(view.phases), 4)
    figure, panels = _panels(view, columns, math.ceil(len(view.phases) / columns), 0.7)
    # few pixels reach the highest values, and would leave the rest pale
    limit = float(np.quantile(np.abs(view.logits), 0.99)) or 1.0
    colors = matplotlib.colormaps["RdBu"].resampled(31)  # noise in more shades makes large files
    for number, (name, logits) in enumerate(zip(view.phases.names, view.logits, strict=True)):
        shown = panels[number].imshow(
            logits, cmap=colors, vmin=-limit, vmax=limit, interpolation="nearest"
        )
        panels[number].set_title(f"({chr(ord('a') + number % 26)}) {name}")
    figure.colorbar(
        shown,
        ax=panels,
        location="bottom",
        extend="both",
        label="logit F of UGSM",
        shrink=0.5,
        aspect=30,
    )
    return figure


def _panels(view: _View, columns: int, rows: int, below: float) -> tuple[Figure, list[Axes]]:
    """Panels for images, row by row, without axes; `below` as for `_figure`."""
    figure = _figure(view, columns, rows, below)
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for panel in panels:
        panel.set_axis_off()
    return figure, panels


def _figure(view: _View, columns: int, rows: int, below: float) -> Figure:
    """Room for images with titles, and so many inches below for bars and legends."""
    height, width = view.image.shape
    return Figure(
        figsize=(columns * PANEL_INCHES, rows * (PANEL_INCHES * height / width + 0.28) + below),
        layout="constrained",
    )
