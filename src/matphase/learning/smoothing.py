"""Label smoothing by nearest neighbours, which removes single pixels of one solid in another."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.support.errors import InputError

# squared distance within which the k nearest pixels lie; for other k, some pixels at equal distance
# would be included and others not
_SQUARED_REACH = {4: 1, 8: 2, 12: 4, 20: 5, 24: 8}


@dataclass(frozen=True, eq=False)
class LabelChanges:
    """Changes of labels by smoothing, over the pixels that were labelled before.

    Attributes:
        before: volume fraction of each phase before, shape (n_phases,).
        after: volume fraction of each phase after, shape (n_phases,).
        changed: share of the pixels whose phase changed.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    changed: float


def smooth_labels(
    labels: NDArray[np.uint8],
    n_phases: int,
    *,
    keep: Collection[int] = (),
    neighbors: int = 8,
) -> NDArray[np.uint8]:
    """Smooth labels by the k-nearest-neighbour rule of appendix 6.3.

    A pixel takes the phase of more than half of its nearest neighbours in the slice. Phases in
    `keep` neither change nor replace others: single pixels of carbon binder within nickel, or the
    reverse, are noise, but pores may be that small. All pixels change at once, based on the given
    labels. Ignored pixels neither change nor vote, and at the border only existing neighbours
    vote. The rule thins films of one or two pixels, so do not smooth test labels.

    Args:
        labels: phase indices or `IGNORE_INDEX`, uint8, shape (h, w) or (n, h, w).
        n_phases: number of phases.
        keep: indices of the phases that do not take part (pore in the paper).
        neighbors: k, the number of nearest neighbours: 4, 8 (the ring around the pixel), 12, 20
            or 24 (the 5 x 5 square).

    Returns:
        new labels of the same shape and type.

    Raises:
        InputError: labels have another shape or type, an index in the labels or in `keep` is not
            a phase, or `neighbors` is another number.
    """
    if labels.ndim not in (2, 3) or labels.dtype != np.uint8:
        raise InputError(
            f"cannot smooth labels of type {labels.dtype} and shape {labels.shape}; give "
            "uint8 phase indices of shape (h, w) or (n, h, w)"
        )
    if neighbors not in _SQUARED_REACH:
        raise InputError(
            f"{neighbors} nearest neighbours are not a symmetric set of pixels; give one of "
            f"{', '.join(map(str, _SQUARED_REACH))}"
        )
    foreign = {*np.unique(labels).tolist(), *keep} - {*range(n_phases), IGNORE_INDEX}
    if foreign:
        raise InputError(
            f"index {min(foreign)} is not a phase: {n_phases} phases have the indices "
            f"0..{n_phases - 1}; convert the labels to phase indices first"
        )
    voters = _count_neighbors(labels != IGNORE_INDEX, neighbors)
    may_change = ~np.isin(labels, [*keep, IGNORE_INDEX])
    smoothed = labels.copy()
    for phase in set(range(n_phases)) - set(keep):
        votes = _count_neighbors(labels == phase, neighbors)
        # twice 24 votes still fit in uint8; only one phase can have more than half
        smoothed[may_change & (2 * votes > voters)] = phase
    return smoothed


def changes_from_counts(
    before: NDArray[np.int64], after: NDArray[np.int64], changed: int
) -> LabelChanges:
    """Label changes from counts of known pixels.

    Args:
        before: (phases,) number of pixels of each phase before smoothing.
        after: (phases,) number of pixels of each phase after smoothing.
        changed: number of pixels whose phase changed.
    """
    return LabelChanges(before / before.sum(), after / after.sum(), changed / int(before.sum()))


def _count_neighbors(mask: NDArray[np.bool_], neighbors: int) -> NDArray[np.uint8]:
    """Number of each pixel's nearest neighbours in its slice that are in `mask`."""
    reach = 2 if neighbors > 8 else 1
    height, width = mask.shape[-2:]
    margin = [(0, 0)] * (mask.ndim - 2) + [(reach, reach)] * 2
    padded = np.pad(mask.view(np.uint8), margin)
    counts = np.zeros(mask.shape, dtype=np.uint8)
    for dy, dx in _offsets(_SQUARED_REACH[neighbors], reach):
        rows = slice(reach + dy, reach + dy + height)
        columns = slice(reach + dx, reach + dx + width)
        counts += padded[..., rows, columns]
    return counts


def _offsets(squared_reach: int, reach: int) -> Iterator[tuple[int, int]]:
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if 0 < dy * dy + dx * dx <= squared_reach:
                yield dy, dx
