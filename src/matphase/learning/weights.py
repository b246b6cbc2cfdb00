"""Weights of the loss that compensate for unequal phase fractions."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError


def phase_fractions(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Volume fraction of each phase among the known pixels.

    Args:
        counts: (phases,) number of known pixels of each phase.

    Returns:
        (phases,), with sum 1.

    Raises:
        InputError: no pixel is known.
    """
    if not counts.sum():
        raise InputError("every pixel of the labels is ignored; give labels that contain phases")
    fractions: NDArray[np.float64] = counts / counts.sum()
    return fractions


def phase_weights(
    counts: NDArray[np.int64],
    names: Sequence[str] | None = None,
    *,
    kind: Literal["inverse", "none"] = "inverse",
) -> NDArray[np.float32]:
    """Weights of the cross-entropy: inverse phase frequencies, scaled to mean 1 (appendix 6.3).

    Args:
        counts: (phases,) number of known training pixels of each phase.
        names: names of the phases for messages; their indices by default.
        kind: `none`: all weights are 1.

    Returns:
        (phases,) float32.

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
            f"the training labels have no pixel of phase {listed}; add slices that contain it, or "
            "remove it from the phases"
        )
    if kind == "none":
        return np.ones(len(fractions), np.float32)
    inverse = 1 / fractions
    weights: NDArray[np.float32] = (inverse / inverse.mean()).astype(np.float32)
    return weights
