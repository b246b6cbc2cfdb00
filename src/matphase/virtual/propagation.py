"""Phase contrast by free-space propagation, and phase retrieval.

The wave propagates a distance R from the sample to the detector, which turns differences in phase
into intensity at edges (Snigirev et al., Rev. Sci. Instrum. 66, 5486, 1995). Arrays have the shape
(columns, rows) of the detector; distances and pixels are in metres.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]

_HC = 1.239841984e-9
"""Planck constant times speed of light in keV m."""


def wavelength(energy: float) -> float:
    """Wavelength in m of photons with `energy` in keV."""
    return _HC / energy


def propagate(
    attenuation: Floats, path: Floats, energy: float, distance: float, pixel: float
) -> Floats:
    """Intensity at a distance behind a thin sample, in the Fresnel approximation.

    Projection and propagator follow Paganin, Coherent X-Ray Optics (Oxford 2006), chapters 1 and
    2. To first order in R this is the transport-of-intensity equation,
    I = exp(-mu t) (1 + R laplacian(delta t)) where attenuation varies slowly. The sum over the
    detector does not change.

    Args:
        attenuation: integral of mu along the beam, dimensionless.
        path: integral of the refractive index decrement along the beam, in m.
        energy: photon energy in keV.
        distance: R in m.
        pixel: edge length of a detector pixel in m.

    Returns:
        Intensity, 1 without a sample. The field is periodic: its edges meet the opposite ones.
    """
    if distance == 0:
        return np.asarray(np.exp(-attenuation))
    length = wavelength(energy)
    wave = np.exp(-0.5 * attenuation - (2j * math.pi / length) * path)
    kernel = np.exp((-1j * math.pi * length * distance) * _square_frequency(wave.shape, pixel))
    wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * kernel, overwrite_x=True)
    return np.asarray(wave.real**2 + wave.imag**2)


def halo(energy: float, distance: float, pixel: float) -> int:
    """Number of pixels over which propagation spreads a point: 4 or more; 0 if distance is 0."""
    if distance == 0:
        return 0
    return 4 + math.ceil(wavelength(energy) * distance / pixel**2)


def retrieve(intensity: Floats, distance: float, ratio: float, pixel: float) -> Floats:
    """Phase retrieval for a sample of one material (Paganin et al., J. Microsc. 206, 33, 2002).

    Args:
        intensity: 1 without a sample.
        distance: R in m.
        ratio: refractive index decrement of the material over its attenuation (1/m), in m.
        pixel: edge length of a detector pixel in m.

    Returns:
        Intensity in contact with the sample; minus its logarithm is the integral of mu.
    """
    frequency = _square_frequency(intensity.shape, pixel)[:, : intensity.shape[1] // 2 + 1]
    spectrum = fft.rfft2(intensity) / (1 + 4 * math.pi**2 * distance * ratio * frequency)
    return np.asarray(fft.irfft2(spectrum, intensity.shape))


def mirrored(field: Floats, columns: int, rows: int) -> Floats:
    """Field with a mirrored margin, so that a filter sees no step at the edge."""
    return np.pad(field, ((columns, columns), (rows, rows)), mode="symmetric")


def _square_frequency(shape: tuple[int, ...], pixel: float) -> Floats:
    """Squared spatial frequency in 1/m2, in the order of a Fourier transform of `shape`."""
    first, second = (fft.fftfreq(n, pixel) for n in shape)
    return np.asarray(first[:, None] ** 2 + second**2)
