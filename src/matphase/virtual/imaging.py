"""Grey images of labelled electrodes, by a simple model of phase-contrast tomography.

A stand-in for the whole chain from X-rays to reconstruction: what makes the real image hard is
here (carbon-binder and pore almost alike, bright and dark edges, correlated noise, rings, cupping),
what makes it quantitative is not. Grey values are in units of the step from pore to active
material.
"""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import fft, ndimage

from matphase.seeds import mix
from matphase.virtual.microstructure import CARBON, NICKEL, CheckedSettings, Floats, Labels

Image = NDArray[np.float32]

_CARBON_REFRACTION = 0.25
"""Refractive index decrement of the binder domain relative to NMC811: it goes with the electron
density, and carbon with PVDF at half porosity has about a quarter of that of NMC811."""

_SHIFT_SIZE = 24.0
"""Pixels over which the misregistration of a section varies."""

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Imaging(CheckedSettings):
    """How the electrode is seen. Amplitudes in units of the step from pore to active material.

    Raises:
        InputError: a negative or infinite value, or a name that is no setting.
    """

    contrast: Weight = 0.05
    """Carbon minus pore."""
    fringe: Weight = 1.2
    """Strength of the phase-contrast fringes along edges: the factor of the Laplacian, in voxels
    squared."""
    blur: Weight = 0.8
    """Standard deviation of the point spread, in voxels."""
    noise: Weight = 0.15
    """Standard deviation of the noise."""
    noise_size: Weight = 0.7
    """Correlation length of the noise, in voxels."""
    rings: Weight = 0.01
    """Standard deviation of the ring artefacts about the centre of each slice."""
    cupping: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of its brightness that the middle of a slice loses against the corners."""


def image_of(labels: Labels, imaging: Imaging, seed: int) -> Image:
    """Make the grey image of `labels`.

    Args:
        labels: 0 pore, 1 carbon, 2 nickel; shape (z, y, x).
        imaging: how it is seen.
        seed: names every random draw.

    Returns:
        Grey values of shape (z, y, x), float32; without artefacts pore is near 0, nickel near 1.
    """
    rng = np.random.default_rng(mix(seed, "image"))
    image = _blurred(labels, imaging.contrast, imaging.blur)
    # Transport of intensity: over a short distance the phase adds minus the Laplacian of the
    # refractive index decrement, which tells carbon from pore better than attenuation does.
    refraction = _blurred(labels, _CARBON_REFRACTION, imaging.blur)
    image -= imaging.fringe * ndimage.laplace(refraction, mode="nearest")
    radius = _radius(labels.shape[1:])
    image *= 1 - imaging.cupping * (1 - (radius / radius.max()) ** 2)
    image += imaging.rings * _rings(labels.shape[0], radius, rng)
    image += imaging.noise * _reconstruction_noise(labels.shape, imaging.noise_size, rng)
    return image


def measured_labels(
    labels: Labels, seed: int, *, shift: float = 0.5, roughness: float = 0.25
) -> Labels:
    """Labels as FIB-SEM with EDS would give them: a little misplaced, with frayed boundaries.

    Args:
        labels: exact labels of shape (z, y, x).
        seed: names every random draw.
        shift: standard deviation of the misregistration along y and along x, in pixels; it varies
            smoothly over a slice and is another one in each slice.
        roughness: standard deviation of a displacement that varies from pixel to pixel.

    Returns:
        Labels of the same shape and values.
    """
    rng = np.random.default_rng(mix(seed, "measured labels"))
    plane = labels.shape[1:]
    smooth, rough = (_gaussian_transfer(plane, size) for size in (_SHIFT_SIZE, 1.0))
    grid = np.indices(plane)
    measured = np.empty_like(labels)
    for section, result in zip(labels, measured, strict=True):
        displacement = shift * _noise((2, *plane), smooth, rng)
        displacement += roughness * _noise((2, *plane), rough, rng)
        row, column = np.rint(grid + displacement).astype(np.intp)
        result[...] = section[row.clip(0, plane[0] - 1), column.clip(0, plane[1] - 1)]
    return measured


def _blurred(labels: Labels, carbon: float, sigma: float) -> Image:
    """Map pore to 0, carbon to `carbon` and nickel to 1, and apply the point spread."""
    values = np.zeros(NICKEL + 1, np.float32)
    values[CARBON], values[NICKEL] = carbon, 1.0
    return np.asarray(ndimage.gaussian_filter(values[labels], sigma, mode="nearest"), np.float32)


def _radius(plane: tuple[int, ...]) -> Image:
    y, x = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in plane)
    return np.asarray(np.hypot(y[:, None], x), np.float32)


def _rings(slices: int, radius: Image, rng: np.random.Generator) -> Image:
    """Concentric rings (z, y, x) of unit variance; a detector column's gain drifts with z."""
    gain = rng.standard_normal((slices, int(radius.max()) + 2), np.float32)
    gain = ndimage.gaussian_filter(gain, (3.0, 0.7))
    gain /= gain.std()
    inner = radius.astype(np.intp)
    outward = radius - inner
    return np.asarray(gain[:, inner] * (1 - outward) + gain[:, inner + 1] * outward, np.float32)


def _reconstruction_noise(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> Image:
    """Noise (z, y, x) of unit variance as filtered back-projection leaves it.

    White noise in the projections becomes noise whose power rises with frequency in the plane,
    rolled off by detector and filter; slices are independent (Riederer, Pelc and Chesler,
    Phys. Med. Biol. 23, 446, 1978).
    """
    plane = shape[1:]
    return _noise(shape, np.sqrt(_frequency(plane)) * _gaussian_transfer(plane, size), rng)


def _noise(shape: tuple[int, ...], transfer: Floats, rng: np.random.Generator) -> Image:
    """Gaussian noise of unit variance whose last two axes went through a filter."""
    spectrum = fft.rfft2(rng.standard_normal(shape, np.float32))
    spectrum *= (transfer / np.sqrt((transfer**2).mean()))[:, : spectrum.shape[-1]]
    return np.asarray(fft.irfft2(spectrum, shape[-2:]), np.float32)


def _frequency(plane: tuple[int, ...]) -> Floats:
    """Spatial frequency (y, x) of a discrete Fourier transform, in cycles per pixel."""
    y, x = (np.fft.fftfreq(n) for n in plane)
    return np.asarray(np.hypot(y[:, None], x))


def _gaussian_transfer(plane: tuple[int, ...], sigma: float) -> Floats:
    """Transfer function (y, x) of a Gaussian blur of `sigma` pixels."""
    transfer: Floats = np.exp(-2 * (math.pi * sigma * _frequency(plane)) ** 2)
    return transfer
