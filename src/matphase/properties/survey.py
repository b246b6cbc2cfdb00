"""First look at all labels of a volume: which there are, and where voxels are ignored."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.properties.arrays import Bools, same_in_all_layers
from matphase.properties.labelled import Indices


@dataclass(frozen=True, eq=False)
class Survey:
    """What a volume holds.

    Attributes:
        voxels: number of voxels with each index, ignored ones at `IGNORE_INDEX`; shape (256,).
        same_along: for each axis, whether the voxels that count are the same in every layer.
    """

    voxels: NDArray[np.int64]
    same_along: tuple[bool, ...]

    @property
    def counted(self) -> int:
        """Number of voxels that are not ignored."""
        return int(self.voxels[:IGNORE_INDEX].sum())


def survey(slabs: Iterable[Indices]) -> Survey:
    """Look at all voxels of a volume once.

    Args:
        slabs: phase indices, consecutive along the first axis and without overlap.
    """
    voxels = np.zeros(256, np.int64)
    same: NDArray[np.bool_] = np.ones((), np.bool_)
    first: Bools | None = None
    along_first = True
    for slab in slabs:
        for layer in slab:  # one by one: counting takes 8 bytes a voxel
            voxels += np.bincount(layer.ravel(), minlength=256)
        counted = slab != IGNORE_INDEX
        same = same & [same_in_all_layers(counted, axis) for axis in range(1, counted.ndim)]
        first = counted[0].copy() if first is None else first
        along_first = along_first and bool((counted == first).all())
    return Survey(voxels, (along_first, *same.tolist()))
