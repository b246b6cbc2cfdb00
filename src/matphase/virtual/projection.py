"""Parallel-beam projection and filtered back-projection of many slices at once.

A slice is a list of square pixels; the projection matrix of a few angles is applied to all slices
in one sparse product. Forward projection weights each detector column with the area of the pixel's
shadow on it (a trapezoid: De Man and Basu, Phys. Med. Biol. 49, 2463, 2004, in parallel geometry),
so that mass is conserved at every angle. Back-projection interpolates linearly between columns.

Lengths are in pixels, also projections. Detector column b is at b - (columns - 1) / 2 from the axis
of rotation; at angle a, a pixel is at x cos a + y sin a.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

Floats = NDArray[np.float64]

FilterName = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]

BLOCK = 8
"""Number of angles in one projection matrix."""

_GUARD = 3
"""Extra columns on each side for shadows beside the detector; a shadow covers at most three."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Scan geometry: angles (n,) in radians, and the number of detector columns."""

    angles: Floats
    columns: int

    @classmethod
    def half_turn(cls, angles: int, columns: int) -> "Geometry":
        """Geometry with equally spaced angles over 180 degrees."""
        return cls(np.asarray((np.arange(angles) + 0.5) * (math.pi / angles)), columns)

    @property
    def blocks(self) -> list[slice]:
        """Consecutive blocks of angles."""
        starts = range(0, self.angles.size, BLOCK)
        return [slice(start, min(start + BLOCK, self.angles.size)) for start in starts]


