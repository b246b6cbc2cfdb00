"""Size distribution of a phase by the largest ball around each point, without particles.

The local thickness at a point is the diameter of the largest ball that lies in the phase and holds
the point (Hildebrand & Ruegsegger 1997, J Microsc 185, 67-75). The points with a thickness of at
least d are the union of all balls of diameter d in the phase, that is its opening by such a ball;
so the share of them, as a function of d, is the granulometry (Serra 1982) or continuous
size distribution (Munch & Holzer 2008, J Am Ceram Soc 91, 4059-4067), and one function serves both.

Resolution: balls are centred on voxels and end at the centre of the nearest voxel outside. Plates
normal to an axis come out 0 or 1 voxel too thick, alternating with their width; tilted ones up to
0.6 too thick, rods up to 0.4 and balls 0.5 to 1.1 voxels too thin
(benchmarks/results/surface_bias.md). Below some 5 voxels sizes mean little. In an image the balls
are discs, and sizes are those of the section, not of the volume.
"""

from dataclasses import dataclass
from typing import TypeAlias

import edt
import numpy as np
from numpy.typing import NDArray

from matphase.properties.arrays import Bools, Floats, check_mask, check_spacing
from matphase.properties.labelled import Spacing
from matphase.support.errors import InputError

Thickness: TypeAlias = NDArray[np.float32]

_CLOSE = 1 - 1e-5  # distances are float32


@dataclass(frozen=True, eq=False)
class SizeDistribution:
    """Sizes in a phase, weighted by volume (by area in an image).

    Attributes:
        diameters: all local thicknesses that there are, ascending, in units of length.
        share_at_least: share of the phase with at least that thickness: 1 at first.
        mean: mean thickness.
        d10: 10 % of the phase are at most so thick; NaN, like the other numbers, where the phase is
            absent.
        d50: the same for 50 %.
        d90: the same for 90 %.
    """

    diameters: Floats
    share_at_least: Floats
    mean: float
    d10: float
    d50: float
    d90: float


def distances(mask: Bools, spacing: Spacing, counted: Bools | None = None) -> Thickness:
    """Distance of each voxel to the nearest one that counts and is outside the phase.

    What lies beyond the border, or is ignored, is taken to be what is best for the phase: it limits
    no distance.

    Args:
        mask: where the phase is, (y, x) or (z, y, x).
        spacing: length of a voxel along each axis.
        counted: same shape; False where voxels are ignored (none by default).

    Returns:
        Float32, shape of the mask, 0 outside the phase, inf where there is nothing outside.

    Raises:
        InputError: not a mask, shapes that differ, or a spacing that does not fit.
    """
    check_mask(mask, counted)
    check_spacing(spacing, mask.ndim)
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    inside = mask if counted is None else mask | ~counted
    found = _distances(inside, spacing)
    found[~mask] = 0
    return found


def _distances(inside: Bools, spacing: Spacing) -> Thickness:
    found: Thickness = edt.edt(np.ascontiguousarray(inside), anisotropy=spacing, parallel=1)
    return found


def local_thickness(
    mask: Bools, spacing: Spacing, counted: Bools | None = None, resolution: float = 0.05
) -> Thickness:
    """Local thickness of each voxel of a phase.

    Takes one distance transform per group of radii: some 20 up to a diameter of 10 voxels, 40 up to
    40 voxels.

    Args:
        mask: where the phase is, (y, x) or (z, y, x).
        spacing: length of a voxel along each axis.
        counted: same shape; False where voxels are ignored (none by default).
        resolution: radii that differ by no more than this share are taken for one, their middle. 0
            keeps all apart.

    Returns:
        Float32, shape of the mask: diameter in units of length, 0 outside the phase, inf where
        nothing is outside. A ball may reach beyond the border and into ignored voxels; near both,
        thickness is therefore an upper bound.

    Raises:
        InputError: not a mask, shapes that differ, a spacing that does not fit, or a negative
            resolution.
    """
    if not resolution >= 0:
        raise InputError(f"a resolution of {resolution} is not possible; give 0 or more")
    radius = distances(mask, spacing, counted)
    if not mask.any():
        return radius
    if np.isinf(radius).any():
        return np.where(mask, np.float32(np.inf), np.float32(0))
    thickness = np.zeros(mask.shape, np.float32)
    # From large balls to small ones: a voxel keeps the first that reaches it.
    for smallest, largest in _groups(radius[mask], resolution):
        middle = (smallest + largest) / 2
        reached = _distances(radius < smallest * _CLOSE, spacing) < middle * _CLOSE
        thickness[reached & mask & (thickness == 0)] = 2 * middle
    return thickness


def _groups(radii: Thickness, resolution: float) -> list[tuple[float, float]]:
    """Smallest and largest of each group of radii that count as one, largest group first."""
    groups: list[tuple[float, float]] = []
    for radius in np.unique(radii)[::-1].tolist():
        if groups and groups[-1][1] <= radius * (1 + resolution):
            groups[-1] = radius, groups[-1][1]
        else:
            groups.append((radius, radius))
    return groups


def distribution_of_thickness(thickness: Thickness) -> SizeDistribution:
    """Summarise a map of `local_thickness`."""
    levels, voxels = np.unique(thickness[thickness > 0], return_counts=True)
    if not voxels.size:
        nothing = np.zeros(0)
        return SizeDistribution(nothing, nothing, *[float("nan")] * 4)
    diameters: Floats = levels.astype(np.float64)
    smaller = np.cumsum(voxels) / voxels.sum()
    quantiles = diameters[np.searchsorted(smaller, [0.1, 0.5, 0.9])]
    return SizeDistribution(
        diameters=diameters,
        share_at_least=voxels[::-1].cumsum()[::-1] / voxels.sum(),
        mean=float(diameters @ voxels / voxels.sum()),
        d10=float(quantiles[0]),
        d50=float(quantiles[1]),
        d90=float(quantiles[2]),
    )


def size_distribution(
    mask: Bools, spacing: Spacing, counted: Bools | None = None, resolution: float = 0.05
) -> SizeDistribution:
    """Size distribution of a phase by local thickness, equal to that by opening.

    Arguments and errors are those of `local_thickness`.
    """
    return distribution_of_thickness(local_thickness(mask, spacing, counted, resolution))
