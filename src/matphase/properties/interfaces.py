"""Areas at which the phases meet, by the discrete Cauchy-Crofton formula.

The area of a surface per volume is twice the mean number of its intersections with straight lines,
per length of line and over all directions: S_V = 2 P_L. On voxels there are lines in the 13
directions to the neighbours of a voxel (4 in an image), and each stands for the directions that are
nearest to it (Ohser & Muecklich 2000, "Statistical Analysis of Microstructures in Materials
Science", chapter 4; Legland, Kieu & Devaux 2007, Image Anal Stereol 26, 83-92). What is counted
are changes of phase between neighbours, hence the areas of all pairs of phases come from the same
counts: they are symmetric, and those of a phase add up to its own area exactly.

How far it is off (benchmarks/results/surface_bias.md): balls come out right to 1 % from a radius of
5 voxels on. A plane normal to an axis of cubic voxels has 0.927 of its area, tilted ones 0.927 to
1.023, with a mean of 1 over all tilts. What is smaller than a voxel is lost where surfaces meet at
an edge: overlapping balls of radius 5, 10 and 15 voxels have 0.90, 0.94 and 0.96 of their area. The
widespread alternative, adding up voxel faces, is not offered: it measures a ball 1.5 times too
large at any resolution.
"""

import itertools
import math
from functools import lru_cache

import numpy as np
from scipy.spatial import SphericalVoronoi

from matphase.images.phases import IGNORE_INDEX
from matphase.properties.arrays import (
    Counts,
    Floats,
    check_indices,
    check_repeated,
    check_spacing,
    shifted,
)
from matphase.properties.labelled import Indices, Spacing
from matphase.support.errors import InputError
from matphase.support.ratios import ratio, ratios


def directions(ndim: int) -> tuple[tuple[int, ...], ...]:
    """Steps to half of a voxel's neighbours, no two opposite: 4 in an image, 13 in a volume.

    The first component that is not 0 is positive.
    """
    origin = (0,) * ndim
    return tuple(step for step in itertools.product((0, 1, -1), repeat=ndim) if step > origin)


@lru_cache(maxsize=8)  # a bootstrap asks hundreds of times, and the cells take a millisecond
def direction_weights(spacing: Spacing) -> Floats:
    """Share of all directions that each of `directions` stands for.

    In a volume the area of its Voronoi cell on the unit sphere, in an image its angular sector,
    both for the actual lengths of the voxel's edges.

    Args:
        spacing: length of a voxel along each of 2 or 3 axes.

    Returns:
        Shape (4,) or (13,), of sum 1; read-only, since it is kept. For cubic voxels .0916 along
        the axes, .0740 along the diagonals of faces and .0704 along those of the voxel, as Ohser &
        Muecklich have them.

    Raises:
        InputError: not one positive length for each of 2 or 3 axes.
    """
    if len(spacing) not in (2, 3):
        raise InputError(f"areas need 2 or 3 axes, not {len(spacing)}; give (y, x) or (z, y, x)")
    check_spacing(spacing, len(spacing))
    vectors = np.array(directions(len(spacing))) * spacing
    if len(spacing) == 2:
        angles = np.arctan2(vectors[:, 1], vectors[:, 0]) % math.pi
        order = np.argsort(angles)
        gaps = np.diff(angles[order], append=angles[order[0]] + math.pi)
        weights = np.empty(len(vectors))
        weights[order] = (gaps + np.roll(gaps, 1)) / (2 * math.pi)
        weights.setflags(write=False)
        return weights
    points = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cells = SphericalVoronoi(np.concatenate([points, -points])).calculate_areas()
    shares: Floats = cells[: len(points)] / (2 * math.pi)
    shares.setflags(write=False)
    return shares


