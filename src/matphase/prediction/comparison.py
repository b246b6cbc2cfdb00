"""Comparison of a prediction with known labels of all or some of its slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.annotations import paired_slices
from matphase.images.mask import Mask, region_of
from matphase.images.pairing import file_names
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume
from matphase.prediction.prediction import Prediction
from matphase.support.errors import InputError


@dataclass(frozen=True)
class ScoredSlices:
    """Slices of a prediction that have known labels.

    Attributes:
        numbers: (n,) their numbers, from 0.
        is_stack: whether maps have an axis z.
    """

    numbers: NDArray[np.int64]
    is_stack: bool

    def of(self, whole: Any) -> NDArray[Any]:
        """Read these slices of a map, (..., n, y, x)."""
        if not self.is_stack:
            return np.asarray(whole)[..., np.newaxis, :, :]
        planes = [np.asarray(whole[..., z, :, :]) for z in self.numbers.tolist()]
        return np.stack(planes, axis=-3)


def known_labels(
    prediction: Prediction,
    labels: Volume,
    phases: PhaseTable,
    label_slices: Sequence[int] | None = None,
    mask: Mask | None = None,
) -> tuple[ScoredSlices, NDArray[np.uint8]]:
    """Known labels, and the slices of a prediction that they belong to.

    Args:
        prediction: the prediction.
        labels: known labels of all slices or some of them; see `paired_slices`.
        phases: their values.
        label_slices: numbers of the slices, in place of what names or spacings say.
        mask: region of interest; see `region_of`.

    Returns:
        the slices, and their labels (n, height, width) as phase indices; `IGNORE_INDEX` where
        labels or prediction have an ignore value, and outside of the mask.

    Raises:
        InputError: labels of other slices, a value that is not in `phases`, or nothing to compare.
    """
    grid = prediction.volumes("labels")[0]
    if grid.shape[-2:] != labels.shape[-2:] or labels.n_slices > grid.n_slices:
        raise InputError(
            f"{grid.name} has shape {grid.stack_shape} but {labels.name} has "
            f"{labels.stack_shape}; give the labels of the same slices"
        )
    try:
        files = file_names(prediction.volume)
    except InputError:  # not there any more
        files = None
    planes, numbers = paired_slices(grid, labels, label_slices, files)
    slices = ScoredSlices(numbers, grid.ndim == 3)
    known = np.stack(
        [phases.encode(labels.slice(z), where=f"{labels.name}, slice {z}") for z in planes.tolist()]
    )
    known[slices.of(prediction.indices) == IGNORE_INDEX] = IGNORE_INDEX
    if mask is not None:
        region = region_of(mask, grid)
        for plane, z in zip(known, numbers.tolist(), strict=True):
            plane[~region.slice(z)] = IGNORE_INDEX
    if np.all(known == IGNORE_INDEX):
        raise InputError(
            f"no pixel of {labels.name} can be compared: all have an ignore value there or in "
            f"{grid.name}, or are outside of the mask; give other labels or another mask (mask=)"
        )
    return slices, known
