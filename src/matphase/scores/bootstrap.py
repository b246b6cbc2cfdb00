"""Paired bootstrap over seeds and blocks: whether one method is better than another, or luckier.

The errors of neighbouring pixels are correlated, so a slice of a million pixels holds far fewer
independent observations. The bootstrap therefore draws blocks of pixels that are large enough to
be nearly independent, and the same blocks for both methods: what the methods have in common (a
hard region, a noisy label) then cancels in the difference.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matphase.scores.metrics.confusion import metric_by_name
from matphase.support.errors import InputError
from matphase.support.ratios import mean_of_defined
from matphase.support.seeds import mix

_WEIGHTS_AT_ONCE = 2**21  # drawn block counts held in memory at a time (16 MiB)


class Interval(NamedTuple):
    """Difference between two methods, and its confidence interval.

    All three are NaN where the metric is not defined.
    """

    difference: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the data decide which method is better; false where the metric is undefined."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, float | bool | None]:
        """The interval by name, with None for NaN, which JSON does not have."""
        values = {
            name: None if math.isnan(value) else value for name, value in self._asdict().items()
        }
        return {**values, "excludes_zero": self.excludes_zero}


def paired_difference(
    a: Sequence[NDArray[np.int64]],
    b: Sequence[NDArray[np.int64]],
    metric: str,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    same_pixels: bool = False,
) -> Interval:
    """Difference of `a` minus `b`, with a percentile interval (Efron & Tibshirani 1993).

    The bootstrap has two levels (Davison & Hinkley 1997, section 3.8): seeds are drawn with
    replacement, and in each drawn seed blocks with replacement, the same for both methods. With
    one seed only blocks are drawn, and the interval is about that electrode and training alone.
    With few seeds the interval is somewhat too narrow: resampling S of them shows (S - 1)/S of the
    variance between seeds, that is 2/3 for three.

    Args:
        a: per seed the block confusions (blocks, c, c) of one method, from `block_confusions`.
        b: per seed those of the other, on the same blocks. Their pixels may differ where one
            method was scored on a random part of them.
        metric: what to compare, see `metric_by_name`.
        draws: number of bootstrap draws.
        level: probability that the interval is meant to hold.
        seed: of the draws; the same for the same arguments.
        same_pixels: all seeds were tested on the same pixels and differ in training alone, so the
            blocks drawn are the same for all of them.

    Returns:
        The difference, mean over seeds of a's metric minus b's, and its interval. Seeds, and
        draws, in which the metric is undefined are left out; NaN where all are. A block in which
        neither method was scored is not drawn.

    Raises:
        InputError: different numbers of seeds or blocks, nothing scored in a seed, no such
            metric, no draws, or a level outside (0, 1).
    """
    if draws < 1 or not 0 < level < 1:
        raise InputError(
            f"{draws} draws at level {level} give no interval; give at least 1 draw and a level "
            "between 0 and 1"
        )
    pairs = _paired(a, b)
    whole = np.stack([pair.sum(axis=1) for pair in pairs])
    observed = mean_of_defined(_first_minus_second(whole, metric), axis=-1)
    random = np.random.default_rng(mix(seed, "paired bootstrap"))
    drawn = random.integers(len(pairs), size=(draws, len(pairs)))
    if same_pixels:
        # a generator of the same state draws the same blocks of every seed
        of_each = [
            _resampled(pair, draws, metric, np.random.default_rng(mix(seed, "blocks")))
            for pair in pairs
        ]
        differences = np.take_along_axis(np.stack(of_each, axis=1), drawn, axis=1)
    else:
        differences = np.empty(drawn.shape)
        for index, pair in enumerate(pairs):
            chosen = drawn == index
            differences[chosen] = _resampled(pair, int(chosen.sum()), metric, random)
    values = mean_of_defined(differences, axis=-1)
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
    pair: NDArray[np.int64], times: int, metric: str, random: np.random.Generator
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
        parts.append(_first_minus_second(sums, metric))
    return np.concatenate(parts)


def _first_minus_second(confusions: NDArray[Any], metric: str) -> NDArray[np.float64]:
    """Difference (...) of a metric from (..., 2, c, c)."""
    values = metric_by_name(confusions, metric)
    difference: NDArray[np.float64] = values[..., 0] - values[..., 1]
    return difference
