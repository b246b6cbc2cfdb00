"""Chord lengths of each phase along the axes."""

import math

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import chords
from matphase.properties.catalogue import Key
from matphase.properties.estimate import Curve
from matphase.properties.groups.subject import Found, Subject, quotient
from matphase.properties.labelled import Indices
from matphase.properties.sampling import bootstrap_error


def measure(subject: Subject) -> Found:
    """Chord lengths of each phase along the axes."""
    found = Found()
    for number, axis in subject.axes():
        lines = {}
        length = subject.spacing[number]
        for index, name in enumerate(subject.names):
            key = Key("mean_chord", name, axis)
            if index not in subject.present:
                found.values[key] = math.nan
                continue
            seen = chords.chord_lengths(subject.indices == index, number, length, subject.counted)
            found.values[key] = seen.mean_intercept
            lines[name] = seen.number / max(1, seen.number.sum())
            if subject.in_full:
                error = bootstrap_error(_chord_rows(subject, index, number) * (length, 1), quotient)
                found.sampling[key] = {"bootstrap": float(error[0])}
        if subject.in_full:
            found.curves[f"chords_{axis}"] = Curve(
                f"Chord lengths along {axis}",
                f"length / {subject.length_unit}",
                "share of chords",
                seen.lengths,
                lines,
            )
    return found


def _chord_rows(subject: Subject, phase: int, axis: int) -> NDArray[np.float64]:
    """Of each block: voxels of the phase, and number of its chords along the axis."""

    def count(part: Indices, _: int) -> NDArray[np.float64]:
        seen = chords.chord_counts(part == phase, axis, part != IGNORE_INDEX)
        return np.array([np.count_nonzero(part == phase), seen.ends / 2])

    return subject.by_blocks(count)
