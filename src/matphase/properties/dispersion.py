"""Dispersion of the binder in the space that the active material leaves."""

import numpy as np
from numpy.typing import NDArray

from matphase.properties.arrays import Bools, Counts, check_mask, check_spacing
from matphase.properties.labelled import Spacing
from matphase.support.errors import InputError


def dispersion_index(binder: Bools, room: Bools, spacing: Spacing, box: float) -> float:
    """Binder dispersion index: 1 where all boxes have the same share, 0 where none is mixed.

    The volume is cut into boxes of edge `box`. With the share p_k of binder in the room of box k
    (pore and binder, not active material), its weight w_k, the number of room voxels there, and the
    share p in all boxes, the index is

        1 - I,  I = sum_k w_k (p_k - p)^2 / (sum_k w_k p (1 - p)).

    I is the intensity of segregation of Danckwerts (1952, Appl Sci Res A3, 279-296), that is the
    part of the variance of "binder or pore" that lies between boxes. It is 1 where each box is all
    binder or all pore, and falls to (boxes - 1) / (room voxels - 1) where voxels are binder at
    random. Since only the room counts, an uneven packing of active material alone does not lower
    the index. It depends on the length of scrutiny `box` but, at a given length, hardly on the
    voxel size; compare electrodes at the same one, such as the median diameter of active particles.
    Several lengths in turn tell at what scale binder gathers. No skeleton and no random reference
    is drawn.

    Args:
        binder: where the binder is, (y, x) or (z, y, x).
        room: where binder could be: pore and binder; ignored voxels are not in it.
        spacing: length of a voxel along each axis.
        box: edge of a box in the unit of the spacing; rounded to voxels along each axis. Incomplete
            boxes at the far ends are left out.

    Returns:
        In [0, 1]; NaN where the boxes hold no binder or nothing else, or fewer than 2 of them have
        room.

    Raises:
        InputError: masks that do not fit, binder outside its room, or a box below a voxel or beyond
            the volume.
    """
    check_mask(binder, room)
    check_spacing(spacing, binder.ndim)
    if (binder & ~room).any():
        raise InputError(
            "there is binder outside `room`; give the voxels of pore and binder as room"
        )
    sides = tuple(round(box / length) if box < np.inf else 0 for length in spacing)
    if not all(0 < side <= n for side, n in zip(sides, binder.shape, strict=True)):
        raise InputError(
            f"boxes of edge {box} are {sides} voxels in a volume of {binder.shape}; "
            "choose an edge between a voxel and the shortest side"
        )
    weights = _box_sums(room, sides)
    weights, filled = weights[weights > 0], _box_sums(binder, sides)[weights > 0]
    total = weights.sum()
    share = filled.sum() / total if total else 0.0
    if len(weights) < 2 or share in (0.0, 1.0):
        return float("nan")
    between = (weights * (filled / weights - share) ** 2).sum()
    return float(1 - between / (total * share * (1 - share)))


def _box_sums(mask: Bools, sides: tuple[int, ...]) -> Counts:
    """Number of true voxels in each complete box of `sides` voxels."""
    sums: NDArray[np.int64] = mask.astype(np.uint8)
    for axis, side in enumerate(sides):
        count = mask.shape[axis] // side
        whole = np.take(sums, range(count * side), axis=axis)
        split = (*whole.shape[:axis], count, side, *whole.shape[axis + 1 :])
        sums = whole.reshape(split).sum(axis=axis + 1, dtype=np.int64)
    return sums
