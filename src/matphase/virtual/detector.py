"""What a detector does to an image: blur, photon noise, read noise, gains that are a little off.

Each draw enters its result continuously, and each pixel takes one: a difference in the last bit of
an intensity, as between two builds of a Fourier transform, stays one in the last bit.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]


def blurred(intensity: Floats, sigma: float) -> Floats:
    """Apply a Gaussian point spread of `sigma` pixels to an image (columns, rows)."""
    if sigma == 0:
        return intensity
    return np.asarray(ndimage.gaussian_filter(intensity, sigma, mode="nearest", truncate=4))


def count(intensity: Floats, photons: float, read_noise: float, rng: np.random.Generator) -> Floats:
    """Count photons, and divide by those of the open beam.

    Photons come by the Poisson distribution, whose quantiles are those of a normal draw bent by
    the expansion of Cornish and Fisher (Rev. Inst. Int. Stat. 5, 307, 1938) to the third order:
    mean, variance and skewness are right from about five photons on. Counts are not rounded, as a
    scintillator with a camera does not round them.

    Args:
        intensity: 1 without a sample; any shape.
        photons: expected in a pixel of the open beam, per projection.
        read_noise: standard deviation of the camera, in photons.
        rng: where two normal numbers a pixel come from.

    Returns:
        Intensity as measured, at least that of half a photon, so that it has a logarithm.
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
    """Draw the factors, near 1, that the flat-field correction left on the pixels.

    They are the same at each angle: in the slices they are rings about the axis of rotation.
    """
    return np.asarray(1 + error * rng.standard_normal(shape).clip(-4, 4))