def centred(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Coordinates y and x in pixels from the centre of a slice, each of shape `shape`."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    grid_y, grid_x = np.broadcast_arrays(y[:, None], x)
    return grid_y, grid_x


def project(values: Floats, y: Floats, x: Floats, geometry: Geometry, block: slice) -> Floats:
    """Line integrals of pixel values, averaged over each detector column.

    Args:
        values: pixel values of shape (pixels, n), one column per slice.
        y: pixel centres (pixels,) relative to the axis of rotation.
        x: the same along x.
        geometry: geometry of the scan.
        block: angles to project.

    Returns:
        Projections of shape (angles of the block, columns, n).
    """
    angles = geometry.angles[block]
    width = geometry.columns + 2 * _GUARD
    index = np.empty((y.size, angles.size, 3), np.int32)
    weight = np.empty(index.shape)
    for n, (cosine, sine) in enumerate(_directions(angles)):
        middle = x * cosine + y * sine + (geometry.columns - 1) / 2
        wide, narrow = max(abs(cosine), abs(sine)), max(min(abs(cosine), abs(sine)), 1e-6)
        first = np.floor(middle - (wide + narrow) / 2 + 0.5)
        below = _shadow(first + 0.5 - middle, wide, narrow)
        both = _shadow(first + 1.5 - middle, wide, narrow)
        weight[:, n, 0] = below
        weight[:, n, 1] = both - below
        weight[:, n, 2] = 1 - both
        place = np.clip(first + _GUARD, 0, width - 3).astype(np.int32) + n * width
        index[:, n] = place[:, None] + np.arange(3, dtype=np.int32)
    starts = np.arange(y.size + 1, dtype=np.int32) * (3 * angles.size)
    matrix = sparse.csc_array(
        (weight.ravel(), index.ravel(), starts), shape=(angles.size * width, y.size)
    )
    shadows = (matrix @ values).reshape(angles.size, width, -1)
    return np.asarray(shadows[:, _GUARD:-_GUARD])


def back_project(projections: Floats, y: Floats, x: Floats, geometry: Geometry) -> Floats:
    """Back-projection: mean over the angles of the projection at each pixel, times pi.

    Args:
        projections: filtered projections of shape (angles, columns, n).
        y: pixel centres (pixels,) relative to the axis of rotation.
        x: the same along x.
        geometry: geometry of the scan.

    Returns:
        Pixel values (pixels, n) of the reconstructed slices.
    """
    total = np.zeros((y.size, projections.shape[2]))
    for block in geometry.blocks:
        angles = geometry.angles[block]
        index = np.empty((y.size, angles.size, 2), np.int32)
        weight = np.empty(index.shape)
        for n, (cosine, sine) in enumerate(_directions(angles)):
            place = x * cosine + y * sine + (geometry.columns - 1) / 2
            left = np.clip(np.floor(place), 0, geometry.columns - 2)
            weight[:, n, 1] = np.clip(place - left, 0, 1)
            weight[:, n, 0] = 1 - weight[:, n, 1]
            index[:, n, 0] = left.astype(np.int32) + n * geometry.columns
        index[:, :, 1] = index[:, :, 0] + 1
        starts = np.arange(y.size + 1, dtype=np.int32) * (2 * angles.size)
        matrix = sparse.csr_array(
            (weight.ravel(), index.ravel(), starts),
            shape=(y.size, angles.size * geometry.columns),
        )
        total += matrix @ projections[block].reshape(angles.size * geometry.columns, -1)
    return total * (math.pi / geometry.angles.size)


def ramp_filter(columns: int, name: FilterName, *, extend: bool) -> Callable[[Floats], Floats]:
    """Filter of filtered back-projection (Kak and Slaney 1988, section 3.3).

    Args:
        columns: number of detector columns.
        name: window that is applied to the ramp.
        extend: continue the projections beyond their ends, for a sample wider than the field of
            view; without it the slices would brighten steeply towards their edges.

    Returns:
        Function that filters projections (angles, columns, n).
    """
    margin = columns // 2 if extend else 0
    width = columns + 2 * margin
    size = int(fft.next_fast_len(2 * width, real=True))
    distance = np.arange(size // 2 + 1)
    kernel = np.zeros(size)
    kernel[0] = 0.25
    odd = distance[1::2]
    # the ramp is sampled in space; sampled in frequency it would remove the mean of the slice
    kernel[odd] = kernel[size - odd] = -1 / (math.pi * odd) ** 2
    frequency = np.arange(size // 2 + 1) / size
    transfer = fft.rfft(kernel).real * _window(name, frequency)

    def apply(projections: Floats) -> Floats:
        if extend:
            # the mean of four columns, since the noise of one would fill the whole margin
            left = projections[:, :4].mean(axis=1, keepdims=True)
            right = projections[:, -4:].mean(axis=1, keepdims=True)
            ends = (left.repeat(margin, axis=1), projections, right.repeat(margin, axis=1))
            projections = np.concatenate(ends, axis=1)
        spectrum = fft.rfft(projections, size, axis=1)
        spectrum *= transfer[:, None]
        filtered = fft.irfft(spectrum, size, axis=1)
        return np.asarray(filtered[:, margin : margin + columns])

    return apply


def _directions(angles: Floats) -> list[tuple[float, float]]:
    # rounded, since the last bits of sine and cosine differ between machines
    return [(round(math.cos(angle), 12), round(math.sin(angle), 12)) for angle in angles]


def _shadow(edge: Floats, wide: float, narrow: float) -> Floats:
    """Fraction of a pixel's shadow before `edge`, measured from the pixel's centre.

    The shadow is a trapezoid: the convolution of boxes of widths `wide` and `narrow`.
    """
    reach = np.minimum(np.abs(edge), (wide + narrow) / 2)
    slope = np.maximum(reach - (wide - narrow) / 2, 0)
    share = reach / wide - slope * slope / (2 * wide * narrow)
    return np.asarray(0.5 + np.copysign(share, edge))


def _window(name: FilterName, frequency: Floats) -> Floats:
    """Window of the filter at frequencies from 0 to 0.5 per pixel."""
    phase = 2 * math.pi * frequency
    match name:
        case "ramp":
            window = np.ones_like(frequency)
        case "shepp-logan":
            window = np.sinc(frequency)
        case "cosine":
            window = np.cos(phase / 2)
        case "hamming":
            window = 0.54 + 0.46 * np.cos(phase)
        case "hann":
            window = 0.5 + 0.5 * np.cos(phase)
    return np.asarray(window)
