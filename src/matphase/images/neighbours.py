"""Neighbouring slices as input channels, which help to recognise the phases of a slice.

Images have the shape (n, slices, height, width), with the slice itself in the middle of an odd
number of slices. Beyond the ends of a stack its last slice is repeated.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from matphase.images.volume import Volume, checked_block
from matphase.support.errors import InputError

MAX_PAIRS = 4
"""Maximum number of pairs of slices that are compared when a stack is checked."""
DETAIL_SIZES = (2.0, 16.0)
"""Range of sizes, in pixels (SD of Gaussians), of the details that are compared: finer ones are
noise, and coarser ones (brightness, field of view) are also common to distant slices."""
MIN_CORRELATION = 0.1
"""Minimum correlation of neighbouring slices. It is at most 0.05 for slices picked from a stack of
an electrode (Su et al. 2022), 0.9 for neighbours in virtual electrodes, and 0.2 to 0.3 for slices
that are eight apart."""
MIN_SIDE, MAX_SIDE = 256, 1024
"""Sides in pixels: smaller slices are not checked; for larger ones the middle is enough."""


def check_neighbours(
    volume: Volume, numbers: Sequence[int] | NDArray[np.int64], slices: int
) -> None:
    """Refuse volumes whose slices are not consecutive, or too far apart to be correlated.

    Args:
        volume: grey values.
        numbers: numbers of the slices that will be used, from 0.
        slices: number of slices per image; 1 needs no neighbours.

    Raises:
        InputError: slices and the next ones are not correlated.
    """
    known = np.asarray(numbers, np.int64)
    if slices == 1 or volume.n_slices == 1 or min(volume.shape[-2:]) < MIN_SIDE:
        return
    above = np.minimum(known, volume.n_slices - 2)
    chosen = above[np.linspace(0, len(above) - 1, MAX_PAIRS).round().astype(np.int64)]
    correlation = np.mean([_correlation(volume, int(z)) for z in np.unique(chosen)])
    if correlation < MIN_CORRELATION:
        raise InputError(
            f"slices of {volume.name} do not look like the next ones (correlation "
            f"{correlation:.2f}), but the networks see {slices} neighbours at once; give the whole "
            "stack (and the numbers of the labelled slices), or train with ugsm.slices = 1 and "
            "lcgar.slices = 1"
        )


def have_neighbours(
    volume: Volume, numbers: Sequence[int] | NDArray[np.int64], slices: int
) -> bool:
    """Whether slices surely lie between others of the volume, as `check_neighbours` asks.

    Args:
        volume: grey values.
        numbers: numbers of the slices that will be used, from 0.
        slices: number of slices per image.
    """
    if volume.n_slices < slices or min(volume.shape[-2:]) < MIN_SIDE:
        return False
    try:
        check_neighbours(volume, numbers, slices)
    except InputError:
        return False
    return True


def _correlation(volume: Volume, z: int) -> float:
    """Correlation of the details of a slice and the next one; 1 without details.

    The signs of the details are compared, so that a bright rim of all slices does not dominate.
    """
    fine, coarse = DETAIL_SIZES
    rows, columns = (
        slice(max(0, (side - MAX_SIDE) // 2), min(side, (side + MAX_SIDE) // 2))
        for side in volume.shape[-2:]
    )
    planes = checked_block(volume, slice(z, z + 2), rows, columns)
    inside = ~np.isnan(planes).any(axis=0)
    if not inside.any():
        return 1.0
    planes = np.where(inside, planes, planes[:, inside].mean(axis=1)[:, np.newaxis, np.newaxis])
    details = [
        np.sign(gaussian_filter(plane, fine) - gaussian_filter(plane, coarse))[inside]
        for plane in planes
    ]
    if min(float(detail.std()) for detail in details) == 0:
        return 1.0
    return float(np.corrcoef(*details)[0, 1])


def central(images: NDArray[np.float32], slices: int) -> NDArray[np.float32]:
    """View of the middle `slices` (odd) of images (n, more slices, height, width)."""
    return images[:, middle(images.shape[1], slices)]


def middle(of: int, slices: int) -> slice:
    """The middle `slices` (odd) of `of` slices."""
    first = of // 2 - slices // 2
    return slice(first, first + slices)
