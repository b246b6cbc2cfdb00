"""Length of the triple-phase boundary per volume, where three phases meet.

The length of lines per volume is twice the number of points per area in which they pierce planes:
L_V = 2 P_A (Underwood 1970, "Quantitative Stereology", chapter 4). Planes normal to the axes run
between four voxels each around a voxel edge; where these hold three phases or more, a line passes.
With cubic voxels this is 2/3 of the length of all such edges, the correction that an isotropic
staircase needs (Joergensen et al. 2014, J Power Sources 261, 198-205, compare it with others).

How far it is off (benchmarks/results/surface_bias.md): a line along an axis has 2/3 of its length,
one along the diagonal of a cubic voxel 1.15. In the mean over all tilts, lines where surfaces meet
at a right angle come out 7 % too long at any resolution and at 45 degrees 25 %, since the grid
tears one point of a section into several. Where balls of a radius of 5 to 15 voxels overlap at all
angles it is -3 to +8 %: lines that are lost between them make up for some of it.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.properties.arrays import Counts, check_indices, check_repeated, check_spacing, shifted
from matphase.properties.labelled import Indices, Spacing
from matphase.support.errors import InputError
from matphase.support.ratios import ratios


def triple_line_counts(slab: Indices, repeated: int = 0) -> Counts:
    """Count the voxel edges in which three phases or more meet; slabs need an overlap of 1.

    Edges with an ignored voxel around them, or at the outside, do not count. The sum over slabs is
    the count of the volume.

    Args:
        slab: phase indices, (y, x) or (z, y, x).
        repeated: leading slices that the slab before had too: 0 for the first slab, then 1.

    Returns:
        Triple edges, and all edges that count; shape (3, 2), for the edges whose four voxels lie
        along the axes (0, 1), (0, 2) and (1, 2). Of an image corners of pixels; shape (1, 2).

    Raises:
        InputError: not phase indices, or more repeated slices than there are.
    """
    check_indices(slab, IGNORE_INDEX)
    check_repeated(repeated, len(slab))
    planes = list(itertools.combinations(range(slab.ndim), 2))
    counts = np.zeros((len(planes), 2), np.int64)
    # Slice by slice, so that what is made on the way stays small beside the slab.
    for place in range(repeated, len(slab)):
        pair = slab[max(0, place - 1) : place + 1]
        for number, axes in enumerate(planes):
            counts[number] += _triple_rings(pair if 0 in axes else pair[-1:], axes)
    return counts


def _triple_rings(voxels: Indices, axes: tuple[int, int]) -> NDArray[np.int64]:
    """Count the squares of four voxels along `axes`: those of three phases or more, and all."""
    step = [0] * voxels.ndim
    step[axes[0]] = 1
    upper, lower = shifted(voxels, tuple(step))
    step[axes[0]], step[axes[1]] = 0, 1
    (a, b), (c, d) = shifted(upper, tuple(step)), shifted(lower, tuple(step))
    counted = (a != IGNORE_INDEX) & (b != IGNORE_INDEX) & (c != IGNORE_INDEX) & (d != IGNORE_INDEX)
    phases = np.ones(a.shape, np.uint8)
    phases += b != a
    phases += (c != a) & (c != b)
    phases += (d != a) & (d != b) & (d != c)
    return np.array([np.count_nonzero(counted & (phases >= 3)), np.count_nonzero(counted)])


def triple_lines_from_counts(counts: Counts, spacing: Spacing) -> float:
    """Length of the triple-phase boundary per volume.

    Args:
        counts: summed `triple_line_counts`.
        spacing: length of a voxel along each axis.

    Returns:
        Of a volume in 1/length^2: L_V = 2 P_A, the mean over the planes normal to the three axes.
        Of an image in 1/length^2 too, but triple points per area, P_A. NaN where a plane has no
        edge that counts, as in a volume one voxel thick: measure that as an image.

    Raises:
        InputError: counts and spacing have different numbers of axes.
    """
    check_spacing(spacing, len(spacing))
    planes = list(itertools.combinations(spacing, 2))
    if len(planes) != len(counts):
        raise InputError(
            f"counts in {len(counts)} planes do not fit a voxel size of {len(spacing)} axes; "
            "give the voxel size of the volume that was counted"
        )
    squares = np.array([height * width for height, width in planes])
    points_per_area = ratios(counts[:, 0], counts[:, 1] * squares)
    return float((2 if len(planes) == 3 else 1) * points_per_area.mean())


def triple_line_length(indices: Indices, spacing: Spacing) -> float:
    """Length of the triple-phase boundary per volume, or triple points per area of an image.

    Arguments and errors are those of `triple_line_counts`, the result is that of
    `triple_lines_from_counts`.
    """
    check_spacing(spacing, indices.ndim)
    return triple_lines_from_counts(triple_line_counts(indices), spacing)
