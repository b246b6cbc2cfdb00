"""Curves of trust: is the uncertainty right, does it find the errors, and where are they.

Each takes the results of one seed or more. A line is the mean over seeds, its band (or whisker)
reaches from the lowest to the highest of them. The colours are told apart with any colour vision.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from matphase.reproduce.page import mean_sd

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#666666"
_SCORES = {
    "entropy": ("entropy", BLUE, "-"),
    "mutual_information": ("mutual information", ORANGE, "--"),
    "idk_score": ("HCL-IDK score", GREEN, "-."),
}
_LOOKS = {"measured": (BLUE, "o", "-"), "exact": (ORANGE, "s", "--")}

Result = Mapping[str, Any]
Values = NDArray[np.float64]


def reliability(results: Sequence[Result]) -> Figure:
    """Draw accuracy against confidence, against each truth, and how many pixels have which.

    Args:
        results: of unit `ugsm`, one a seed.
    """
    figure = Figure(figsize=(5.2, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot((0, 1), (0, 1), color=GREY, linewidth=1, linestyle=":", label="ideal")
    for name in _truths(results, "reliability"):
        found = [result["reliability"][name] for result in results]
        color, marker, line = _LOOKS[name]
        accuracy = _stack(one["accuracy"] for one in found)
        confidence, _, _ = _spread(_stack(one["confidence"] for one in found))
        errors = _stack([one["ECE"]] for one in found)
        label = f"{name} labels: ECE {mean_sd(errors.ravel())}"
        _draw_band(upper, confidence, accuracy, label, color, line, marker)
    counts = _stack(result["reliability"]["measured"]["count"] for result in results)
    shares, low, high = _spread(100 * counts / np.maximum(counts.sum(1, keepdims=True), 1))
    width = 1 / len(shares)
    lower.bar(
        (np.arange(len(shares)) + 0.5) * width,
        shares,
        0.9 * width,
        yerr=_whiskers(shares, low, high) if len(results) > 1 else None,
        color=GREY,
        error_kw={"linewidth": 1},
    )
    upper.set(xlim=(0, 1.01), ylim=(0, 1.02), ylabel="accuracy (fraction)")
    upper.set_title(f"UGSM, {_seeds(results)}")
    lower.set(xlabel="confidence: probability of the label (fraction)", ylabel="pixels (%)")
    upper.legend(loc="lower right")
    for panel in (upper, lower):
        _tidy(panel)
    return figure


def risk_coverage(results: Sequence[Result]) -> Figure:
    """Draw the error rate of the pixels kept when the least certain are left out.

    Args:
        results: of unit `ugsm`, one a seed.
    """
    truths = _truths(results, "risk_coverage")
    figure = Figure(figsize=(0.4 + 4.3 * len(truths), 4.2), layout="constrained")
    panels = figure.subplots(1, len(truths), sharey=True, squeeze=False)[0]
    coverage = np.linspace(0.01, 1, 100)
    for panel, name in zip(panels, truths, strict=True):
        found = [result["risk_coverage"][name] for result in results]
        overall = _stack([one["entropy"]["risk"][-1]] for one in found)
        for score, (label, color, line) in _SCORES.items():
            risks = np.stack(
                [np.interp(coverage, one[score]["coverage"], one[score]["risk"]) for one in found]
            )
            _draw_band(panel, 100 * coverage, 100 * risks, label, color, line)
        # whoever knew the errors would leave out those first
        ideal = np.maximum(0, coverage - (1 - overall)) / coverage
        _draw_band(panel, 100 * coverage, 100 * ideal, "errors left out first", "black", ":")
        panel.axhline(
            100 * float(overall.mean()), color=GREY, linewidth=1, label="left out at random"
        )
        panel.set(xlim=(0, 100), ylim=(0, None), xlabel="coverage: pixels kept (%)")
        panel.set_title(f"against {name} labels")
        _tidy(panel)
    panels[0].set_ylabel("risk: wrong among the kept (%)")
    figure.suptitle(f"UGSM, {_seeds(results)}", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def error_by_distance(methods: Mapping[str, Sequence[Result]]) -> Figure:
    """Draw the error rate of each method by distance to the true boundary, against each truth.

    Args:
        methods: name and results, one a seed, of up to three methods.
    """
    anyone = next(iter(methods.values()))
    truths = [name for name in _LOOKS if name in anyone[0]["anatomy"]]
    figure = Figure(figsize=(0.4 + 4.3 * len(truths), 3.9), layout="constrained")
    panels = figure.subplots(1, len(truths), sharey=True, squeeze=False)[0]
    width = 0.8 / len(methods)
    for panel, name in zip(panels, truths, strict=True):
        bins = anyone[0]["anatomy"][name]["by_distance"]
        for number, (method, color) in enumerate(zip(methods, (BLUE, ORANGE, GREEN), strict=False)):
            rates = _stack(
                (one["error_rate"] for one in result["anatomy"][name]["by_distance"])
                for result in methods[method]
            )
            mean, low, high = _spread(100 * rates)
            panel.bar(
                np.arange(len(bins)) + (number - (len(methods) - 1) / 2) * width,
                mean,
                0.92 * width,
                yerr=_whiskers(mean, low, high) if len(rates) > 1 else None,
                color=color,
                label=method,
                error_kw={"linewidth": 1, "capsize": 2},
            )
        panel.set_xticks(range(len(bins)), [_bin_name(one) for one in bins])
        panel.set_xlabel("distance to the boundary (pixels)")
        panel.set_title(f"against {name} labels")
        _tidy(panel)
        panel.grid(visible=False, axis="x")
    panels[0].set_ylabel("wrong pixels (%)")
    figure.suptitle(_seeds(anyone), fontsize=10)
    panels[-1].legend(loc="upper right")
    return figure


def _truths(results: Sequence[Result], part: str) -> list[str]:
    return [name for name in _LOOKS if name in results[0][part]]


def _stack(rows: Any) -> Values:
    """(seeds, values); None, which stands for what is not defined, becomes NaN."""
    return np.array([list(row) for row in rows], np.float64)


def _spread(values: Values) -> tuple[Values, Values, Values]:
    """Mean, lowest and highest over seeds (axis 0) that have a value; NaN where none has."""
    known = np.ma.masked_invalid(values)
    return (
        np.ma.filled(known.mean(0), np.nan),
        np.ma.filled(known.min(0), np.nan),
        np.ma.filled(known.max(0), np.nan),
    )


def _whiskers(mean: Values, low: Values, high: Values) -> Values:
    return np.nan_to_num(np.stack([mean - low, high - mean]))


def _draw_band(
    panel: Axes, x: Values, seeds: Values, label: str, color: str, line: str, marker: str = ""
) -> None:
    mean, low, high = _spread(seeds)
    panel.plot(x, mean, color=color, linestyle=line, marker=marker, markersize=5, label=label)
    if len(seeds) > 1:
        panel.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


def _seeds(results: Sequence[Result]) -> str:
    return f"mean and range of {len(results)} seeds" if len(results) > 1 else "1 seed"


def _bin_name(one: Mapping[str, Any]) -> str:
    above, up_to = one["above"], one["up_to"]
    return f"> {above:g}" if up_to is None else f"{above:g}–{up_to:g}"


def _tidy(panel: Axes) -> None:
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
