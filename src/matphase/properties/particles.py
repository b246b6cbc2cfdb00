"""Particles of a phase that is cut at its necks, with the size and position of each.

A neck is where the distance to the nearest voxel outside falls and rises again on the way from one
piece to the next. The cut is the watershed of that distance, with one marker per piece (Beucher &
Lantuejoul 1979; Vincent & Soille 1991, IEEE Trans PAMI 13, 583-598). Which maxima of the distance
are pieces of their own is decided by their relative height above the highest pass to a larger one
(h-maxima, Soille 2004, "Morphological Image Analysis", section 6.3.4, on the logarithm).
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from matphase.properties.arrays import Bools, Floats, check_mask, check_spacing, shifted
from matphase.properties.labelled import Spacing
from matphase.properties.sizes import distances
from matphase.support.errors import InputError
from matphase.support.ratios import ratio

ParticleLabels: TypeAlias = NDArray[np.int32]
"""Number of the particle that a voxel belongs to, from 1; 0 where there is none."""


@dataclass(frozen=True, eq=False)
class Particles:
    """All particles of a volume; of an image their sections.

    Attributes:
        volume: of each particle, in length^3 (area in length^2 in an image); shape (particles,).
        diameter: of the ball (disc) of that volume.
        centroid: mean place of its voxel centres, in units of length from the outer corner of voxel
            0; shape (particles, axes).
        at_border: whether it touches the border of the volume or an ignored voxel, so that only
            part of it may be seen.
    """

    volume: Floats
    diameter: Floats
    centroid: Floats
    at_border: Bools


@dataclass(frozen=True)
class ParticleSummary:
    """Sizes of the particles that are completely inside the volume, weighted by volume.

    Particles at the border are left out, and large ones are there more often; where they are not
    small beside the volume, sizes lean to small ones.

    Attributes:
        count: number of particles, all.
        at_border: number of those at the border.
        border_share: their share of the volume of all; NaN where there are none.
        d10: 10 % of the volume of whole particles are in smaller ones; NaN, like the other
            diameters, where there are none.
        d50: the same for 50 %.
        d90: the same for 90 %.
    """

    count: int
    at_border: int
    border_share: float
    d10: float
    d50: float
    d90: float


def particle_labels(
    mask: Bools, spacing: Spacing, counted: Bools | None = None, h: float = 0.2
) -> ParticleLabels:
    """Cut a phase into particles.

    Args:
        mask: where the phase is, (y, x) or (z, y, x).
        spacing: length of a voxel along each axis.
        counted: same shape; False where voxels are ignored (none by default).
        h: depth of a neck, relative to the radius of the smaller particle: they are two where the
            radius of the neck is below 1 - h of it. Smaller values cut more; roughness of the
            surface by a voxel suggests necks of depth 1 / radius in voxels.

    Returns:
        Int32, shape of the mask; each number's voxels are connected by faces, edges or corners.

    Raises:
        InputError: not a mask, shapes that differ, a spacing that does not fit, or h not in (0, 1).
    """
    if not 0 < h < 1:
        raise InputError(f"the relative depth h of a neck is {h}; give a number between 0 and 1")
    radius = distances(mask, spacing, counted)
    around = np.ones((3,) * mask.ndim, np.bool_)
    if np.isinf(radius).any():  # nothing limits the phase, and nothing cuts it
        return _components(mask, around)
    # Lowered and grown back, a hill with a pass less than h below its top drowns in its neighbour.
    levelled = reconstruction(radius * np.float32(1 - h), radius, footprint=around)
    tops = local_maxima(levelled, connectivity=mask.ndim) & mask
    markers = _components(tops, around)
    labels: ParticleLabels = watershed(-radius, markers, connectivity=around, mask=mask)
    return labels


def _components(mask: Bools, around: Bools) -> ParticleLabels:
    """Number the connected parts of a mask from 1."""
    numbers = np.empty(mask.shape, np.int32)
    ndimage.label(mask, around, output=numbers)
    return numbers


def measure_particles(
    labels: ParticleLabels, spacing: Spacing, counted: Bools | None = None
) -> Particles:
    """Measure each particle.

    Args:
        labels: of `particle_labels`, or of any other tool: numbers 1..n, 0 where there is none.
        spacing: length of a voxel along each axis.
        counted: same shape; False where voxels are ignored (none by default).

    Raises:
        InputError: labels that are not whole numbers from 0 on, shapes that differ, or a spacing
            that does not fit.
    """
    if labels.dtype.kind not in "iu" or (labels.size and labels.min() < 0):
        raise InputError(
            f"particle labels of type {labels.dtype} are not integers from 0; "
            "number the particles from 1"
        )
    check_mask(labels > 0, counted)
    check_spacing(spacing, labels.ndim)
    flat = labels.ravel()
    voxels = np.bincount(flat, minlength=1)[1:]
    present = np.flatnonzero(voxels) + 1
    voxels = voxels[present - 1]
    centroid = np.empty((len(present), labels.ndim))
    for axis, (side, length) in enumerate(zip(labels.shape, spacing, strict=True)):
        # One position after the other: weights for all voxels would take 8 bytes each.
        sums = np.zeros(present.max(initial=0) + 1)
        for place in range(side):
            plane = np.take(labels, place, axis=axis).ravel()
            sums += (place + 0.5) * np.bincount(plane, minlength=len(sums))
        centroid[:, axis] = sums[present] / voxels * length
    volume = (voxels * math.prod(spacing)).astype(np.float64)
    at_border = np.isin(present, _border_labels(labels, counted))
    return Particles(volume, _equivalent_diameter(volume, labels.ndim), centroid, at_border)


def _border_labels(labels: ParticleLabels, counted: Bools | None) -> NDArray[np.int32]:
    """Numbers of the particles at the border or at ignored voxels, face to face."""
    found = []
    for axis in range(labels.ndim):
        found += [np.unique(np.take(labels, place, axis=axis)) for place in (0, -1)]
        if counted is not None:
            step = tuple(int(other == axis) for other in range(labels.ndim))
            above, below = shifted(labels, step)
            sees_above, sees_below = shifted(counted, step)
            found += [np.unique(above[~sees_below]), np.unique(below[~sees_above])]
    return np.unique(np.concatenate(found))


def _equivalent_diameter(volume: Floats, ndim: int) -> Floats:
    """Diameter of the ball, or disc, of a volume."""
    diameter: Floats = 2 * np.sqrt(volume / np.pi) if ndim == 2 else np.cbrt(6 * volume / np.pi)
    return diameter


def summarise_particles(particles: Particles) -> ParticleSummary:
    """Number of all particles, and sizes of those that are completely inside the volume."""
    whole = ~particles.at_border
    order = np.argsort(particles.diameter[whole])
    diameter, volume = particles.diameter[whole][order], particles.volume[whole][order]
    if diameter.size:
        share = np.cumsum(volume) / volume.sum()
        d10, d50, d90 = (float(diameter[np.searchsorted(share, q)]) for q in (0.1, 0.5, 0.9))
    else:
        d10 = d50 = d90 = float("nan")
    total = particles.volume.sum()
    border = particles.volume[particles.at_border].sum()
    return ParticleSummary(
        count=len(particles.volume),
        at_border=int(particles.at_border.sum()),
        border_share=ratio(border, total),
        d10=d10,
        d50=d50,
        d90=d90,
    )
