"""Connectivity of a phase: its largest cluster, and its share that percolates along each axis.

Voxels are connected through their faces (6 neighbours in 3D, 4 in 2D): nothing flows through an
edge or a corner. A phase or a union of phases is given as a boolean mask, (y, x) or (z, y, x).
Clusters are additive over slabs: `find_clusters` takes the volume in pieces and joins what their
common faces connect, so that a volume larger than memory has exactly the clusters that it would
have in one piece.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from matphase.properties.arrays import Bools, Counts, check_axis, check_mask
from matphase.support.errors import InputError


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of a phase, in arbitrary order.

    Attributes:
        sizes: voxels of each, int64 of shape (n,).
        touches: whether it reaches the first and the last voxels of each axis, bool of shape
            (n, axes, 2).
    """

    sizes: Counts
    touches: Bools


@dataclass(frozen=True)
class Connectivity:
    """Shares of the voxels of a phase, in [0, 1]; NaN where the phase has none.

    Attributes:
        largest_share: in its largest cluster.
        percolating_share: per axis, in clusters that touch both ends of it.
        percolates: per axis, whether there is such a cluster.
    """

    largest_share: float
    percolating_share: tuple[float, ...]
    percolates: tuple[bool, ...]


def find_clusters(slabs: Iterable[Bools]) -> Clusters:
    """Find the clusters of a phase in a volume that comes in slabs.

    Memory is for two labelled slabs, and for a few numbers per cluster of a slab.

    Args:
        slabs: masks, in order along axis 0 and without overlap; they differ in shape along axis 0
            only. A volume in memory is one slab.

    Raises:
        InputError: there are no slabs, one is not a boolean array of 2 or 3 axes or is empty, or
            they do not fit on each other.
    """
    sizes, touches, links = [], [], []
    above: Counts | None = None
    total = 0
    for slab in slabs:
        _check(slab)
        if above is not None and slab.shape[1:] != above.shape:
            raise InputError(
                f"a slab with slices of shape {slab.shape[1:]} follows slices of {above.shape}; "
                "cut the slabs from one volume along its first axis"
            )
        labels, n = ndimage.label(slab)
        sizes.append(np.bincount(labels.ravel(), minlength=n + 1)[1:])
        touched = _touched(labels, n)
        # Only the ends of the whole volume count along axis 0, so a slab has neither at first.
        first, last = touched[:, 0, 0].copy(), touched[:, 0, 1].copy()
        touched[:, 0] = False
        if above is None:
            touched[:, 0, 0] = first
        else:
            links.append(_contacts(above, _numbered(labels[0], total)))
        touches.append(touched)
        above = _numbered(labels[-1], total)
        total += n
    if above is None:
        raise InputError("a volume of no slabs has no clusters; give at least one slab")
    touches[-1][:, 0, 1] = last
    return _joined(np.concatenate(sizes), np.concatenate(touches), links)


def connectivity(clusters: Clusters) -> Connectivity:
    """Connectivity of a phase from its clusters."""
    both: Bools = np.all(clusters.touches, axis=2)
    total = int(clusters.sizes.sum())
    if total == 0:
        axes = both.shape[1]
        return Connectivity(float("nan"), (float("nan"),) * axes, (False,) * axes)
    return Connectivity(
        largest_share=int(clusters.sizes.max()) / total,
        percolating_share=tuple((clusters.sizes @ both / total).tolist()),
        percolates=tuple(np.any(both, axis=0).tolist()),
    )


def connectivity_of(mask: Bools) -> Connectivity:
    """Measure the connectivity of a phase in memory.

    Raises:
        InputError: `mask` is not a boolean array of 2 or 3 axes, or is empty.
    """
    return connectivity(find_clusters([mask]))


def percolating(mask: Bools, axis: int) -> Bools:
    """Find the voxels of a phase in clusters that touch both ends of `axis`; shape of `mask`.

    Raises:
        InputError: `mask` is not a boolean array of 2 or 3 axes or is empty, or has no such axis.
    """
    _check(mask)
    check_axis(axis, mask.ndim)
    labels, n = ndimage.label(mask)
    spanning = _touched(labels, n)[:, axis].all(axis=1)
    # Label 0 is what is not in the phase.
    found: Bools = np.append(False, spanning)[labels]
    return found


def _touched(labels: NDArray[np.integer], n: int) -> Bools:
    """Which ends of each axis the labels 1..n reach, shape (n, axes, 2)."""
    touched = np.zeros((n + 1, labels.ndim, 2), np.bool_)
    for axis in range(labels.ndim):
        for side in (0, -1):
            touched[labels.take(side, axis), axis, side] = True
    return touched[1:]


def _numbered(plane: NDArray[np.integer], before: int) -> Counts:
    """Labels 1..n of a slab as numbers in the whole volume, from `before`; -1 for no cluster."""
    return np.where(plane > 0, plane.astype(np.int64) - 1 + before, -1)


def _contacts(above: Counts, below: Counts) -> Counts:
    """The pairs of clusters that meet where two slabs do, each once; shape (pairs, 2)."""
    both = (above >= 0) & (below >= 0)
    return np.unique(np.stack([above[both], below[both]], axis=1), axis=0)


def _joined(sizes: Counts, touches: Bools, links: list[Counts]) -> Clusters:
    """Merge the clusters of the slabs that `links` connect."""
    if not links or not sizes.size:
        return Clusters(sizes.astype(np.int64), touches)
    one, other = np.concatenate(links).T
    graph = coo_array((np.ones(one.size, np.bool_), (one, other)), shape=(sizes.size,) * 2)
    n, group = connected_components(graph, directed=False)
    joined_sizes = np.zeros(n, np.int64)
    np.add.at(joined_sizes, group, sizes)
    joined_touches = np.zeros((n, *touches.shape[1:]), np.bool_)
    np.logical_or.at(joined_touches, group, touches)
    return Clusters(joined_sizes, joined_touches)


def _check(mask: Bools) -> None:
    check_mask(mask, None)
    if mask.size == 0:
        raise InputError(f"a mask of shape {mask.shape} has no voxels; give at least one")
