"""Two-point correlation of a phase, and the lengths that follow from it.

S2(r) is the probability that two points r apart both lie in the phase. With the volume fraction
eps, S2(0) = eps, S2 tends to eps^2 where nothing correlates, and rho = (S2 - eps^2) / (eps - eps^2)
is the normalised autocovariance. In an isotropic volume S2 begins with the slope -S_V / 4 (in an
image with -L_A / pi), S_V being the specific surface area (Debye, Anderson & Brumberger 1957;
Torquato 2002, "Random Heterogeneous Materials", section 2.2).

The volume is not taken for periodic: each lag is averaged over the pairs that are there.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

from matphase.properties.arrays import (
    Bools,
    Counts,
    Floats,
    check_axis,
    check_mask,
    check_repeated,
    check_spacing,
)
from matphase.properties.labelled import Spacing
from matphase.support.errors import InputError
from matphase.support.ratios import ratios

_NOISE = 0.02  # where rho is no longer told from 0, see `integral_range`


@dataclass(frozen=True, eq=False)
class RadialCorrelation:
    """Two-point correlation, averaged over all directions.

    Attributes:
        distance: mean length of the lags in each shell, ascending from 0; shells are as thick as a
            voxel's shortest edge.
        s2: mean of S2 over the pairs in each shell.
        rho: normalised autocovariance, 1 at distance 0; NaN where the phase is absent or
            everywhere.
    """

    distance: Floats
    s2: Floats
    rho: Floats


def correlation_counts(
    mask: Bools, max_lag: tuple[int, ...], counted: Bools | None = None, repeated: int = 0
) -> Counts:
    """Count pairs of voxels by their lag; slabs need an overlap of max_lag[0] slices.

    Each pair is counted once, in the slab that brings its later slice, and under the lag whose
    first component other than 0 is positive. The sum over slabs is the count of the volume, to the
    last pair: the transforms are rounded to the whole numbers that they stand for.

    Args:
        mask: where the phase is, (y, x) or (z, y, x).
        max_lag: greatest lag along each axis, in voxels.
        counted: same shape; False where voxels are ignored (none by default).
        repeated: leading slices that slabs before had too: all that there are, up to max_lag[0].

    Returns:
        Pairs in the phase, and pairs of counted voxels, by lag: shape
        (2, max_lag[0] + 1, 2 max_lag[1] + 1 [, 2 max_lag[2] + 1]). Lag 0 along the first axis is in
        front, along the others in the middle.

    Raises:
        InputError: not a mask, shapes that differ, a lag that is negative or longer than the volume
            is wide, or more repeated slices than there are.
    """
    check_mask(mask, counted)
    check_repeated(repeated, len(mask))
    if len(max_lag) != mask.ndim or any(
        not 0 <= lag < (side if axis else math.inf)
        for axis, (lag, side) in enumerate(zip(max_lag, mask.shape, strict=False))
    ):
        raise InputError(
            f"lags up to {tuple(max_lag)} do not fit a volume of {mask.shape} voxels; "
            "give one lag per axis, shorter than the side"
        )
    counts = np.zeros((2, max_lag[0] + 1, *(2 * lag + 1 for lag in max_lag[1:])), np.int64)
    # In pieces, since a transform takes 16 bytes a voxel and more.
    piece = max(2 * max_lag[0], 16)
    for first in range(repeated, len(mask), piece):
        begin = max(0, first - max_lag[0])
        part = slice(begin, first + piece)
        if counted is None:
            counts[0] += _pairs(mask[part], first - begin, max_lag)
            counts[1] += _all_pairs(mask[part].shape, first - begin, max_lag)
        else:
            counts[0] += _pairs(mask[part] & counted[part], first - begin, max_lag)
            counts[1] += _pairs(counted[part], first - begin, max_lag)
    # Within a slice each pair has been seen from either end.
    within = counts[:, 0].reshape(2, -1)
    within[:, : within.shape[1] // 2] = 0
    return counts


def _pairs(mask: Bools, first: int, max_lag: tuple[int, ...]) -> Counts:
    """Pairs in `mask` by lag whose later voxel is in slice `first` or below."""
    later = mask.copy()
    later[:first] = False
    # Lags that wrap around would have to pass the padding; along axis 0 they are never negative, so
    # that the slices above `first` serve as padding.
    sides = zip(mask.shape[1:], max_lag[1:], strict=True)
    padding = max(0, max_lag[0] - first)
    padded = (len(mask) + padding, *(side + lag for side, lag in sides))
    shape = [fft.next_fast_len(side, real=True) for side in padded]
    earlier_spectrum = fft.rfftn(mask.astype(np.float64), shape)
    spectrum = fft.rfftn(later.astype(np.float64), shape) * earlier_spectrum.conj()
    pairs = fft.irfftn(spectrum, shape, overwrite_x=True)[: max_lag[0] + 1]
    for axis, lag in enumerate(max_lag[1:], start=1):
        pairs = np.take(pairs, np.arange(-lag, lag + 1), axis=axis, mode="wrap")
    rounded: Counts = np.rint(pairs).astype(np.int64)
    return rounded


def _all_pairs(shape: tuple[int, ...], first: int, max_lag: tuple[int, ...]) -> Counts:
    """What `_pairs` gives for a mask that is true everywhere."""
    pairs: Counts = np.array([shape[0] - max(first, lag) for lag in range(max_lag[0] + 1)]).clip(
        min=0
    )
    for side, lag in zip(shape[1:], max_lag[1:], strict=True):
        pairs = pairs[..., np.newaxis] * (side - abs(np.arange(-lag, lag + 1)))
    return pairs


def correlation_along(counts: Counts, axis: int) -> Floats:
    """S2 along one axis.

    Args:
        counts: summed `correlation_counts`.
        axis: number of the axis.

    Returns:
        S2 at lags of 0, 1, 2 ... voxels along the axis; NaN where no pair counts.

    Raises:
        InputError: no such axis.
    """
    check_axis(axis, counts.ndim - 1)
    line = tuple(
        slice(middle, None) if number == axis else middle
        for number, middle in enumerate(_middle(counts[0]))
    )
    return ratios(counts[(0, *line)], counts[(1, *line)])


def radial_correlation(counts: Counts, spacing: Spacing) -> RadialCorrelation:
    """S2 averaged over all directions, weighted by the number of pairs.

    It ends at the greatest distance at which all directions are within the lags that were counted.

    Args:
        counts: summed `correlation_counts`.
        spacing: length of a voxel along each axis.

    Raises:
        InputError: counts and spacing have different numbers of axes.
    """
    lengths = _lag_lengths(counts, spacing)
    near = lengths <= _reach(counts, spacing)
    shell = np.rint(lengths[near] / min(spacing)).astype(np.int64)
    # Lags that are not used, and those that no pair has, weigh nothing.
    pairs = np.bincount(shell, weights=counts[1][near])
    filled = pairs > 0
    distance = ratios(np.bincount(shell, weights=counts[1][near] * lengths[near]), pairs)
    s2 = ratios(np.bincount(shell, weights=counts[0][near]), pairs)
    return RadialCorrelation(distance[filled], s2[filled], _normalised(s2[filled], counts))


def autocorrelation_length(radial: RadialCorrelation) -> float:
    """Distance at which rho has fallen to 1/e, linear between the shells.

    Returns:
        In the unit of the spacing; inf where rho does not fall so far within the lags, NaN where
        rho is not defined.
    """
    if not len(radial.rho) or math.isnan(radial.rho[0]):
        return math.nan
    below = np.flatnonzero(radial.rho < math.exp(-1))
    if not below.size:
        return math.inf
    around = slice(below[0] - 1, below[0] + 1)
    falling = -radial.rho[around]
    return float(np.interp(-math.exp(-1), falling, radial.distance[around]))


def integral_range(counts: Counts, spacing: Spacing) -> float:
    """Integral of rho over all lags: the volume that counts as one independent observation.

    The variance of the volume fraction of samples of volume V is eps (1 - eps) A / V with this
    integral A, where V is much larger than A (Matheron 1971; Lantuejoul 1991, J Microsc 161,
    387-403; Kanit et al. 2003, Int J Solids Struct 40, 3647-3679).

    The sum goes over the ball of lags up to the distance at which the radial mean of rho first
    falls to 0.02. What lies beyond is mostly noise, which grows with the volume of the ball. For
    overlapping balls the result is 1.04 of the exact one, with a standard deviation of 0.13, in
    windows 8 diameters wide, and 0.99 with one of 0.03 in windows of 16 diameters
    (benchmarks/results/surface_bias.md). Where rho decays exponentially in a volume, 25 % are lost;
    in structures with short-range order what is left out is negative, and A comes out too large.

    Args:
        counts: summed `correlation_counts`, with lags well beyond the autocorrelation length.
        spacing: length of a voxel along each axis.

    Returns:
        length^3 for a volume, length^2 for an image; NaN where rho is not defined, inf where it
        does not fall so far within the largest ball of the lags that were counted.

    Raises:
        InputError: counts and spacing have different numbers of axes.
    """
    radial = radial_correlation(counts, spacing)
    if not len(radial.rho) or math.isnan(radial.rho[0]):
        return math.nan
    fallen = np.flatnonzero(radial.rho <= _NOISE)
    if not fallen.size:
        return math.inf
    near = (_lag_lengths(counts, spacing) <= radial.distance[fallen[0]]) & (counts[1] > 0)
    rho = _normalised(ratios(counts[0][near], counts[1][near]), counts)
    # All lags but 0 stand for their opposite, too.
    return float(2 * rho.sum() - 1) * math.prod(spacing)


def _middle(pairs: Counts) -> tuple[int, ...]:
    """Where lag 0 is in the counts of either kind."""
    return (0, *(side // 2 for side in pairs.shape[1:]))


def _reach(counts: Counts, spacing: Spacing) -> float:
    """Radius of the largest ball of lags that were counted."""
    lags = (
        side - 1 - middle for side, middle in zip(counts[0].shape, _middle(counts[0]), strict=True)
    )
    return float(min(lag * length for lag, length in zip(lags, spacing, strict=True)))


def _lag_lengths(counts: Counts, spacing: Spacing) -> Floats:
    """Length of each lag.

    Raises:
        InputError: counts and spacing have different numbers of axes.
    """
    check_spacing(spacing, counts.ndim - 1)
    squares = np.zeros(())
    for middle, side, length in zip(_middle(counts[0]), counts[0].shape, spacing, strict=True):
        squares = squares[..., np.newaxis] + ((np.arange(side) - middle) * length) ** 2
    lengths: Floats = np.sqrt(squares)
    return lengths


def _normalised(s2: Floats, counts: Counts) -> Floats:
    """Rho of S2."""
    phase, counted = (pairs[_middle(pairs)] for pairs in counts)
    eps = ratios(phase, counted)
    return ratios(s2 - eps**2, np.broadcast_to(eps - eps**2, s2.shape))
