"""Neighbouring slices as channels: what lies above and below a slice tells of its phases, too.

Images have the shape (n, slices, height, width), the slice itself in the middle of an odd number.
Beyond the ends of a stack its last slice is repeated.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from matphase.images.volume import Volume, checked_block
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
    """The `slices` in the middle of images (n, more slices, height, width); `slices` is odd."""
    middle = images.shape[1] // 2
    return images[:, middle - slices // 2 : middle + slices // 2 + 1]
