"""Coarser levels of a volume for viewers: each has half the resolution of the one before."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_SIDE = 256
"""The last level is the first whose sides are all this short, in voxels."""


def level_shapes(shape: tuple[int, ...], levels: int | None = None) -> list[tuple[int, ...]]:
    """Give the shapes of all levels, beginning with that of the volume.

    Args:
        shape: of the volume.
        levels: how many; None goes on until no side is longer than `LARGEST_SIDE`.
    """
    shapes = [shape]
    while len(shapes) < levels if levels is not None else max(shapes[-1]) > LARGEST_SIDE:
        shapes.append(tuple(-(-side // factor) for side, factor in _steps(shapes[-1])))
    return shapes


def factors_of(shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Give the factor between each level and the volume, along each axis."""
    factors = [(1,) * len(shapes[0])]
    for shape in shapes[:-1]:
        steps = (factor for _, factor in _steps(shape))
        factors.append(tuple(a * b for a, b in zip(factors[-1], steps, strict=True)))
    return factors


def windows(shape: tuple[int, ...], size: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Cut an array of `shape` into windows of `size`, smaller at the far ends."""
    return itertools.product(
        *(
            [slice(start, min(start + step, side)) for start in range(0, side, step)]
            for side, step in zip(shape, size, strict=True)
        )
    )


def window_above(window: tuple[slice, ...], above: tuple[int, ...]) -> tuple[slice, ...]:
    """Give the window of the finer level (shape `above`) that `window` of the next is made from."""
    return tuple(
        slice(part.start * factor, min(part.stop * factor, side))
        for part, (side, factor) in zip(window, _steps(above), strict=True)
    )


def coarser(block: NDArray[Any], above: tuple[int, ...], *, labels: bool) -> NDArray[Any]:
    """Downsample a block of a level of shape `above` by two: means, or every other label.

    Means keep the type; those of whole numbers are exact and rounded half up. At an odd end the
    mean is that of the voxels there are.
    """
    steps = [factor for _, factor in _steps(above)]
    if labels:
        return block[tuple(slice(None, None, factor) for factor in steps)]
    if block.dtype == bool:
        return coarser(block.astype(np.uint8), above, labels=False).astype(bool)
    ends = [(0, side % factor) for side, factor in zip(block.shape, steps, strict=True)]
    if any(end for _, end in ends):
        block = np.pad(block, ends, mode="edge")
    parts = [
        block[tuple(slice(start, None, factor) for start, factor in zip(at, steps, strict=True))]
        for at in itertools.product(*map(range, steps))
    ]
    if block.dtype.kind in "iu":
        return _whole_mean(parts)
    total = np.zeros(parts[0].shape, np.promote_types(block.dtype, np.float32))
    with np.errstate(invalid="ignore"):  # infinities of both signs: their mean is no number
        for part in parts:
            total += part / np.asarray(len(parts), total.dtype)
    return total.astype(block.dtype)


def _whole_mean(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Compute the mean of 1, 2, 4 or 8 integer arrays in their own type, without overflow.

    Quotients and remainders by their number are added up apart.
    """
    dtype = parts[0].dtype
    bits = dtype.type(len(parts).bit_length() - 1)
    quotients, remainders = np.zeros((2, *parts[0].shape), dtype)
    for part in parts:
        quotients += part >> bits
        remainders += part & dtype.type(len(parts) - 1)
    mean: NDArray[Any] = quotients + ((remainders + dtype.type(len(parts) // 2)) >> bits)
    return mean


def _steps(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pair each side with the factor by which it shrinks; a side of one voxel stays."""
    return [(side, 2 if side > 1 else 1) for side in shape]
