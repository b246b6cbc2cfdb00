"""Correlated noise that is the same to the last bit on every machine."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]


def correlated_noise(
    shape: tuple[int, int, int], length: Floats, rng: np.random.Generator
) -> Floats:
    """Noise (z, y, x) with nearly Gaussian correlation of `length` voxels per axis.

    Made by three running means over uniform random numbers, which need only sums and quotients,
    unlike a Gaussian kernel.
    """
    noise = rng.random(shape)
    for axis, voxels in enumerate(length):
        # Three boxes of width w have variance (w^2 - 1) / 4; a Gaussian of length L has L^2 / 2.
        width = max(1, round(math.sqrt(2 * voxels * voxels + 1)))
        for _ in range(3):
            ndimage.uniform_filter1d(noise, width, axis=axis, output=noise, mode="reflect")
    return noise
