"""Grey values on one scale: what the networks see lies in [-1, 1]."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.errors import InputError
from matphase.volume import Volume, checked_slice

SLICES_TO_SAMPLE = 64
TAIL_PERCENT = 0.1


@dataclass(frozen=True)
class IntensityScale:
    """The grey values that map to -1 and 1: low and high percentiles of a whole volume.

    One scale serves a volume, never one a slice or block: neighbouring slices with other phase
    fractions would otherwise show the same material in different greys.
    """

    low: float
    high: float

    @classmethod
    def of(cls, volume: Volume) -> "IntensityScale":
        """Measure the scale on up to 64 evenly spaced slices.

        Raises:
            InputError: a pixel is NaN or infinite, a slice is smaller than 32 px, or all pixels
                have one value.
        """
        step = math.ceil(volume.n_slices / SLICES_TO_SAMPLE)
        sample = [checked_slice(volume, z) for z in range(0, volume.n_slices, step)]
        low, high = np.percentile(np.stack(sample), [TAIL_PERCENT, 100 - TAIL_PERCENT])
        if low == high:
            low, high = min(s.min() for s in sample), max(s.max() for s in sample)
        if low == high:
            raise InputError(
                f"{volume.name}: all pixels have the value {low:g}, so there is nothing to "
                "tell phases apart by; check that this is the image"
            )
        return cls(float(low), float(high))

    def apply(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale to [-1, 1]; what lies outside the percentiles is clipped."""
        scaled = (image - np.float32(self.low)) * np.float32(2 / (self.high - self.low)) - 1
        clipped: NDArray[np.float32] = np.clip(scaled, -1, 1, dtype=np.float32)
        return clipped

    def check_fits(self, other: "IntensityScale", name: str) -> None:
        """Refuse a volume whose grey values lie far from those of the training slices.

        Raises:
            InputError: one end of the scale of `other` is off by more than half of this scale.
        """
        span = self.high - self.low
        if abs(other.low - self.low) > span / 2 or abs(other.high - self.high) > span / 2:
            raise InputError(
                f"{name}: grey values run from {other.low:.4g} to {other.high:.4g}, but the model "
                f"was trained on {self.low:.4g} to {self.high:.4g}; bring them to one scale, or "
                "let the volume set its own with intensity 'volume'"
            )
