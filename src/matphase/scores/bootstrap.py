"""Is one method better than another, or only luckier: a paired bootstrap over seeds and blocks.

Neighbouring pixels err together, so that a slice of a million pixels holds far fewer independent
observations. What is drawn here are therefore blocks of pixels, wide enough to be nearly
independent, and the same ones for both methods: what they share (a hard region, a noisy label)
then cancels in the difference.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.support.errors import InputError
from matphase.support.seeds import mix

_WEIGHTS_AT_ONCE = 2**21  # drawn block counts held in memory at a time (16 MiB)


class Interval(NamedTuple):
    """How much better one method is than another, and the range that the data leave open.

    All three are NaN where the measure is not defined.
    """

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the data decide which method is better; false where the measure is undefined."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, float | bool | None]:
        """The interval by name, with None for NaN, which JSON does not have."""
        values = {
            name: None if math.isnan(value) else value for name, value in self._asdict().items()
        }
        return {**values, "excludes_zero": self.excludes_zero}


# --- counting -------------------------------------------------------------------------------------


def scored_pixels(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], n_phases: int
) -> NDArray[np.bool_]:
    """Where both truth and prediction are a phase: the pixels that count.

    Args:
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.
        labels: (n, h, w) predicted phase indices, `IGNORE_INDEX` where the method was not scored.
        n_phases: number of phases.

    Returns:
        (n, h, w), true where a pixel counts.

    Raises:
        InputError: the arrays are not stacks of one shape, or hold something that is no phase.
    """
    if truth.shape != labels.shape or truth.ndim != 3:
        raise InputError(
            f"truth has shape {truth.shape} and the labels have {labels.shape}; give two stacks "
            "(n, h, w) of the same slices"
        )
    scored = np.ones(truth.shape, np.bool_)
    for name, array in (("truth", truth), ("labels", labels)):
        if array.dtype.kind not in "iu":
            raise InputError(f"{name} of type {array.dtype} are no phase indices; give uint8")
        ignored = array == IGNORE_INDEX
        outside = ~ignored & ((array < 0) | (array >= n_phases))
        if outside.any():
            raise InputError(
                f"{name} hold the index {array[outside][0]}, but {n_phases} phases have the "
                f"indices 0..{n_phases - 1}; map the labels to phases first"
            )
        scored &= ~ignored
    return scored


def block_confusions(
    truth: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    n_phases: int,
    block: tuple[int, int, int],
) -> NDArray[np.int64]:
    """Count the confusions in each block of a stack.

    Args:
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.
        labels: (n, h, w) predicted phase indices, `IGNORE_INDEX` where the method was not scored.
        n_phases: number of phases.
        block: edges in pixels along z, y and x; the last block along an axis may be smaller.

    Returns:
        (blocks, n_phases, n_phases): true phase by row, predicted phase by column. Blocks run
        along x first, then y, then z. A pixel that is ignored in either array counts nowhere.

    Raises:
        InputError: an edge below 1, arrays that are not stacks of one shape, or no phase in them.
    """
    if len(block) != 3 or min(block) < 1:
        raise InputError(f"blocks of {block} pixels do not tile a stack; give three edges from 1")
    scored = scored_pixels(truth, labels, n_phases)
    grid = [-(-length // edge) for length, edge in zip(truth.shape, block, strict=True)]
    z, y, x = (np.arange(length) // edge for length, edge in zip(truth.shape, block, strict=True))
    place = (z[:, None, None] * grid[1] + y[:, None]) * grid[2] + x
    cell = (place[scored] * n_phases + truth[scored]) * n_phases + labels[scored]
    n_blocks = math.prod(grid)
    counts = np.bincount(cell, minlength=n_blocks * n_phases**2)
    return counts.astype(np.int64).reshape(n_blocks, n_phases, n_phases)


# --- measuring ------------------------------------------------------------------------------------


def measure_of(confusions: NDArray[Any], name: str) -> NDArray[np.float64]:
    """One measure of many confusion matrices at once, as `matphase.scores.metrics` has it for one.

    Args:
        confusions: (..., c, c) counts, true phase by row, predicted phase by column.
        name: "mIU", "fIU", "ACC" (a fraction) or "F1:<phase index>".

    Returns:
        (...); NaN where the counts leave the measure undefined.

    Raises:
        InputError: the matrices are not square, or there is no such measure or phase.
    """
    if confusions.ndim < 2 or confusions.shape[-1] != confusions.shape[-2]:
        raise InputError(
            f"an array of shape {confusions.shape} holds no confusion matrices; give (..., c, c)"
        )
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    true, predicted = confusions.sum(axis=-1), confusions.sum(axis=-2)
    iou = _ratios(right, true + predicted - right)
    if name == "ACC":
        return _ratios(right.sum(axis=-1), true.sum(axis=-1))
    if name == "mIU":
        return _ratios(np.nansum(iou, axis=-1), (~np.isnan(iou)).sum(axis=-1))
    if name == "fIU":
        weighted = np.where(true > 0, true * iou, 0.0)
        return _ratios(weighted.sum(axis=-1), true.sum(axis=-1))
    phase = re.fullmatch(r"F1:(\d+)", name, re.ASCII)
    if not phase or int(phase[1]) >= confusions.shape[-1]:
        raise InputError(
            f"there is no measure {name!r} of {confusions.shape[-1]} phases; give 'mIU', 'fIU', "
            f"'ACC', or 'F1:0' to 'F1:{confusions.shape[-1] - 1}'"
        )
    index = int(phase[1])
    return _ratios(2 * right[..., index], true[..., index] + predicted[..., index])


def _ratios(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divide part by whole, NaN where whole is 0."""
    part, whole = np.asarray(part), np.asarray(whole)
    ratios = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratios, where=whole != 0)
    return ratios


