"""Detector model: blur, photon noise, read noise, and errors of the pixel gains.

Each pixel uses a fixed number of random draws, and results depend continuously on the intensity. A
rounding difference in the intensity, as between two FFT builds, stays a rounding difference.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]


def blurred(intensity: Floats, sigma: float) -> Floats:
    """Image (columns, rows) blurred by a Gaussian point spread function of `sigma` pixels."""
    if sigma == 0:
        return intensity
    return np.asarray(ndimage.gaussian_filter(intensity, sigma, mode="nearest", truncate=4))


def count(intensity: Floats, photons: float, read_noise: float, rng: np.random.Generator) -> Floats:
    """Measured intensity with photon noise and read noise.

    The photon count follows the Poisson distribution, approximated by a normal draw with the
    expansion of Cornish and Fisher (Rev. Inst. Int. Stat. 5, 307, 1938) to third order: mean,
    variance and skewness are right above about five photons. Counts are not rounded, since a
    scintillator with a camera does not round them either.

    Args:
        intensity: relative to the open beam (1 without a sample); any shape.
        photons: expected number in a pixel of the open beam, per projection.
        read_noise: standard deviation of the camera noise, in photons.
        rng: random generator; two normal numbers are drawn per pixel.

    Returns:
        Intensity relative to the open beam, at least that of half a photon, so that its logarithm
        is finite.
    """
    expected = np.maximum(intensity, 0) * photons
    z = rng.standard_normal(intensity.shape)
    root = np.sqrt(expected)
    counted = expected + root * z + (z * z - 1) / 6
    counted += (z - z * z * z) / (72 * np.maximum(root, 1))
    counted = np.maximum(counted, 0)
    counted += read_noise * rng.standard_normal(intensity.shape)
    return np.asarray(np.maximum(counted, 0.5) / photons)


def gains(shape: tuple[int, ...], error: float, rng: np.random.Generator) -> Floats:
    """Random gain factors near 1 that remain after the flat-field correction.

    They are the same at every angle and cause ring artefacts around the axis of rotation.
    """
    return np.asarray(1 + error * rng.standard_normal(shape).clip(-4, 4))