def interface_counts(slab: Indices, n_phases: int, repeated: int = 0) -> Counts:
    """Count which phases are neighbours, in each of `directions`; slabs need an overlap of 1.

    Pairs with an ignored voxel or with the outside do not count. The sum over slabs is the count of
    the volume.

    Args:
        slab: phase indices, (y, x) or (z, y, x).
        n_phases: number of phases.
        repeated: leading slices that the slab before had too: 0 for the first slab, then 1.

    Returns:
        Pairs by direction, phase at the start of the step, and phase at its end; shape
        (4 or 13, n_phases, n_phases). The diagonal counts neighbours of one phase.

    Raises:
        InputError: not phase indices of that many phases, or more repeated slices than there are.
    """
    check_indices(slab, n_phases)
    check_repeated(repeated, len(slab))
    steps = directions(slab.ndim)
    kinds = n_phases + 1  # the last kind are the ignored voxels
    counts = np.zeros((len(steps), kinds * kinds), np.int64)
    before = None
    # Slice by slice, so that what is made on the way stays small beside the slab.
    for place in range(max(0, repeated - 1), len(slab)):
        plane = slab[place].astype(np.uint16)
        plane[plane == IGNORE_INDEX] = n_phases
        for number, (across, *within) in enumerate(steps):
            start = before if across else plane
            if start is None or place < repeated:
                continue
            starts, ends = shifted(start, tuple(within))[0], shifted(plane, tuple(within))[1]
            pairs = starts * kinds + ends
            counts[number] += np.bincount(pairs.ravel(), minlength=kinds * kinds)
        before = plane
    return counts.reshape(len(steps), kinds, kinds)[:, :n_phases, :n_phases]


def areas_from_counts(counts: Counts, spacing: Spacing) -> Floats:
    """Interface area per total volume of each pair of phases.

    Args:
        counts: summed `interface_counts`.
        spacing: length of a voxel along each axis.

    Returns:
        Symmetric, shape (n_phases, n_phases), 0 on the diagonal and for phases that do not meet.
        Of a volume in 1/length: area per counted volume. Of an image in 1/length too, but length of
        boundary per area, L_A; see `surface_from_sections`. NaN everywhere where one direction has
        no pair of counted voxels, as in a volume one voxel thick: measure that as an image.

    Raises:
        InputError: counts and spacing have different numbers of axes.
    """
    weights = direction_weights(tuple(spacing))
    if len(counts) != len(weights):
        raise InputError(
            f"counts in {len(counts)} directions do not fit a voxel size of {len(spacing)} axes; "
            "give the voxel size of the volume that was counted"
        )
    lengths = np.linalg.norm(np.array(directions(len(spacing))) * spacing, axis=1)
    changes = counts + counts.transpose(0, 2, 1)
    changes[:, range(counts.shape[1]), range(counts.shape[1])] = 0
    per_length = ratios(changes, (counts.sum(axis=(1, 2)) * lengths)[:, np.newaxis, np.newaxis])
    factor = 2 if len(spacing) == 3 else math.pi / 2
    areas: Floats = factor * np.tensordot(weights, per_length, axes=1)
    return areas


def interface_areas(indices: Indices, n_phases: int, spacing: Spacing) -> Floats:
    """Interface area per total volume of each pair of phases, by Cauchy-Crofton.

    Arguments and errors are those of `interface_counts`, the result is that of `areas_from_counts`.
    """
    check_spacing(spacing, indices.ndim)
    return areas_from_counts(interface_counts(indices, n_phases), spacing)


def boundary_lengths(plane: Indices, n_phases: int) -> Floats:
    """Length in pixels of the boundary between each pair of phases in one slice.

    Args:
        plane: phase indices or `IGNORE_INDEX`, (y, x).
        n_phases: number of phases.

    Returns:
        Symmetric, shape (n_phases, n_phases); 0 for a slice in which no pixel counts.
    """
    return np.nan_to_num(interface_areas(plane, n_phases, (1.0, 1.0)) * plane.size)


def specific_surface_areas(areas: Floats) -> Floats:
    """Each phase's own area per total volume: the sum of its interfaces with all others.

    Args:
        areas: of `areas_from_counts`.

    Returns:
        Shape (n_phases,), 1/length.
    """
    own: Floats = areas.sum(axis=1)
    return own


def surface_from_sections(boundary: Floats) -> Floats:
    """Area per volume S_V of a structure that sections show with boundary length L_A per area.

    S_V = 4 / pi L_A (Underwood 1970, "Quantitative Stereology", chapter 3). It holds for isotropic
    structures and for sections of random orientation only.
    """
    return 4 / math.pi * boundary


def coverage(areas: Floats, phase: int, by: int) -> float:
    """Share of the surface of `phase` that `by` covers, as binder does the active material.

    Args:
        areas: of `areas_from_counts`.
        phase: index of the phase that is covered.
        by: index of the phase that covers it.

    Returns:
        In [0, 1]; NaN where the phase has no surface.

    Raises:
        InputError: a phase that is not there, or one and the same.
    """
    if phase == by or not {phase, by} <= set(range(len(areas))):
        raise InputError(
            f"phase {by} cannot cover phase {phase}; name two different ones of the {len(areas)}"
        )
    return ratio(areas[phase, by], areas[phase].sum())
