"""Analyses of the remaining error: at boundaries or in the bulk, in which phases, in which labels.

All stacks are (n, h, w); a pixel that is `IGNORE_INDEX` in any of the stacks compared does
not count. Results are ready for JSON: a share that is not defined is None, and so is an edge at
infinity.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.scores.metrics.checks import scored_pixels
from matphase.support.errors import InputError

EDGES = (1.0, 2.0, 3.0, 5.0, math.inf)
"""Upper ends of the distance bins, in pixels."""

BOUNDARY_WIDTH = 2.0
"""Up to this distance, in pixels, a pixel is at a boundary; beyond it is bulk."""


def distance_to_boundary(truth: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distance of each pixel from the boundary of its phase, within its slice.

    The boundary runs between pixels: the distance is that to the centre of the nearest pixel of
    another phase, minus one half. So a pixel with a 4-neighbour of another phase has 0.5, one that
    touches it at a corner only has sqrt(2) - 0.5.

    Args:
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.

    Returns:
        (n, h, w) Euclidean distance in pixels; infinity where the slice holds no other phase, NaN
        where truth is ignored. Ignored pixels and the border of the image are no boundary.

    Raises:
        InputError: truth is not a stack.
    """
    if truth.ndim != 3:
        raise InputError(f"truth of shape {truth.shape} is not a stack; give (n, h, w)")
    distance = np.full(truth.shape, np.nan, np.float32)
    for image, found in zip(truth, distance, strict=True):
        phases = [phase for phase in np.unique(image) if phase != IGNORE_INDEX]
        for phase in phases:
            own = image == phase
            if len(phases) == 1:
                found[own] = np.inf
                continue
            same = own | (image == IGNORE_INDEX)
            found[own] = distance_transform_edt(same)[own] - 0.5
    return distance


def error_by_distance(
    truth: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    n_phases: int,
    edges: Sequence[float] = EDGES,
) -> list[dict[str, Any]]:
    """Error rate by distance from the true boundary.

    Args:
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.
        labels: (n, h, w) predicted phase indices, `IGNORE_INDEX` where not scored.
        n_phases: number of phases.
        edges: upper ends of the bins in pixels, increasing, the last infinite; see
            `distance_to_boundary`.

    Returns:
        One entry a bin: `above` and `up_to` (its ends; None for infinity), `pixels`, `share` of
        all pixels, `error_rate` in the bin, and `share_of_errors`, of all errors.

    Raises:
        InputError: stacks that do not fit, values that are no phase index, or edges that do not
            increase to infinity.
    """
    ends = [0.0, *(float(edge) for edge in edges)]
    if ends[-1] != math.inf or any(low >= high for low, high in itertools.pairwise(ends)):
        raise InputError(
            f"edges {tuple(edges)} are not bins; give increasing edges, the last one infinite"
        )
    scored = scored_pixels(truth, labels, n_phases)
    wrong = truth[scored] != labels[scored]
    which = np.searchsorted(ends[1:], distance_to_boundary(truth)[scored], side="left")
    pixels = np.bincount(which, minlength=len(edges))
    errors = np.bincount(which[wrong], minlength=len(edges))
    return [
        {
            "above": low,
            "up_to": None if math.isinf(high) else high,
            "pixels": int(pixels[index]),
            "share": _share(pixels[index], pixels.sum()),
            "error_rate": _share(errors[index], pixels[index]),
            "share_of_errors": _share(errors[index], errors.sum()),
        }
        for index, (low, high) in enumerate(itertools.pairwise(ends))
    ]


