"""Training examples of the base model: slices of virtual electrodes, each changed at random.

A simulated slice (attenuation of known phases, without noise) is shown with other contrasts,
textures, sizes, blur, noise, stripes, rings and shading each time, and on two grey scales.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from matphase.images.grey_scale import percentiles, scaled
from matphase.learning.batches import Draw, Indices
from matphase.support.seeds import mix
from matphase.virtual.microstructure import CARBON, NICKEL, PORE
from matphase.virtual.variety import log_uniform

SLICES, SIDE = 12, 208
"""Slices of an electrode, and their height and width in voxels."""
CROP = 160
"""Side of the squares that the network sees, in pixels."""
MAX_ZOOM = 1.7
STEPS_PER_EPOCH = 100
FIRST_ELECTRODES, ELECTRODES_PER_EPOCH = 24, 2
"""Electrodes of the first epoch, and those that each later epoch adds: the training may begin
before all of them are simulated, and still sees the same ones in every run."""

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]


class Examples:
    """Squares of simulated slices with random changes; `folder` holds the electrodes."""

    def __init__(self, path_of: Callable[[int], Path], electrodes: int) -> None:
        self._path_of = path_of
        self._electrodes = electrodes
        self._electrode = cache(self._read)

    def __len__(self) -> int:
        return self._electrodes * SLICES

    def batch(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Images (n, 2, CROP, CROP) and labels (n, CROP, CROP) int64."""
        rng = np.random.default_rng(draw.seed)
        images, labels = zip(*(self._example(int(n), rng) for n in draw.indices), strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)).long()

    def _example(self, number: int, rng: np.random.Generator) -> tuple[Image, Labels]:
        images, labels = self._electrode(number // SLICES)
        return changed(
            images[number % SLICES].astype(np.float32), labels[number % SLICES].copy(), rng
        )

    def _read(self, electrode: int) -> tuple[NDArray[np.float16], Labels]:
        with np.load(self._path_of(electrode)) as stored:
            return stored["image"], stored["labels"]


class Growing:
    """Order of the examples: drawn at random from the electrodes that an epoch has."""

    steps_per_epoch = STEPS_PER_EPOCH

    def __init__(self, electrodes: int, batch_size: int, seed: int) -> None:
        self._electrodes = electrodes
        self._batch_size = batch_size
        self._seed = seed

    def epoch(self, number: int) -> Iterator[Indices]:
        """Batches of one epoch."""
        there = min(self._electrodes, FIRST_ELECTRODES + ELECTRODES_PER_EPOCH * number)
        rng = np.random.default_rng(mix(self._seed, "order", number))
        for _ in range(self.steps_per_epoch):
            yield rng.integers(there * SLICES, size=self._batch_size)


def changed(image: Image, labels: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
    """Two grey scales (2, CROP, CROP) of a random part of a slice, and its labels.

    Args:
        image: grey values (height, width).
        labels: phase of each pixel.
        rng: source of the random numbers.
    """
    image = image - np.float32(np.median(image))
    image /= max(float(image.std()), 1e-6)
    share = np.bincount(labels.ravel(), minlength=3) / labels.size
    image, labels = _zoomed(*_turned(image, labels, rng), rng)
    image, labels = _with_inner_pores(image, labels, rng)
    image = _with_other_contrast(image, labels, rng)
    image = _with_textures(image, labels, rng)
    image = _with_other_curve(image, rng)
    image = _as_scanned(image, rng)
    if rng.random() < 0.08:
        image = -image
    return _two_scales(image, labels, share, rng), labels


def _turned(image: Image, labels: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
    upside_down, mirrored, turned = rng.integers(2, size=3)
    steps = np.s_[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
    image, labels = image[steps], labels[steps]
    return (image.T, labels.T) if turned else (image, labels)


def _zoomed(image: Image, labels: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
    """Random square, at CROP x CROP px."""
    smallest = CROP / min(image.shape)
    side = round(CROP / (smallest * (MAX_ZOOM / smallest) ** rng.random()))
    top, left = (int(rng.integers(n - side + 1)) for n in image.shape)
    window = np.s_[top : top + side, left : left + side]
    grey = torch.from_numpy(np.ascontiguousarray(image[window]))[None, None]
    phases = torch.from_numpy(np.ascontiguousarray(labels[window]))[None, None]
    grey = F.interpolate(grey, (CROP, CROP), mode="bilinear", antialias=side > CROP)
    return grey[0, 0].numpy(), F.interpolate(phases, (CROP, CROP), mode="nearest")[0, 0].numpy()


def _with_inner_pores(
    image: Image, labels: Labels, rng: np.random.Generator
) -> tuple[Image, Labels]:
    """Small pores inside of the active material."""
    inside = labels == NICKEL
    if rng.random() > 0.3 or not inside.any() or not (labels == PORE).any():
        return image, labels
    field = _field(rng, log_uniform(rng, 1, 5))
    holes = inside & (field > np.quantile(field, 1 - log_uniform(rng, 0.003, 0.05)))
    labels = np.where(holes, np.uint8(PORE), labels)
    depth = _typical(image, labels, PORE) - _typical(image, labels, NICKEL)
    soft = gaussian_filter(holes.astype(np.float32), log_uniform(rng, 0.4, 1.2))
    return image + np.float32(depth * rng.uniform(0.4, 1)) * soft, labels


def _with_other_contrast(image: Image, labels: Labels, rng: np.random.Generator) -> Image:
    """Carbon-binder anywhere from darker than pore to half as bright as the active material."""
    if rng.random() < 0.3 or not all((labels == phase).any() for phase in (PORE, CARBON, NICKEL)):
        return image
    pore, carbon, nickel = (_typical(image, labels, phase) for phase in (PORE, CARBON, NICKEL))
    wanted = pore + rng.uniform(-0.15, 0.6) * (nickel - pore)
    soft = gaussian_filter((labels == CARBON).astype(np.float32), log_uniform(rng, 0.4, 1.5))
    return image + np.float32(wanted - carbon) * soft


def _with_textures(image: Image, labels: Labels, rng: np.random.Generator) -> Image:
    """Slow changes of brightness: inside of a phase, and over all (drift, cupping, haze)."""
    span = np.float32(np.ptp(np.quantile(image, [0.05, 0.95])))
    for phase in (PORE, CARBON, NICKEL):
        if rng.random() < 0.4:
            soft = gaussian_filter((labels == phase).astype(np.float32), 0.7)
            strength = np.float32(log_uniform(rng, 0.02, 0.2))
            image = image + strength * span * soft * _field(
                rng, log_uniform(rng, 1.5, 30), rng.random()
            )
    if rng.random() < 0.5:
        strength = np.float32(log_uniform(rng, 0.03, 0.35))
        image = image + strength * span * _field(rng, log_uniform(rng, 12, 90), rng.random())
    return image


def _with_other_curve(image: Image, rng: np.random.Generator) -> Image:
    """Monotonic change of grey values."""
    if rng.random() > 0.4:
        return image
    low, high = float(image.min()), float(image.max())
    curve = np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    bent: Image = ((image - np.float32(low)) / np.float32(max(high - low, 1e-6))) ** curve
    return bent


def _as_scanned(image: Image, rng: np.random.Generator) -> Image:
    """Blur, bright edges, noise, stripes, rings."""
    if rng.random() < 0.6:
        width = log_uniform(rng, 0.4, 2.8)
        image = gaussian_filter(image, (width, width * (1 if rng.random() < 0.7 else 0.4)))
    if rng.random() < 0.35:
        smooth = gaussian_filter(image, log_uniform(rng, 0.8, 4))
        image = image + np.float32(rng.uniform(0.1, 1.5)) * (image - smooth)
    span = np.float32(np.ptp(np.quantile(image, [0.02, 0.98])))
    image = image + np.float32(log_uniform(rng, 0.004, 0.3)) * span * _noise(rng)
    if rng.random() < 0.15:
        lines = rng.standard_normal(CROP).astype(np.float32)
        image = image + np.float32(log_uniform(rng, 0.005, 0.06)) * span * (
            lines if rng.random() < 0.5 else lines[:, None]
        )
    if rng.random() < 0.12:
        image = image + np.float32(log_uniform(rng, 0.005, 0.08)) * span * _rings(rng)
    return np.asarray(image, np.float32)


def _noise(rng: np.random.Generator) -> Image:
    """Noise of unit variance: white, or as a filtered back-projection and a smoothing leave it."""
    noise = rng.standard_normal((CROP, CROP), np.float32)
    spectrum = fft.rfft2(noise)
    rows, columns = fft.fftfreq(CROP), fft.rfftfreq(CROP)
    radius = np.hypot(rows[:, None], columns)
    if rng.random() < 0.5:  # variance rises with the frequency
        spectrum *= np.sqrt(radius + 0.01)
    if rng.random() < 0.6:
        width = log_uniform(rng, 0.4, 3)
        along, across = width, width * (1 if rng.random() < 0.6 else rng.uniform(0.1, 0.6))
        spectrum *= np.exp(-2 * np.pi**2 * ((rows[:, None] * along) ** 2 + (columns * across) ** 2))
    return _unit(fft.irfft2(spectrum, (CROP, CROP)))


def _field(rng: np.random.Generator, length: float, squeeze: float = 1.0) -> Image:
    """Smooth random field of unit variance, `length` pixels wide, in one direction less."""
    rows, columns = fft.fftfreq(CROP), fft.rfftfreq(CROP)
    spectrum = fft.rfft2(rng.standard_normal((CROP, CROP), np.float32))
    along = length * max(squeeze, 0.25)
    spectrum *= np.exp(-2 * np.pi**2 * ((rows[:, None] * along) ** 2 + (columns * length) ** 2))
    return _unit(fft.irfft2(spectrum, (CROP, CROP)))


def _rings(rng: np.random.Generator) -> Image:
    """Rings about a centre in or near the square."""
    center = rng.uniform(-CROP / 2, 1.5 * CROP, 2)
    y, x = np.ogrid[:CROP, :CROP]
    radius = np.hypot(y - center[0], x - center[1]).astype(np.intp)
    each = rng.standard_normal(int(radius.max()) + 1) * (rng.random(int(radius.max()) + 1) < 0.3)
    return np.asarray(each, np.float32)[radius]


def _two_scales(
    image: Image, labels: Labels, share: NDArray[np.float64], rng: np.random.Generator
) -> Image:
    """Image on the scale of a volume and on its slice's own, each blanked in a quarter of cases.

    Mean and standard deviation are those of the whole slice, whose phases may have other shares
    than those of the square. The volume's scale is wider, and displaced by drift.
    """
    here = np.bincount(labels.ravel(), minlength=3) / labels.size
    weight = np.divide(share, here, out=np.zeros(3), where=here > 0)[labels]
    mean = float(np.average(image, weights=weight))
    reach = 3 * max(float(np.average((image - mean) ** 2, weights=weight)) ** 0.5, 1e-6)
    own = scaled(image, mean - reach, mean + reach)
    low, high = percentiles(image)
    span = max(high - low, 1e-6)
    drift = rng.normal(0, 0.05)
    low += (drift - abs(rng.normal(0, 0.08))) * span
    high += (drift + abs(rng.normal(0, 0.12))) * span
    both = np.stack([scaled(image, low, high), own])
    blanked = int(rng.random() * 4)
    if blanked < 2:
        both[blanked] = 0
    return both


def _typical(image: Image, labels: Labels, phase: int) -> float:
    return float(np.median(image[labels == phase]))


def _unit(field: NDArray[Any]) -> Image:
    return np.asarray(field / max(float(field.std()), 1e-9), np.float32)
