"""Simulated ground truth: FIB-SEM with EDS sees the electrode slightly blurred and displaced.

Labels depend only on sums, products, quotients and square roots, so that a seed gives the same
labels on every machine.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from matphase.images.phases import IGNORE_INDEX
from matphase.support.seeds import mix
from matphase.virtual.noise import correlated_noise
from matphase.virtual.recipes import GroundTruth

Floats = NDArray[np.float64]
Labels = NDArray[np.uint8]

_SECTIONS = 1.5
"""Correlation length of the misregistration along z, in sections; each section is registered on its
own."""
_MAX_SHIFT = 2.0
"""Largest displacement, as a multiple of the root mean square."""


def measured_labels(labels: Labels, phases: int, truth: GroundTruth, seed: int) -> Labels:
    """Labels as FIB-SEM with EDS would measure them.

    EDS measures the composition averaged over its interaction volume, with noise; a pixel gets the
    phase with the largest share. The label map is then slightly misregistered with the image.

    Args:
        labels: exact labels of shape (z, y, x).
        phases: number of phases.
        truth: settings of the measurement.
        seed: random seed.

    Returns:
        Labels of the same shape; `IGNORE_INDEX` in slices without a section.
    """
    rng = np.random.default_rng(mix(seed, "measured labels"))
    measured = np.full_like(labels, IGNORE_INDEX)
    sections = slice(None, None, truth.section_spacing)
    count, height, width = labels[sections].shape
    warp = _displacement((count, height, width), truth, rng)
    for section, result, shift in zip(labels[sections], measured[sections], warp, strict=True):
        result[:] = _moved(_seen_by_eds(section, phases, truth, rng), shift)
    return measured


def _displacement(
    shape: tuple[int, int, int], truth: GroundTruth, rng: np.random.Generator
) -> Floats:
    """Displacement field in pixels, of shape (sections, 2, y, x), for y and x."""
    size = np.array([_SECTIONS, truth.misregistration_size, truth.misregistration_size])
    each = np.stack([_unit(correlated_noise(shape, size, rng)) for _ in range(2)], axis=1)
    each *= truth.misregistration / math.sqrt(2)
    length = np.sqrt((each * each).sum(axis=1, keepdims=True))
    limit = _MAX_SHIFT * truth.misregistration
    return np.asarray(each * np.minimum(1, limit / np.maximum(length, 1e-9)))


def _seen_by_eds(
    section: Labels, phases: int, truth: GroundTruth, rng: np.random.Generator
) -> Labels:
    if truth.eds_blur == 0 and truth.eds_noise == 0:
        return section
    best = np.full(section.shape, -np.inf)
    seen = np.zeros_like(section)
    for index in range(phases):
        share = _blurred((section == index).astype(np.float64), truth.eds_blur)
        noise = _blurred(rng.random(section.shape) - 0.5, truth.eds_blur)
        share += truth.eds_noise * _unit(noise)
        seen[share > best] = index
        best = np.maximum(best, share)
    return seen


def _moved(section: Labels, shift: Floats) -> Labels:
    """Section whose pixels are taken from where `shift` (2, y, x) points to."""
    place = np.rint(np.indices(section.shape) + shift).astype(np.intp)
    row, column = (axis.clip(0, size - 1) for axis, size in zip(place, section.shape, strict=True))
    moved: Labels = section[row, column]
    return moved


def _unit(noise: Floats) -> Floats:
    """Noise scaled to mean 0 and variance 1."""
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-12))


def _blurred(image: Floats, sigma: float) -> Floats:
    """Image blurred by `sigma` pixels with repeated kernels (a, 1 - 2a, a).

    Nearly Gaussian, and without the rounding differences of exponentials.
    """
    passes = math.ceil(2 * sigma * sigma)
    for _ in range(passes):
        side = sigma * sigma / (2 * passes)
        for axis in (0, 1):
            image = ndimage.correlate1d(image, [side, 1 - 2 * side, side], axis, mode="nearest")
    return image
