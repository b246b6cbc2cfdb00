"""Two-point correlation of each phase."""

import math

import numpy as np

from matphase.properties import correlation
from matphase.properties.catalogue import Key
from matphase.properties.estimate import Curve
from matphase.properties.groups.subject import LONGEST_LAG, Found, Subject


def measure(subject: Subject) -> Found:
    """Two-point correlation of each phase, averaged over directions."""
    found, lines, distance = Found(), {}, np.zeros(0)
    for index, name in enumerate(subject.names):
        if index not in subject.present:
            found.values[Key("correlation_length", name)] = math.nan
            continue
        counts = subject.pairs(index)
        radial = correlation.radial_correlation(counts, subject.spacing)
        found.values[Key("correlation_length", name)] = correlation.autocorrelation_length(radial)
        lines[name], distance = radial.s2, radial.distance
    if subject.in_full:
        found.curves["correlation"] = Curve(
            "Probability that both ends are in the phase",
            f"distance / {subject.length_unit}",
            "S2",
            distance,
            lines,
        )
    return found


def memory_needed(subject: Subject) -> int:
    """Bytes that two-point correlations take, of a volume of any depth.

    Transforms work on pieces of three times the lag along the first axis, padded along the
    others, with about 55 bytes a voxel.
    """
    depth, *sides = subject.labelled.shape
    padded = [side + min(LONGEST_LAG, side // 2) for side in sides]
    return 55 * min(depth, 3 * LONGEST_LAG) * math.prod(padded)
