"""Training examples of networks that segment whole images: tiles around known pixels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matphase.images.neighbours import middle
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.batches import Draw
from matphase.support.scratch import Stack


class TileSampler:
    """Sampler of whole slices, or of random crops that contain a known pixel.

    Args:
        images: (n, more channels, height, width) float32.
        labels: (n, height, width) uint8; `IGNORE_INDEX` where not known.
        crop: side of the square crops in pixels, limited by the slice; 0: whole slices.
        flips: flip at random, and rotate squares by 90 degrees.
        channels: number of channels in the middle of each image that are used; None: all.
        scale_dropout: where every other channel shows another grey scale, the shares of examples
            without the first scale and without the second.
    """

    def __init__(
        self,
        images: Stack,
        labels: Stack,
        crop: int,
        flips: bool,
        channels: int | None = None,
        scale_dropout: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._images = images
        self._channels = middle(images.shape[1], channels or images.shape[1])
        self._scale_dropout = scale_dropout
        self._labels = labels
        height, width = images.shape[-2:]
        self._rows = min(crop or height, height)
        self._columns = min(crop or width, width)
        self._flips = flips
        # so many crops per slice that an epoch sees each pixel about once
        self._per_slice: int = max(1, round(height * width / (self._rows * self._columns)))
        self._known = np.array(
            [
                np.count_nonzero(labels[number] != IGNORE_INDEX, axis=1).cumsum()
                for number in range(len(labels))
            ]
        )
        """(n, height) number of known pixels up to and including each row."""

    def __len__(self) -> int:
        return len(self._images) * self._per_slice

    def batch(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Images (n, channels, rows, columns) and labels (n, rows, columns) int64."""
        rng = np.random.default_rng(draw.seed)
        pairs = [self._pair(int(index) // self._per_slice, rng) for index in draw.indices]
        images = np.stack([image for image, _ in pairs])
        labels = np.stack([label for _, label in pairs])
        return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))

    def _pair(
        self, number: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        top, left = self._corner(number, rng)
        rows, columns = slice(top, top + self._rows), slice(left, left + self._columns)
        image = self._images[number, self._channels, rows, columns]
        label = self._labels[number, rows, columns]
        if self._flips:
            upside_down, mirrored, turned = rng.integers(2, size=3)
            steps = np.s_[..., :: -1 if upside_down else 1, :: -1 if mirrored else 1]
            image, label = image[steps], label[steps]
            if turned and self._rows == self._columns:
                image, label = image.swapaxes(-1, -2), label.T
        if any(self._scale_dropout):
            first, second = self._scale_dropout
            drawn = rng.random()
            if drawn < first + second:
                image = image.copy()
                image[0 if drawn < first else 1 :: 2] = 0
        return image, label

    def _corner(self, number: int, rng: np.random.Generator) -> tuple[int, int]:
        """Draw the corner of a crop, with a random known pixel at a random place in it."""
        height, width = self._images.shape[-2:]
        until = self._known[number]
        if until[-1] == 0 or (self._rows, self._columns) == (height, width):
            return 0, 0
        wanted = int(rng.integers(until[-1]))
        row = int(np.searchsorted(until, wanted, side="right"))
        before = int(until[row - 1]) if row else 0
        column = int(np.flatnonzero(self._labels[number, row] != IGNORE_INDEX)[wanted - before])
        top = row - int(rng.integers(self._rows))
        left = column - int(rng.integers(self._columns))
        return min(max(top, 0), height - self._rows), min(max(left, 0), width - self._columns)
