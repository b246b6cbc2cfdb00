"""Chord lengths: lengths of straight lines inside a phase.

A chord that ends at the border of the volume, or at ignored voxels, is longer than what is seen of
it. Such chords are counted apart and left out of the distribution. That has a price: long
chords meet the border more often, so the distribution of whole chords leans to short ones where
chords are not short beside the volume. `ChordLengths.mean_intercept` does not: it counts ends.

Source: Torquato 2002, "Random Heterogeneous Materials", sections 2.5 and 12.1.4.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from matphase.properties.arrays import Bools, Counts, Floats, check_axis, check_mask
from matphase.support.errors import InputError
from matphase.support.ratios import ratio


class ChordCounts(NamedTuple):
    """Number of chords by their length in voxels, and of the places where chords could be.

    The first three are of shape (length of the axis + 1,).
    """

    whole: Counts
    """Chords with both ends inside."""
    cut_once: Counts
    """Visible part of chords with one end inside."""
    through: Counts
    """Visible part of chords with no end inside."""
    voxels: int
    """Voxels that count."""
    neighbours: int
    """Pairs of neighbours along the axis that count, between which a chord could end."""

    @property
    def ends(self) -> int:
        """Number of visible ends of chords."""
        return int(2 * self.whole.sum() + self.cut_once.sum())


@dataclass(frozen=True, eq=False)
class ChordLengths:
    """Chord lengths of a phase along an axis, in units of the voxel size.

    Attributes:
        lengths: 1, 2, ... voxels along the axis.
        number: whole chords of each length.
        number_mean: mean length of whole chords; NaN where there are none.
        length_mean: mean length of the whole chord through a random voxel on one; NaN where there
            are none.
        mean_intercept: twice the share of the phase in all lines, over the number of ends per
            length of line. Needs no whole chords; NaN where nothing ends.
        cut_share: share of the phase that lies on chords with an end outside; NaN where there is no
            phase.
    """

    lengths: Floats
    number: Counts
    number_mean: float
    length_mean: float
    mean_intercept: float
    cut_share: float


def chord_counts(mask: Bools, axis: int, counted: Bools | None = None) -> ChordCounts:
    """Count the chords of a phase along one axis.

    Counts of parts of a volume add up where each part is whole along `axis`: for the axes of a
    slice any slabs will do, without overlap; along axis 0 cut the volume along another axis.

    Args:
        mask: where the phase is, (y, x) or (z, y, x).
        axis: number of the axis.
        counted: same shape; False where voxels are ignored (none by default).

    Raises:
        InputError: no such axis, not a mask, or shapes that differ.
    """
    check_mask(mask, counted)
    check_axis(axis, mask.ndim)
    length = mask.shape[axis]
    # Every line has a voxel more in front and behind, of no phase, so that all chords have ends.
    lines = _as_lines(mask if counted is None else mask & counted, axis)
    unknown = _as_lines(np.zeros_like(mask) if counted is None else ~counted, axis)
    unknown[:, 0] = unknown[:, -1] = True
    changes = np.flatnonzero(lines.ravel()[1:] != lines.ravel()[:-1])
    before, last = changes[::2], changes[1::2]
    cuts = unknown.ravel()[before].astype(np.uint8) + unknown.ravel()[last + 1]
    lengths = last - before
    whole, cut_once, through = (
        np.bincount(lengths[cuts == n], minlength=length + 1).astype(np.int64) for n in range(3)
    )
    known = ~unknown
    neighbours = known[:, 1:] & known[:, :-1]
    return ChordCounts(
        whole, cut_once, through, int(np.count_nonzero(known)), int(np.count_nonzero(neighbours))
    )


def _as_lines(voxels: Bools, axis: int) -> Bools:
    """One line along `axis` in each row, with False at either end."""
    rows = np.moveaxis(voxels, axis, -1).reshape(-1, voxels.shape[axis])
    return np.pad(rows, [(0, 0), (1, 1)])


def chords_from_counts(counts: ChordCounts, length: float) -> ChordLengths:
    """Chord length distribution and its means.

    Args:
        counts: of `chord_counts`, those of parts summed array by array.
        length: of a voxel along the axis.

    Raises:
        InputError: the length of a voxel is not a positive number.
    """
    if not 0 < length < np.inf:
        raise InputError(
            f"the voxel size {length} is not possible; give the length of a voxel along the axis"
        )
    voxels = np.arange(len(counts.whole))
    whole, cut = counts.whole, counts.cut_once + counts.through
    in_whole, in_cut, squares = int(voxels @ whole), int(voxels @ cut), int(voxels**2 @ whole)
    in_phase = in_whole + in_cut
    return ChordLengths(
        lengths=(voxels[1:] * length).astype(np.float64),
        number=whole[1:],
        number_mean=ratio(in_whole * length, int(whole.sum())),
        length_mean=ratio(squares * length, in_whole),
        mean_intercept=ratio(
            2 * in_phase * counts.neighbours * length, counts.voxels * counts.ends
        ),
        cut_share=ratio(in_cut, in_phase),
    )


def chord_lengths(
    mask: Bools, axis: int, length: float, counted: Bools | None = None
) -> ChordLengths:
    """Chord lengths of a phase along one axis.

    Arguments and errors are those of `chord_counts` and `chords_from_counts`.
    """
    return chords_from_counts(chord_counts(mask, axis, counted), length)
