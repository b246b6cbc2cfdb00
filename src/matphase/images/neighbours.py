"""Neighbouring slices as channels: what lies above and below a slice tells of its phases, too.

Images then have the shape (n, slices, height, width), the slice itself in the middle of an odd
number; where only the slice itself is seen, (n, height, width). Beyond the ends of a stack its
last slice stands for what is not there.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from matphase.images.grey_scale import IntensityScale, scaled
from matphase.images.volume import Volume, Window, checked_block, checked_slice, converted
from matphase.support.errors import InputError

STEPS_LOOKED_AT = 4
"""From a slice to the next one, at most so many, when a stack is checked."""
SHOWN_DETAIL = (2.0, 16.0)
"""Sizes in pixels (SD of Gaussians) between which slices are compared: finer is noise, coarser are
brightness and the field of view, which slices that are no neighbours have in common, too."""
LEAST_LIKENESS = 0.1
"""Correlation of neighbours. In slices picked from a stack of an electrode (Su et al. 2022) it is
.05 at most, in neighbours of virtual electrodes .9, and .2 to .3 eight slices apart."""
LEAST_SIDE, MOST_SIDE = 256, 1024
"""Pixels: smaller slices show too little to tell; of larger ones the middle is enough."""


def read_images(
    volume: Volume, scale: IntensityScale, numbers: Sequence[int] | NDArray[np.int64], slices: int
) -> NDArray[np.float32]:
    """Slices of a volume, scaled, with their neighbours; each is read once.

    Args:
        volume: grey values.
        scale: brings them to [-1, 1].
        numbers: of the slices, from 0.
        slices: that an image consists of, odd.

    Returns:
        (n, height, width), or (n, slices, height, width) for several.

    Raises:
        InputError: a slice cannot be used.
    """
    seen = _neighbours(np.asarray(numbers, np.int64), slices, volume.n_slices)
    images = np.empty((*seen.shape, *volume.shape[-2:]), np.float32)
    for z in np.unique(seen):
        images[seen == z] = scale.apply(checked_slice(volume, int(z)))
    return images[:, 0] if slices == 1 else images


def read_window(
    volume: Volume,
    ends: NDArray[np.float64],
    z: Window,
    rows: Window,
    columns: Window,
    slices: int,
) -> NDArray[np.float32]:
    """The same window of consecutive slices, scaled, with their neighbours.

    Args:
        volume: grey values.
        ends: (n_slices, 2) what maps to -1 and 1 in each slice (`IntensityScale.of_slices`).
        z: the slices.
        rows: of the window.
        columns: of the window.
        slices: that an image consists of, odd.

    Returns:
        (dz, dy, dx), or (dz, slices, dy, dx) for several.

    Raises:
        InputError: the slices cannot be used.
    """
    seen = _neighbours(np.arange(z.start, z.stop), slices, volume.n_slices)
    first, last = int(seen.min()), int(seen.max()) + 1
    stack = checked_block(volume, slice(first, last), rows, columns)
    for plane, (low, high) in zip(stack, ends[first:last], strict=True):
        plane[...] = scaled(plane, low, high)
    return stack if slices == 1 else stack[seen - first]


def check_neighbours(
    volume: Volume, numbers: Sequence[int] | NDArray[np.int64], slices: int
) -> None:
    """Refuse slices picked from a stack, whose neighbours there are no neighbours, or far apart.

    Args:
        volume: grey values.
        numbers: slices that will be looked at, from 0.
        slices: that an image consists of; 1 needs no neighbours.

    Raises:
        InputError: the details of slices are not those of the next ones.
    """
    known = np.asarray(numbers, np.int64)
    if slices == 1 or volume.n_slices == 1 or min(volume.shape[-2:]) < LEAST_SIDE:
        return
    above = np.minimum(known, volume.n_slices - 2)
    chosen = above[np.linspace(0, len(above) - 1, STEPS_LOOKED_AT).round().astype(np.int64)]
    likeness = np.mean([_likeness(volume, int(z)) for z in np.unique(chosen)])
    if likeness < LEAST_LIKENESS:
        raise InputError(
            f"slices of {volume.name} do not look like the next ones (correlation "
            f"{likeness:.2f}), but networks are to see {slices} neighbours at once; give a whole "
            "stack (and which of its slices are labelled), or train with ugsm.slices = 1 and "
            "lcgar.slices = 1"
        )


def _likeness(volume: Volume, z: int) -> float:
    """Correlation of the details of a slice and the next one; 1 where there are none.

    Of their signs: a bright rim that all slices have would outweigh everything else.
    """
    fine, coarse = SHOWN_DETAIL
    rows, columns = (
        slice(max(0, (side - MOST_SIDE) // 2), min(side, (side + MOST_SIDE) // 2))
        for side in volume.shape[-2:]
    )
    details = [
        np.sign(gaussian_filter(plane, fine) - gaussian_filter(plane, coarse))
        for plane in checked_block(volume, slice(z, z + 2), rows, columns)
    ]
    if min(float(detail.std()) for detail in details) == 0:
        return 1.0
    return float(np.corrcoef(*(detail.ravel() for detail in details))[0, 1])


def central(images: NDArray[np.float32], slices: int) -> NDArray[np.float32]:
    """The `slices` in the middle of images: (n, height, width) if 1, else (n, slices, ...).

    Args:
        images: (n, height, width), or (n, more slices, height, width).
        slices: odd, at most as many as the images have.
    """
    if images.ndim == 3 and slices == 1:
        return images
    middle = images.shape[1] // 2
    if slices == 1:
        return images[:, middle]
    return images[:, middle - slices // 2 : middle + slices // 2 + 1]


def labelled_slices(
    images: Volume, labels: Volume, chosen: Sequence[int] | None
) -> NDArray[np.int64]:
    """Which slice of the images each slice of the labels belongs to.

    As many images as labels are pairs in their order. Where there are more images, the distances
    of the slices say it, if both volumes have one and both begin at the same place.

    Args:
        images: grey values.
        labels: of some of their slices.
        chosen: the numbers (from 0), if the caller knows them.

    Returns:
        (slices of the labels,) numbers from 0.

    Raises:
        InputError: it is not known, or there are no such slices.
    """
    n, there = labels.n_slices, images.n_slices
    if chosen is not None:
        numbers = np.asarray(chosen, np.int64)
        if len(numbers) != n:
            raise InputError(
                f"{len(numbers)} slice numbers are given for {labels.name}, which has {n} slices; "
                "give one number a slice"
            )
    elif n == there:
        return np.arange(n)
    else:
        numbers = _by_distance(images, labels)
    if numbers.min() < 0 or numbers.max() >= there or len(np.unique(numbers)) < n:
        listed = ", ".join(str(number) for number in numbers[:8]) + ", ..." * (n > 8)
        raise InputError(
            f"the labels of {labels.name} cannot be those of slices {listed} of {images.name}, "
            f"which has slices 0 to {there - 1}; give a number of its own for each slice"
        )
    return numbers


def _by_distance(images: Volume, labels: Volume) -> NDArray[np.int64]:
    lengths = []
    for volume in (images, labels):
        length = volume.voxel_size[0] if volume.voxel_size and volume.ndim == 3 else None
        if length is None or volume.unit is None:
            raise InputError(
                f"{images.name} has {images.n_slices} slices but {labels.name} has "
                f"{labels.n_slices}; say which of the slices are labelled (label slices), or give "
                "both their distances of slices"
            )
        lengths.append(converted(length, volume.unit, "mm"))
    return np.round(np.arange(labels.n_slices) * (lengths[1] / lengths[0])).astype(np.int64)


def _neighbours(numbers: NDArray[np.int64], slices: int, there: int) -> NDArray[np.int64]:
    """(n, slices) numbers of the slices that each image consists of."""
    offsets = np.arange(slices) - slices // 2
    seen: NDArray[np.int64] = np.clip(numbers[:, None] + offsets, 0, there - 1)
    return seen
