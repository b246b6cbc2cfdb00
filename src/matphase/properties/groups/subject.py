"""Volume to measure, as every group of properties gets it, and the form of their results."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import correlation
from matphase.properties.catalogue import Key
from matphase.properties.estimate import Curve
from matphase.properties.labelled import Indices, Labelled, Spacing
from matphase.properties.plan import Plan
from matphase.properties.sampling import blocks
from matphase.properties.survey import Survey, survey

LONGEST_LAG = 64
"""In voxels. Where the correlation does not end within it, the error by correlation is infinite."""

MANY = 30
"""Most phases with which everything is measured unless groups are asked for by name."""


@dataclass
class Found:
    """Properties of one volume that one group measured.

    Attributes:
        values: by key.
        sampling: standard errors from the finite volume, by key and by method.
        curves: by file name.
        notes: what is not a number or was left out, and why.
    """

    values: dict[Key, float] = field(default_factory=dict)
    sampling: dict[Key, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Subject:
    """Labelled volume that the groups measure; read only once where it is one slab.

    Args:
        labelled: the volume.
        plan: what to measure.
        in_full: also compute sampling errors and curves; samples of a prediction need neither.

    Attributes:
        correlate: whether there is memory for two-point correlations, and time: not with `MANY`
            phases.
    """

    def __init__(self, labelled: Labelled, plan: Plan, *, in_full: bool) -> None:
        self.correlate = True
        self.labelled = labelled
        self.plan = plan
        self.in_full = in_full
        self._pairs: dict[int, NDArray[np.int64]] = {}

    @cached_property
    def indices(self) -> Indices:
        """Phase indices of all voxels, in memory."""
        return self.labelled.whole()

    @cached_property
    def survey(self) -> Survey:
        """First look at all labels.

        Raises:
            InputError: a value that belongs to no phase.
        """
        return survey(indices for indices, _ in self.slabs())

    @cached_property
    def present(self) -> NDArray[np.int64]:
        """Indices of the phases that there are in the volume."""
        return np.flatnonzero(self.survey.voxels[: len(self.names)])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the phases."""
        return self.labelled.phases.names

    @property
    def spacing(self) -> Spacing:
        """Voxel size along each axis; 1 where it is not known."""
        return self.labelled.spacing or (1.0,) * len(self.labelled.shape)

    @property
    def length_unit(self) -> str:
        """Unit of lengths in curves."""
        return self.labelled.unit or "voxels"

    @property
    def flat(self) -> bool:
        """Whether it is a slice."""
        return len(self.labelled.shape) == 2

    @cached_property
    def counted(self) -> NDArray[np.bool_] | None:
        """Mask of the voxels that are not ignored; None where none is."""
        return counted_voxels(self.indices)

    def axes(self) -> Iterator[tuple[int, str]]:
        """Number and name of each axis of the plan."""
        for name in self.plan.axes:
            yield self.labelled.axis(name), name

    def note_if_varying(self, found: Found, what: str) -> None:
        """Note along which axes something has no value, as the ignored voxels vary there."""
        varying = [name for number, name in self.axes() if not self.survey.same_along[number]]
        if varying:
            found.notes.append(
                f"{what} along {', '.join(varying)} is not a number: the region that is not "
                "ignored varies along the axis, so it has no constant cross-section to flow "
                "through; measure a box inside of it (crop=) or along another axis"
            )

    def slabs(self, overlap: int = 0) -> Iterator[tuple[Indices, int]]:
        """Slabs of the volume along z, and how many of their slices the slab before had, too."""
        if self.flat or self.labelled.fits:
            yield self.indices, 0
            return
        for slab in self.labelled.slabs(overlap):
            yield slab.indices, slab.repeated

    def pairs(self, phase: int) -> NDArray[np.int64]:
        """Pairs of voxels of a phase by their lag, up to half of each side; computed once."""
        if phase not in self._pairs:
            lags = tuple(min(LONGEST_LAG, side // 2) for side in self.labelled.shape)
            total: NDArray[np.int64] = np.zeros((), np.int64)
            for indices, repeated in self.slabs(overlap=lags[0]):
                mask, counted = indices == phase, counted_voxels(indices)
                total = total + correlation.correlation_counts(mask, lags, counted, repeated)
            self._pairs[phase] = total
        return self._pairs[phase]

    def by_blocks(
        self, count: Callable[[Indices, int], NDArray[Any]], overlap: int = 0
    ) -> NDArray[Any]:
        """Result of a counting function in each block of the bootstrap, blocks first.

        Args:
            count: takes a part of a block, and how many leading slices of it were counted before.
            overlap: number of slices that a part of a block repeats of the part before.
        """
        places = blocks(self.labelled.shape)
        if self.flat or self.labelled.fits:
            return np.stack([count(self.indices[place], 0) for place in places])
        sums = []
        for _, layer in itertools.groupby(places, key=lambda place: place[0].start):
            chosen = list(layer)
            counts: list[Any] = [0] * len(chosen)
            depth = chosen[0][0]
            for slab in self.labelled.slabs(overlap, depth.start, depth.stop):
                for number, (_, rows, columns) in enumerate(chosen):
                    part = slab.indices[:, rows, columns]
                    counts[number] = counts[number] + count(part, slab.repeated)
            sums += counts
        return np.stack(sums)


def counted_voxels(indices: Indices) -> NDArray[np.bool_] | None:
    """Mask of the voxels that are not ignored; None where none is."""
    ignored = indices == IGNORE_INDEX
    return ~ignored if ignored.any() else None


def quotient(sums: NDArray[Any]) -> NDArray[np.float64]:
    """Mean from the sum of a quantity and the number of its terms, of shape (1,)."""
    return np.array([sums[0] / sums[1] if sums[1] else math.nan])
