"""How much of each phase there is, and the loss weights that make up for it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.support.errors import InputError


def phase_fractions(labels: NDArray[np.uint8], n_phases: int) -> NDArray[np.float64]:
    """Volume fraction of each phase among the labelled pixels.

    Args:
        labels: phase indices or `IGNORE_INDEX`, any shape.
        n_phases: number of phases.

    Returns:
        Shape (n_phases,), sums to 1.

    Raises:
        InputError: no pixel is labelled, or a label is neither a phase nor `IGNORE_INDEX`.
    """
    found = labels[labels != IGNORE_INDEX]
    if not found.size:
        raise InputError("every pixel of the labels is ignored; give labels that name phases")
    if found.max() >= n_phases:
        raise InputError(
            f"labels hold the index {found.max()}, but {n_phases} phases have the indices "
            f"0..{n_phases - 1}; map the labels to phases first"
        )
    fractions: NDArray[np.float64] = np.bincount(found, minlength=n_phases) / found.size
    return fractions


def phase_weights(
    labels: NDArray[np.uint8], n_phases: int, names: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """Inverse phase frequencies, scaled to mean 1: the weights of the cross-entropy (appendix 6.3).

    Args:
        labels: phase indices or `IGNORE_INDEX` of all training pixels, any shape.
        n_phases: number of phases.
        names: names of the phases for messages; their indices by default.

    Returns:
        float32 of shape (n_phases,).

    Raises:
        InputError: a phase never occurs, no pixel is labelled, or a label is no phase.
    """
    fractions = phase_fractions(labels, n_phases)
    missing = np.flatnonzero(fractions == 0).tolist()
    if missing:
        listed = ", ".join(
            f"{index} ({names[index]})" if names else f"{index}" for index in missing
        )
        raise InputError(
            f"the training labels have no pixel of phase {listed}; add slices that show it, or "
            "leave it out of the phases"
        )
    inverse = 1 / fractions
    weights: NDArray[np.float32] = (inverse / inverse.mean()).astype(np.float32)
    return weights