# --- comparing ------------------------------------------------------------------------------------


def paired_difference(
    a: Sequence[NDArray[np.int64]],
    b: Sequence[NDArray[np.int64]],
    measure: str,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    same_pixels: bool = False,
) -> Interval:
    """How much higher `a` scores than `b`, with a percentile interval (Efron & Tibshirani 1993).

    The bootstrap has two levels (Davison & Hinkley 1997, section 3.8): seeds are drawn with
    replacement, and in each drawn seed blocks with replacement, the same for both methods. With
    one seed only blocks are drawn, and the interval is about that electrode and training alone.
    With few seeds the interval is somewhat too narrow: resampling S of them shows (S - 1)/S of the
    variance between seeds, that is 2/3 for three.

    Args:
        a: per seed the block confusions (blocks, c, c) of one method, from `block_confusions`.
        b: per seed those of the other, on the same blocks. Their pixels may differ where one
            method was scored on a random part of them.
        measure: what to compare, see `measure_of`.
        draws: number of bootstrap draws.
        level: probability that the interval is meant to hold.
        seed: of the draws; the same for the same arguments.
        same_pixels: all seeds were tested on the same pixels and differ in training alone, so the
            blocks drawn are the same for all of them.

    Returns:
        The difference, mean over seeds of a's measure minus b's, and its interval. Seeds, and
        draws, in which the measure is undefined are left out; NaN where all are. A block in which
        neither method was scored is not drawn.

    Raises:
        InputError: different numbers of seeds or blocks, nothing scored in a seed, no such
            measure, no draws, or a level outside (0, 1).
    """
    if draws < 1 or not 0 < level < 1:
        raise InputError(
            f"{draws} draws at level {level} give no interval; give at least 1 draw and a level "
            "between 0 and 1"
        )
    pairs = _paired(a, b)
    whole = np.stack([pair.sum(axis=1) for pair in pairs])
    observed = _mean_of_defined(_first_minus_second(whole, measure))
    random = np.random.default_rng(mix(seed, "paired bootstrap"))
    drawn = random.integers(len(pairs), size=(draws, len(pairs)))
    if same_pixels:
        # a generator of the same state draws the same blocks of every seed
        of_each = [
            _resampled(pair, draws, measure, np.random.default_rng(mix(seed, "blocks")))
            for pair in pairs
        ]
        differences = np.take_along_axis(np.stack(of_each, axis=1), drawn, axis=1)
    else:
        differences = np.empty(drawn.shape)
        for index, pair in enumerate(pairs):
            chosen = drawn == index
            differences[chosen] = _resampled(pair, int(chosen.sum()), measure, random)
    values = _mean_of_defined(differences)
    values = values[~np.isnan(values)]
    if not values.size or np.isnan(observed):
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(observed), float(low), float(high))


def _paired(
    a: Sequence[NDArray[np.int64]], b: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """Per seed both methods' confusions, (2, blocks, c, c), without the blocks not scored."""
    if len(a) != len(b) or not len(a):
        raise InputError(
            f"one method has {len(a)} seeds and the other {len(b)}; compare the same seeds"
        )
    pairs = []
    for index, (first, second) in enumerate(zip(a, b, strict=True)):
        if first.shape != second.shape or first.ndim != 3 or first.shape[1:] != a[0].shape[1:]:
            raise InputError(
                f"block confusions {index} have shapes {first.shape} and {second.shape}; give "
                "(blocks, c, c) of the same blocks and phases"
            )
        pair = np.stack([first, second])
        pair = pair[:, pair.any(axis=(0, 2, 3))]
        if not pair.shape[1]:
            raise InputError(f"no pixel was scored in block confusions {index}; leave them out")
        pairs.append(pair)
    return pairs


def _resampled(
    pair: NDArray[np.int64], times: int, measure: str, random: np.random.Generator
) -> NDArray[np.float64]:
    """Differences (times,) of one seed, each with blocks drawn anew."""
    n_blocks, n_phases = pair.shape[1:3]
    # Counts are exact in float64 up to 2^53, and its matrix product is many times faster.
    flat = pair.transpose(1, 0, 2, 3).reshape(n_blocks, -1).astype(np.float64)
    even = np.full(n_blocks, 1 / n_blocks)
    at_once = max(1, _WEIGHTS_AT_ONCE // n_blocks)
    parts = [np.empty(0)]
    for start in range(0, times, at_once):
        weights = random.multinomial(n_blocks, even, size=min(at_once, times - start))
        sums = (weights @ flat).reshape(-1, 2, n_phases, n_phases)
        parts.append(_first_minus_second(sums, measure))
    return np.concatenate(parts)


def _first_minus_second(confusions: NDArray[Any], measure: str) -> NDArray[np.float64]:
    """Difference (...) of a measure from (..., 2, c, c)."""
    values = measure_of(confusions, measure)
    difference: NDArray[np.float64] = values[..., 0] - values[..., 1]
    return difference


def _mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    return _ratios(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))
