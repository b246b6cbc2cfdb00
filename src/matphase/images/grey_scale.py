"""Intensity scale: maps grey values to [-1, 1], the input range of the networks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.images.volume import Volume, checked_slice, checked_slices
from matphase.support.errors import InputError

Kind: TypeAlias = Literal["volume", "slice", "both"]
"""What a grey scale is measured on: the whole volume, each slice by itself, or both, side by side.
"""

SLICES_TO_SAMPLE = 64
PIXELS_TO_SAMPLE = 250_000
TAIL_PERCENT = 0.1
MAX_DRIFT = 0.05
"""Standard deviation of the slices' own scales, relative to the scale of the volume, above which
each slice is scaled by itself. Of two real stacks this helps one (0.076), and not the other (0.049;
`benchmarks/results/grey_scale.md`)."""


@dataclass(frozen=True, eq=False)
class GreySample:
    """A part of a volume, from which its grey scale is measured and its grey values are checked.

    Attributes:
        name: name of the volume.
        numbers: (n,) numbers of the slices, from 0.
        planes: (n, y, x) float32, every `step`-th pixel along y and x; NaN outside of the sample.
        step: see `planes`.
    """

    name: str
    numbers: NDArray[np.int64]
    planes: NDArray[np.float32]
    step: int

    @classmethod
    def of(cls, volume: Volume) -> "GreySample":
        """Take up to 64 evenly spaced slices, and about 250,000 pixels of each at most.

        Raises:
            InputError: a pixel is infinite, a slice is smaller than 32 px, or all pixels are
                outside of the sample.
        """
        pixels = math.prod(volume.shape[-2:])
        step = math.ceil(math.sqrt(pixels / PIXELS_TO_SAMPLE))
        numbers = np.arange(0, volume.n_slices, math.ceil(volume.n_slices / SLICES_TO_SAMPLE))
        planes = _planes(volume, numbers, step)
        if np.isnan(planes).all():
            # a small region, between the pixels that were taken
            inside = [z for z, plane in enumerate(volume.slices()) if not np.isnan(plane).all()]
            if not inside:
                raise InputError(
                    f"{volume.name}: all pixels are NaN or outside of the mask; give an image of "
                    "the sample, or another mask (mask=)"
                )
            most = max(1, SLICES_TO_SAMPLE * PIXELS_TO_SAMPLE // pixels)
            step = 1
            numbers = np.array(inside[:: math.ceil(len(inside) / min(most, SLICES_TO_SAMPLE))])
            planes = _planes(volume, numbers, step)
        return cls(volume.name, numbers, planes, step)

    @property
    def values(self) -> NDArray[np.float32]:
        """Grey values inside of the sample, of any shape."""
        outside = np.isnan(self.planes)
        return self.planes[~outside] if outside.any() else self.planes


@dataclass(frozen=True)
class IntensityScale:
    """Intensity scale: the low and high percentiles, of a volume or a slice, that map to -1 and 1.

    One scale for the whole volume is best if a material has the same grey value everywhere, since
    it does not depend on the phase fractions of a slice. If the brightness drifts along the stack,
    each slice is scaled by its own percentiles. With both scales, networks see each slice twice, as
    two channels, and learn which one to trust.

    Attributes:
        low: grey value at the low percentile of the volume.
        high: grey value at the high percentile of the volume.
        kind: scale all slices by these percentiles (`volume`), each slice by its own (`slice`), or
            give both, the volume's first.
        anew: each volume that is predicted has percentiles of its own in place of these, since the
            model was trained on many scans.
    """

    low: float
    high: float
    kind: Kind = "volume"
    anew: bool = False

    @property
    def channels(self) -> int:
        """Number of images of each slice."""
        return 2 if self.kind == "both" else 1

    @classmethod
    def of(
        cls,
        volume: Volume | GreySample,
        mode: Literal["auto"] | Kind = "volume",
    ) -> "IntensityScale":
        """Measure the scale on up to 64 evenly spaced slices, outside of the sample aside.

        Args:
            volume: grey values, or a sample of them.
            mode: one scale per `volume`, per `slice`, or `both`; `auto`: per slice if the standard
                deviation of the slices' own percentiles is more than 5 % of the volume's scale,
                else per volume.

        Raises:
            InputError: a pixel is infinite, a slice is smaller than 32 px, all pixels have one
                value, or all are outside of the sample.
        """
        sample = volume if isinstance(volume, GreySample) else GreySample.of(volume)
        low, high = percentiles(sample.values)
        if low == high:
            raise InputError(
                f"{sample.name}: all pixels have the value {low:g}, so phases cannot be "
                "distinguished; check that this is the image"
            )
        if mode == "auto":
            mode = "slice" if drift(sample.planes, low, high) > MAX_DRIFT else "volume"
        return cls(low, high, mode)

    def apply(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale a slice (height, width) to [-1, 1]; values beyond the percentiles are clipped.

        With both scales this is the first channel, that of the volume.
        """
        own = self.kind == "slice"
        return scaled(image, *(percentiles(image) if own else (self.low, self.high)))

    def of_slices(
        self, volume: Volume, numbers: NDArray[np.int64] | None = None, neighbours: int = 1
    ) -> NDArray[np.float64]:
        """Grey values that map to -1 and 1 in each slice, (n_slices, channels, 2).

        Parts of a slice are scaled like the whole slice, so with a scale per slice the slices are
        read once here.

        Args:
            volume: grey values.
            numbers: numbers of the slices that are needed; all by default. The others are NaN,
                and so are slices that are wholly outside of the sample.
            neighbours: number of slices needed around each of these, including itself; odd.

        Raises:
            InputError: a slice cannot be used.
        """
        fixed = np.full((volume.n_slices, 1, 2), (self.low, self.high))
        if self.kind == "volume":
            return fixed
        if numbers is None:
            own = np.array([self._own(plane) for plane in checked_slices(volume)])
        else:
            own = np.full((volume.n_slices, 2), np.nan)
            around = numbers[:, None] + np.arange(neighbours) - neighbours // 2
            for z in np.unique(np.clip(around, 0, volume.n_slices - 1)):
                own[z] = self._own(checked_slice(volume, int(z)))
        own = own[:, np.newaxis]
        return own if self.kind == "slice" else np.concatenate([fixed, own], axis=1)

    def _own(self, plane: NDArray[np.float32]) -> tuple[float, float]:
        """Grey values of a slice (height, width) that map to -1 and 1 where it is scaled by itself.

        Beside the scale of the volume it is that of mean and standard deviation, which varies less
        with the few brightest and darkest pixels.
        """
        return percentiles(plane) if self.kind == "slice" else deviations(plane)

    def of_another(self, volume: Volume | GreySample) -> "IntensityScale":
        """Scale of a volume that is not that of the training: this one, unless it is `anew`.

        Raises:
            InputError: the volume's grey values are far from those of the training slices.
        """
        own = replace(self.of(volume), kind=self.kind)
        if self.anew:
            return own
        self.check_fits(own, volume.name)
        return self

    def check_fits(self, other: "IntensityScale", name: str) -> None:
        """Refuse a volume whose grey values are far from those of the training slices.

        Raises:
            InputError: a percentile of `other` differs by more than half of the range of this
                scale.
        """
        span = self.high - self.low
        if self.kind == "slice":
            return
        if abs(other.low - self.low) > span / 2 or abs(other.high - self.high) > span / 2:
            raise InputError(
                f"{name}: grey values run from {other.low:.4g} to {other.high:.4g}, but the model "
                f"was trained on {self.low:.4g} to {self.high:.4g}; rescale the volume, or use "
                "its own grey scale (intensity='volume')"
            )


