"""Multiscale image features of classical pixel classifiers, as a network without weights.

They are among those that ilastik offers for painted pixels (Berg et al., Nature Methods 16, 1226,
2019). At each scale: the smoothed image, its difference to a finer scale, the gradient magnitude,
the Laplacian and the eigenvalues of the Hessian. (Those of the structure tensor added nothing on
real slices.) Coarse scales are computed on a pooled image, which costs little and changes little:
the pooled pixels are small beside the scale.

One small convolution computes all derivatives of a scale. With one input channel this is several
times faster than separable filters, whose time is spent on moving maps through memory.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.networks.padding import mirrored
from matphase.networks.reach import Reach

SCALES: tuple[tuple[float, ...], ...] = ((1.0, 2.0), (4.0,), (8.0,))
"""Standard deviations of the Gaussians in pixels, by the level on which they are computed: level
`n` is pooled to 1 / 2^n."""
PER_SCALE = 6
"""Number of features of a scale."""
TRUNCATE = 3.0
"""Radius of the filters in standard deviations."""
FINER = 0.66
"""Standard deviation that the difference of Gaussians is taken to, relative to the scale."""
STRIP_PIXELS = 2**16
"""Pixels of the strips that features are computed in, whose maps fit into the cache."""
MIN_ROWS = 32
"""Minimum number of rows of a strip: what strips share is computed twice."""


def count(scales: Sequence[Sequence[float]] = SCALES) -> int:
    """Number of features of one channel: the image itself, and those of each scale."""
    return 1 + PER_SCALE * sum(map(len, scales))


class FeatureBank(nn.Module):
    """Maps images (n, channels, h, w) to features (n, channels * count(), h, w).

    The features of the first channel come first. They do not depend on how an image is cut into
    strips or tiles, as far as its reach is kept.

    Args:
        scales: as `SCALES` describes them.
    """

    def __init__(self, scales: Sequence[Sequence[float]] = SCALES) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            _Level([sigma / 2**level for sigma in sigmas], 2**level)
            for level, sigmas in enumerate(scales)
        )
        self.multiple: int = 2 ** (len(scales) - 1)
        self.count: int = count(scales)

    @property
    def reach(self) -> Reach:
        """How far a feature depends on pixels around it."""
        return Reach(max(level.margin * level.factor for level in self._levels()), self.multiple)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features; see the class."""
        return torch.cat([strip for _, strip in self.strips(images)], 2)

    def strips(self, images: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Compute the features strip by strip, so that memory grows with the image only.

        Yields:
            the rows of a strip, and its features (n, channels * count(), rows, w).
        """
        n, channels, height, width = images.shape
        pyramid = self._pyramid(images.reshape(n * channels, 1, height, width))
        rows = strip_rows(width, self.multiple)
        for first in range(0, height, rows):
            strip = slice(first, min(first + rows, height))
            maps = [images.reshape(n * channels, 1, height, width)[..., strip, :]]
            for level, planes in zip(self._levels(), pyramid, strict=True):
                maps += level(planes, strip, width)
            yield strip, torch.cat(maps, 1).reshape(n, -1, strip.stop - first, width)

    def _levels(self) -> "list[_Level]":
        return [level for level in self.levels if isinstance(level, _Level)]

    def _pyramid(self, planes: Tensor) -> list[Tensor]:
        """The image on each level, with the margin that its filters need."""
        pooled = mirrored(planes, self.multiple)
        made = []
        for level in self._levels():
            if level.factor > 1:
                pooled = F.avg_pool2d(pooled, 2)
            made.append(F.pad(pooled, (level.margin,) * 4, mode="replicate"))
        return made


def strip_rows(width: int, multiple: int) -> int:
    """Number of rows of a strip."""
    return max(MIN_ROWS, STRIP_PIXELS // width // multiple * multiple)


class _Level(nn.Module):
    """Features of the scales of one level of the pyramid.

    Args:
        sigmas: scales in pixels of the level.
        factor: pixels of the image in a pixel of the level, along y and x.
    """

    def __init__(self, sigmas: Sequence[float], factor: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(_Scale(sigma) for sigma in sigmas)
        self.factor = factor
        # one pixel more on each side, for the interpolation on the way back
        self.around: int = int(factor > 1)
        radii = [scale.radius for scale in self.scales if isinstance(scale, _Scale)]
        self.margin: int = max(radii, default=0) + self.around

    def forward(self, planes: Tensor, strip: slice, width: int) -> list[Tensor]:
        """Features (n, PER_SCALE, rows, width) of each scale in a strip of the image.

        Args:
            planes: (n, 1, h, w) on this level, with a margin on all sides.
            strip: rows of the image; its first one is the first of a pixel of the level.
            width: of the image.
        """
        first = strip.start // self.factor
        rows = -(-strip.stop // self.factor) - first
        found = []
        for scale in self.scales:
            assert isinstance(scale, _Scale)
            spare = self.margin - self.around - scale.radius
            seen = planes[:, :, first + spare : first + rows + 2 * self.margin - spare]
            maps = scale(seen[..., spare : seen.shape[-1] - spare])
            if self.factor > 1:
                maps = F.interpolate(
                    maps, scale_factor=self.factor, mode="bilinear", align_corners=False
                )[..., self.factor :, self.factor :]
            found.append(maps[..., : strip.stop - strip.start, :width])
        return found


class _Scale(nn.Module):
    """Features of one scale: planes (n, 1, h + 2 radius, w + 2 radius) to (n, PER_SCALE, h, w).

    Derivatives are multiplied by powers of the scale, so that those of all scales are comparable.
    """

    filters: Tensor

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.radius: int = _radius(sigma)
        # no weights: they follow from the scale
        self.register_buffer("filters", _derivatives(sigma), persistent=False)

    def forward(self, planes: Tensor) -> Tensor:
        """Compute the features; see the class."""
        smooth, difference, y, x, yy, xx, yx = F.conv2d(planes, self.filters).unbind(1)
        bent = _eigenvalues(yy, xx, yx)
        return torch.stack([smooth, difference, torch.sqrt(y * y + x * x), yy + xx, *bent], 1)


def _eigenvalues(yy: Tensor, xx: Tensor, yx: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of symmetric 2 x 2 matrices, the larger one first."""
    middle = (yy + xx).mul_(0.5)
    half = (yy - xx).mul_(0.5).square_().addcmul_(yx, yx).sqrt_()
    return middle + half, middle - half


def _derivatives(sigma: float) -> Tensor:
    """Filters (7, 1, k, k): smooth, difference of Gaussians, y, x, yy, xx, yx."""
    radius = _radius(sigma)
    bell, slope, bend = (_gaussian(sigma, radius, order) for order in range(3))
    finer = _gaussian(FINER * sigma, radius, 0)
    smooth = torch.outer(bell, bell)
    filters = [
        smooth,
        smooth - torch.outer(finer, finer),
        torch.outer(slope, bell),
        torch.outer(bell, slope),
        torch.outer(bend, bell),
        torch.outer(bell, bend),
        torch.outer(slope, slope),
    ]
    return torch.stack(filters)[:, None].float()


def _radius(sigma: float) -> int:
    """Radius of a filter in pixels, at least 1."""
    return max(1, round(TRUNCATE * sigma))


def _gaussian(sigma: float, radius: int, order: int) -> Tensor:
    """Sampled Gaussian or its derivative times sigma^order, as taps of a correlation in float64.

    Sums are such that constants, ramps and parabolas have exact derivatives.
    """
    # on the CPU also where networks are made without memory: their radii are needed
    x = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
    bell = torch.exp(-0.5 * (x / sigma) ** 2)
    bell = bell / bell.sum()
    if order == 0:
        return bell
    if order == 1:
        taps = x * bell
        return sigma * taps / (taps * x).sum()
    taps = (x**2 - (x**2 * bell).sum()) * bell
    return 2 * sigma**2 * taps / (taps * x**2).sum()
