"""Sampling error of a finite volume: the spread over other pieces of the same electrode."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DEVIATIONS = 1.6449
"""Standard errors on either side of an interval of 90 % confidence, for normal errors."""

BLOCKS = 64
"""Approximate number of blocks that a volume is cut into."""
_DRAWS = 400
_SHORTEST = 8
"""Shortest side of a block, in voxels."""


def blocks(shape: tuple[int, ...], wanted: int = BLOCKS) -> list[tuple[slice, ...]]:
    """Cut a volume into about `wanted` blocks with sides as equal as possible.

    Returns:
        slices of the axes for each block; together they cover the volume once.
    """
    side = max(_SHORTEST, (math.prod(shape) / wanted) ** (1 / len(shape)))
    edges = [
        np.linspace(0, length, max(1, round(length / side)) + 1).round().astype(int)
        for length in shape
    ]
    along = [[slice(a, b) for a, b in itertools.pairwise(ends.tolist())] for ends in edges]
    return list(itertools.product(*along))


def bootstrap_error(
    counts: NDArray[Any],
    statistic: Callable[[NDArray[Any]], NDArray[np.float64]],
    seed: int = 0,
) -> NDArray[np.float64]:
    """Bootstrap standard error of a statistic of counts that are sums over blocks (Efron 1979).

    Blocks are drawn with replacement. They must be larger than the correlated regions of the
    structure, otherwise the error is too small.

    Args:
        counts: (blocks, ...) additive counts.
        statistic: maps the sum of counts (...) to values (k,).
        seed: of the draws.

    Returns:
        (k,); nan with fewer than 4 blocks.
    """
    of_all = statistic(counts.sum(axis=0))
    if len(counts) < 4:
        return np.full(of_all.shape, np.nan)
    values = np.stack(
        [statistic(counts[chosen].sum(axis=0)) for chosen in _draws(len(counts), seed)]
    )
    # of n blocks the spread of their mean shows as (n - 1) / n of its variance
    return np.asarray(values.std(axis=0) * math.sqrt(len(counts) / (len(counts) - 1)))


def jackknife_error(left_out: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jackknife standard error of a statistic, from its values without each group (Tukey 1958).

    For ratios of few groups it varies less than a bootstrap, which draws the worst group often.

    Args:
        left_out: (groups, ...) values.

    Returns:
        (...), nan with fewer than 2 groups, inf where a value is not finite.
    """
    groups = len(left_out)
    if groups < 2:
        return np.full(left_out.shape[1:], np.nan)
    there = np.isfinite(left_out).all(axis=0)
    finite = np.where(there, left_out, 0.0)
    squares = ((finite - finite.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(np.where(there, np.sqrt((groups - 1) / groups * squares), np.inf))


def half_width(standard_error: float) -> float:
    """Half of the 90 % interval, from a standard error."""
    return _DEVIATIONS * standard_error


def needed_volume(volume: float, value: float, error: float, relative: float = 0.05) -> float:
    """Volume at which the sampling error leaves +-`relative` of the value at 90 % confidence.

    The variance of a mean falls as one over the volume, once it is larger than the integral
    range (Lantuejoul 1991; Kanit et al. 2003).
    """
    if not (math.isfinite(value) and math.isfinite(error)) or value == 0:
        return math.nan
    return volume * (half_width(error) / (relative * value)) ** 2


def _draws(n: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return (rng.integers(n, size=n) for _ in range(_DRAWS))