def scaled(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Map `low` to -1 and `high` to 1 in an image of any shape; values beyond are clipped."""
    if low == high:  # a constant slice, for example outside the sample
        return np.zeros_like(image, dtype=np.float32)
    linear = (image - np.float32(low)) * np.float32(2 / (high - low)) - 1
    clipped: NDArray[np.float32] = np.clip(linear, -1, 1, dtype=np.float32)
    return clipped


def drift(slices: Iterable[NDArray[np.float32]], low: float, high: float) -> float:
    """Drift of the brightness: standard deviation of the slices' own percentiles.

    Args:
        slices: grey values of each slice; those wholly outside of the sample (NaN) do not count.
        low: low percentile of the volume.
        high: high percentile of the volume.

    Returns:
        the larger standard deviation of both percentiles, relative to `high - low`.
    """
    ends = np.array([percentiles(one) for one in slices])
    return float(np.nanstd(ends, axis=0).max() / (high - low))


def _planes(volume: Volume, numbers: NDArray[np.int64], step: int) -> NDArray[np.float32]:
    """Every `step`-th pixel of some slices, (n, y, x)."""
    return np.stack([checked_slice(volume, z)[::step, ::step].copy() for z in numbers.tolist()])


def percentiles(values: NDArray[np.float32]) -> tuple[float, float]:
    """Low and high percentile of the values that are not NaN; both NaN where there are none.

    If the percentiles are equal, they are the minimum and maximum.
    """
    outside = np.isnan(values)
    if outside.any():
        values = values[~outside]
    if not values.size:
        return math.nan, math.nan
    low, high = np.percentile(values, [TAIL_PERCENT, 100 - TAIL_PERCENT])
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high)


def deviations(values: NDArray[np.float32]) -> tuple[float, float]:
    """Mean -+ three standard deviations of the values that are not NaN; both NaN without any."""
    inside = values[~np.isnan(values)]
    if not inside.size:
        return math.nan, math.nan
    mean, reach = float(inside.mean(dtype=np.float64)), 3 * float(inside.std(dtype=np.float64))
    return mean - reach, mean + reach
