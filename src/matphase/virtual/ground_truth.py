"""Labels as they are measured: FIB-SEM with EDS sees the electrode a little blurred and misplaced.

Only sums, products, quotients and square roots decide a label, so that a seed gives the same labels
on any machine.
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
"""Correlation length of the misregistration from section to section; each is aligned anew."""
_MAX_SHIFT = 2.0
"""Longest displacement, as a multiple of its root mean square."""


def measured_labels(labels: Labels, phases: int, truth: GroundTruth, seed: int) -> Labels:
    """Labels as FIB-SEM with EDS would give them.

    A section's composition is known as a mean over the volume that the X-rays of EDS come from, and
    with noise; the phase with the largest share wins. The label map then sits a little wrong on
    the image.

    Args:
        labels: exact ones, of shape (z, y, x).
        phases: how many there are.
        truth: how they are measured.
        seed: names every random draw.

    Returns:
        Labels of the same shape; `IGNORE_INDEX` in slices that no section was taken of.
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
    """Displacement in pixels, along y and x, of shape (sections, 2, y, x)."""
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
    """Take each pixel from the place that `shift` (2, y, x) points to."""
    place = np.rint(np.indices(section.shape) + shift).astype(np.intp)
    row, column = (axis.clip(0, size - 1) for axis, size in zip(place, section.shape, strict=True))
    moved: Labels = section[row, column]
    return moved


def _unit(noise: Floats) -> Floats:
    """Noise of mean 0 and variance 1."""
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-12))


def _blurred(image: Floats, sigma: float) -> Floats:
    """Blur by `sigma` pixels with kernels (a, 1 - 2a, a) in turn: near Gaussian, and exact."""
    passes = math.ceil(2 * sigma * sigma)
    for _ in range(passes):
        side = sigma * sigma / (2 * passes)
        for axis in (0, 1):
            image = ndimage.correlate1d(image, [side, 1 - 2 * side, side], axis, mode="nearest")
    return image
