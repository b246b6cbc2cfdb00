"""Label smoothing by nearest neighbours: lone pixels of one solid inside another are noise."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.support.errors import InputError

# k nearest pixels of the square lattice: the k within this squared distance. Other k would cut
# through pixels that are equally near.
_SQUARED_REACH = {4: 1, 8: 2, 12: 4, 20: 5, 24: 8}


@dataclass(frozen=True, eq=False)
class LabelChanges:
    """What a treatment of labels did to them, over the pixels labelled before.

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
    """Give pixels the phase that surrounds them, by the k-nearest-neighbour rule of appendix 6.3.

    A pixel takes the phase that more than half of its nearest neighbours in the slice have. Neither
    the pixel nor that phase may be one of `keep`: the rule knows that carbon binder does not lie
    in single pixels within nickel, nor the reverse, but says nothing about pores. All pixels
    change at once, judged by the labels as given. Ignored pixels neither change nor vote, and at
    the border the majority is over the neighbours that exist. The rule thins films of a pixel or
    two, so leave the labels that a model is tested on as they are.

    Args:
        labels: phase indices or `IGNORE_INDEX`, uint8, shape (h, w) or (n, h, w).
        n_phases: number of phases.
        keep: indices of the phases left alone (pore in the paper).
        neighbors: k, the number of nearest neighbours: 4, 8 (the ring around the pixel), 12, 20
            or 24 (the 5 x 5 square).

    Returns:
        New labels of the same shape and type.

    Raises:
        InputError: labels have another shape or type, an index (in the labels or in `keep`) is no
            phase, or `neighbors` is another number.
    """
    if labels.ndim not in (2, 3) or labels.dtype != np.uint8:
        raise InputError(
            f"labels of type {labels.dtype} and shape {labels.shape} cannot be smoothed; give "
            "uint8 phase indices of shape (h, w) or (n, h, w)"
        )
    if neighbors not in _SQUARED_REACH:
        raise InputError(
            f"{neighbors} nearest neighbours are no symmetric set of pixels; give one of "
            f"{', '.join(map(str, _SQUARED_REACH))}"
        )
    foreign = {*np.unique(labels).tolist(), *keep} - {*range(n_phases), IGNORE_INDEX}
    if foreign:
        raise InputError(
            f"the index {min(foreign)} is no phase: {n_phases} phases have the indices "
            f"0..{n_phases - 1}; map the labels to phases first"
        )
    voters = _count_neighbors(labels != IGNORE_INDEX, neighbors)
    may_change = ~np.isin(labels, [*keep, IGNORE_INDEX])
    smoothed = labels.copy()
    for phase in set(range(n_phases)) - set(keep):
        votes = _count_neighbors(labels == phase, neighbors)
        # At most 24 votes: twice that still fits in uint8. Only one phase can have more than half.
        smoothed[may_change & (2 * votes > voters)] = phase
    return smoothed


def changes_from_counts(
    before: NDArray[np.int64], after: NDArray[np.int64], changed: int
) -> LabelChanges:
    """What a treatment of labels changed, from counts of known pixels.

    Args:
        before: (phases,) pixels of each phase before.
        after: (phases,) the same pixels after the treatment.
        changed: pixels whose phase changed.
    """
    return LabelChanges(before / before.sum(), after / after.sum(), changed / int(before.sum()))


def _count_neighbors(mask: NDArray[np.bool_], neighbors: int) -> NDArray[np.uint8]:
    """How many of the nearest neighbours in its slice each pixel has in `mask`."""
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
