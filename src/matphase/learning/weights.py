"""Loss weights that make up for how much of each phase there is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError


def phase_fractions(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Volume fraction of each phase among the known pixels.

    Args:
        counts: (phases,) known pixels of each phase.

    Returns:
        (phases,), sums to 1.

    Raises:
        InputError: no pixel is known.
    """
    if not counts.sum():
        raise InputError("every pixel of the labels is ignored; give labels that name phases")
    fractions: NDArray[np.float64] = counts / counts.sum()
    return fractions


def phase_weights(
    counts: NDArray[np.int64], names: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """Inverse phase frequencies, scaled to mean 1: the weights of the cross-entropy (appendix 6.3).

    Args:
        counts: (phases,) known training pixels of each phase.
        names: names of the phases for messages; their indices by default.

    Returns:
        float32 of shape (phases,).

    Raises:
        InputError: a phase never occurs, or no pixel is known.
    """
    fractions = phase_fractions(counts)
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