def confusion_shares(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], phases: PhaseTable
) -> dict[str, dict[str, float | None]]:
    """Shares of the errors by pair of confused phases, at boundaries and in the bulk.

    Args:
        truth: (n, h, w) phase indices or `IGNORE_INDEX`.
        labels: (n, h, w) predicted phase indices, `IGNORE_INDEX` where not scored.
        phases: their names.

    Returns:
        For each pair of phases, such as "pore-carbon" (in the order of `phases`), their share of
        all errors: `boundary`, within `BOUNDARY_WIDTH` of any true boundary, not only of these two
        phases; `bulk`, beyond; and `all`, their sum.

    Raises:
        InputError: stacks that do not fit, or values that are no phase index.
    """
    scored = scored_pixels(truth, labels, len(phases))
    wrong = scored & (truth != labels)
    lower = np.minimum(truth, labels)[wrong].astype(np.intp)
    higher = np.maximum(truth, labels)[wrong].astype(np.intp)
    bulk = distance_to_boundary(truth)[wrong] > BOUNDARY_WIDTH
    cell = (lower * len(phases) + higher) * 2 + bulk
    counts = np.bincount(cell, minlength=2 * len(phases) ** 2).reshape(len(phases), len(phases), 2)
    return {
        f"{phases.names[first]}-{phases.names[second]}": {
            "all": _share(counts[first, second].sum(), counts.sum()),
            "boundary": _share(counts[first, second, 0], counts.sum()),
            "bulk": _share(counts[first, second, 1], counts.sum()),
        }
        for first, second in itertools.combinations(range(len(phases)), 2)
    }


def label_noise(measured: NDArray[np.uint8], exact: NDArray[np.uint8]) -> dict[str, Any]:
    """Agreement of measured labels with the exact labels of a virtual electrode.

    Args:
        measured: (n, h, w) phase indices or `IGNORE_INDEX`, as a second imaging method gives them.
        exact: (n, h, w) phase indices or `IGNORE_INDEX`, as the electrode was made.

    Returns:
        `pixels`; `agreement`, the share of pixels with the same label; and `by_distance`, one
        entry a bin of the distance to the exact boundary (`EDGES`): `above`, `up_to`, `pixels`,
        `share` of all pixels, `agreement` in the bin.

    Raises:
        InputError: the arrays are not stacks of one shape.
    """
    bins = error_by_distance(exact, measured, _phases_in(measured, exact))
    scored = (measured != IGNORE_INDEX) & (exact != IGNORE_INDEX)
    return {
        "pixels": int(scored.sum()),
        "agreement": _share(((measured == exact) & scored).sum(), scored.sum()),
        "by_distance": [
            {
                **{key: entry[key] for key in ("above", "up_to", "pixels", "share")},
                "agreement": None if entry["error_rate"] is None else 1 - entry["error_rate"],
            }
            for entry in bins
        ],
    }


def misregistration_share(
    measured: NDArray[np.uint8], exact: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> dict[str, Any]:
    """Shares of right and wrong labels where a prediction differs from the measured labels.

    Args:
        measured: (n, h, w) phase indices or `IGNORE_INDEX`, the labels with their errors.
        exact: (n, h, w) phase indices or `IGNORE_INDEX`, the electrode as it was made.
        labels: (n, h, w) predicted phase indices, `IGNORE_INDEX` where not scored.

    Returns:
        `differing`, the number of pixels where `labels` and `measured` differ, and what share of
        them has the `method_right`, the `label_right`, or `both_wrong`; the three add up to 1.

    Raises:
        InputError: the arrays are not stacks of one shape.
    """
    n_phases = _phases_in(measured, exact, labels)
    scored = scored_pixels(exact, labels, n_phases) & scored_pixels(exact, measured, n_phases)
    differing = scored & (labels != measured)
    total = differing.sum()
    method, label = ((array == exact)[differing].sum() for array in (labels, measured))
    return {
        "differing": int(total),
        "method_right": _share(method, total),
        "label_right": _share(label, total),
        "both_wrong": _share(total - method - label, total),
    }


def _phases_in(*stacks: NDArray[np.uint8]) -> int:
    """Smallest number of phases that includes every index in `stacks`."""
    return 1 + max(
        (int(stack[stack != IGNORE_INDEX].max(initial=0)) for stack in stacks), default=0
    )


def _share(part: np.number[Any], whole: np.number[Any]) -> float | None:
    """Quotient; None where `whole` is 0."""
    return float(part) / float(whole) if whole else None
