"""Edges brightened by propagation, and the retrieval that takes it back.

Behind the sample the wave runs a distance R to the detector, and its phase turns into intensity
(Snigirev et al., Rev. Sci. Instrum. 66, 5486, 1995). Arrays have the shape (columns, rows) of a
detector; distances and pixels are in metres.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]

_HC = 1.239841984e-9
"""Planck constant times speed of light, keV m."""


def wavelength(energy: float) -> float:
    """Wavelength, m, of photons of `energy` in keV."""
    return _HC / energy


def propagate(
    attenuation: Floats, path: Floats, energy: float, distance: float, pixel: float
) -> Floats:
    """Let the wave behind a thin sample run a distance, in the Fresnel approximation.

    Projection and propagator are those of Paganin, Coherent X-Ray Optics (Oxford 2006), chapters
    1 and 2. To first order in R this is the transport-of-intensity equation,
    I = exp(-mu t) (1 + R laplacian(delta t)) where attenuation varies slowly. The sum over the
    detector does not change.

    Args:
        attenuation: integral of mu along the beam, without unit.
        path: integral of the refractive index decrement along the beam, m.
        energy: keV.
        distance: R, m.
        pixel: edge of a detector pixel, m.

    Returns:
        Intensity, 1 without a sample. The edges of the field meet the opposite ones.
    """
    if distance == 0:
        return np.asarray(np.exp(-attenuation))
    length = wavelength(energy)
    wave = np.exp(-0.5 * attenuation - (2j * math.pi / length) * path)
    kernel = np.exp((-1j * math.pi * length * distance) * _square_frequency(wave.shape, pixel))
    wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * kernel, overwrite_x=True)
    return np.asarray(wave.real**2 + wave.imag**2)


def halo(energy: float, distance: float, pixel: float) -> int:
    """Pixels over which a point spreads on its way, at least 4, or 0 without propagation."""
    if distance == 0:
        return 0
    return 4 + math.ceil(wavelength(energy) * distance / pixel**2)


def retrieve(intensity: Floats, distance: float, ratio: float, pixel: float) -> Floats:
    """Undo the propagation of a sample of one material (Paganin et al., J. Microsc. 206, 33, 2002).

    Args:
        intensity: 1 without a sample.
        distance: R, m.
        ratio: refractive index decrement over attenuation (1/m) of the material, m.
        pixel: edge of a detector pixel, m.

    Returns:
        Intensity in contact with the sample; minus its logarithm is the integral of mu.
    """
    frequency = _square_frequency(intensity.shape, pixel)[:, : intensity.shape[1] // 2 + 1]
    spectrum = fft.rfft2(intensity) / (1 + 4 * math.pi**2 * distance * ratio * frequency)
    return np.asarray(fft.irfft2(spectrum, intensity.shape))


def mirrored(field: Floats, columns: int, rows: int) -> Floats:
    """A field with a mirrored margin, so that a filter meets no step at its edge."""
    return np.pad(field, ((columns, columns), (rows, rows)), mode="symmetric")


def _square_frequency(shape: tuple[int, ...], pixel: float) -> Floats:
    """Square of the spatial frequency, 1/m2, in the order of a Fourier transform of `shape`."""
    first, second = (fft.fftfreq(n, pixel) for n in shape)
    return np.asarray(first[:, None] ** 2 + second**2)
