"""Grey values on one scale: what the networks see lies in [-1, 1]."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matphase.images.volume import Volume, checked_slice, checked_slices
from matphase.support.errors import InputError

SLICES_TO_SAMPLE = 64
PIXELS_TO_SAMPLE = 250_000
TAIL_PERCENT = 0.1
DRIFT = 0.05
"""Scatter of the slices' own scales, in parts of the volume's, from which a stack counts as
drifting. Of two real stacks one (.076) gains from scales of its slices, the other (.049) does not
(`benchmarks/results/grey_scale.md`)."""


@dataclass(frozen=True)
class IntensityScale:
    """The grey values that map to -1 and 1: low and high percentiles of a volume, or of a slice.

    One scale for a whole volume is best where grey values mean the same in all of it: slices with
    other phase fractions then still show a material in the same grey. Where brightness drifts
    along the stack, each slice is scaled by its own percentiles. Blocks of a slice never are.

    Attributes:
        low: grey value at the low percentile of the volume.
        high: grey value at the high percentile of the volume.
        per_slice: scale each slice by its own percentiles instead.
    """

    low: float
    high: float
    per_slice: bool = False

    @classmethod
    def of(
        cls, volume: Volume, mode: Literal["auto", "volume", "slice"] = "volume"
    ) -> "IntensityScale":
        """Measure the scale on up to 64 evenly spaced slices.

        Args:
            volume: grey values.
            mode: one scale for the volume, one a slice, or `auto`: one a slice where the slices'
                own percentiles scatter (standard deviation) by more than 5 % of the scale.

        Raises:
            InputError: a pixel is NaN or infinite, a slice is smaller than 32 px, or all pixels
                have one value.
        """
        step = math.ceil(volume.n_slices / SLICES_TO_SAMPLE)
        sample = np.stack(
            [_thinned(checked_slice(volume, z)) for z in range(0, volume.n_slices, step)]
        )
        low, high = _ends(sample)
        if low == high:
            raise InputError(
                f"{volume.name}: all pixels have the value {low:g}, so there is nothing to "
                "tell phases apart by; check that this is the image"
            )
        per_slice = mode == "slice"
        if mode == "auto":
            per_slice = drift(sample, low, high) > DRIFT
        return cls(low, high, per_slice)

    def apply(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale a slice (height, width) to [-1, 1]; what lies beyond the percentiles is clipped."""
        return scaled(image, *(_ends(image) if self.per_slice else (self.low, self.high)))

    def of_slices(
        self, volume: Volume, numbers: NDArray[np.int64] | None = None, neighbours: int = 1
    ) -> NDArray[np.float64]:
        """The grey values that map to -1 and 1 in each slice, (n, 2).

        A part of a slice is scaled as the whole slice is, so where each slice has a scale of its
        own, the slices are read once for it.

        Args:
            volume: grey values.
            numbers: of the slices that are needed; all by default. The others are NaN.
            neighbours: slices around each of them, itself among them, that are needed, too.

        Raises:
            InputError: a slice cannot be used.
        """
        if not self.per_slice:
            return np.full((volume.n_slices, 2), (self.low, self.high))
        if numbers is None:
            return np.array([_ends(plane) for plane in checked_slices(volume)])
        ends = np.full((volume.n_slices, 2), np.nan)
        around = numbers[:, None] + np.arange(neighbours) - neighbours // 2
        for z in np.unique(np.clip(around, 0, volume.n_slices - 1)):
            ends[z] = _ends(checked_slice(volume, int(z)))
        return ends

    def check_fits(self, other: "IntensityScale", name: str) -> None:
        """Refuse a volume whose grey values lie far from those of the training slices.

        Raises:
            InputError: one end of the scale of `other` is off by more than half of this scale.
        """
        span = self.high - self.low
        if self.per_slice:
            return
        if abs(other.low - self.low) > span / 2 or abs(other.high - self.high) > span / 2:
            raise InputError(
                f"{name}: grey values run from {other.low:.4g} to {other.high:.4g}, but the model "
                f"was trained on {self.low:.4g} to {self.high:.4g}; bring them to one scale, or "
                "let the volume set its own with intensity 'volume'"
            )


def scaled(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Bring `low` to -1 and `high` to 1; what lies beyond is clipped. Any shape."""
    if low == high:  # a slice of one value, as outside of the sample
        return np.zeros_like(image, dtype=np.float32)
    linear = (image - np.float32(low)) * np.float32(2 / (high - low)) - 1
    clipped: NDArray[np.float32] = np.clip(linear, -1, 1, dtype=np.float32)
    return clipped


def drift(slices: Iterable[NDArray[np.float32]], low: float, high: float) -> float:
    """Scatter of the slices' own percentiles (the larger standard deviation of the two ends).

    Args:
        slices: grey values.
        low: grey value at the low percentile of all.
        high: grey value at the high percentile of all.

    Returns:
        the scatter in parts of `high - low`.
    """
    return float(np.std([_ends(one) for one in slices], axis=0).max() / (high - low))


def _thinned(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Evenly spaced pixels of a slice, at most 250,000: enough for percentiles."""
    step = math.ceil(math.sqrt(plane.size / PIXELS_TO_SAMPLE))
    return plane[::step, ::step].copy()


def _ends(values: NDArray[np.float32]) -> tuple[float, float]:
    """The percentiles; where too few pixels stand out to move them, the extremes."""
    low, high = np.percentile(values, [TAIL_PERCENT, 100 - TAIL_PERCENT])
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high)
