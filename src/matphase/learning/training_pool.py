"""The training pool: annotated slices, scaled and augmented, on disk."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matphase.images.annotations import Annotations, require_every_phase
from matphase.images.grey_scale import IntensityScale
from matphase.images.neighbours import check_neighbours
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.tiles import Halo, read_tile, tiles
from matphase.images.volume import check_not_constant
from matphase.learning.augment import row_removal
from matphase.learning.smoothing import LabelChanges, changes_from_counts, smooth_labels
from matphase.settings import DataSettings
from matphase.support.scratch import EveryChannel, Stack, Subset, WritableStack, room_for

PIXELS_PER_READ = 2**22
"""Maximum number of pixels of a slice, with its neighbours, that are read at once."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Images X and labels Y of a data set D (paper problem 2.1).

    Attributes:
        images: (n, slices * channels, height, width) float32, scaled to [-1, 1]: each annotated
            slice in the middle of its neighbours, the channels of a slice side by side.
        labels: (n, height, width) uint8 phase indices, `IGNORE_INDEX` where not known.
        source: (n,) number of the annotated slice that each image was made from.
        phases: meaning of the indices.
        folder: folder for derived arrays on disk; None: the system's folder for temporary files.
        outside: (n, height, width) bool, pixels outside of the sample; None if there are none, or
            in a pool of copies.
    """

    images: Stack
    labels: Stack
    source: NDArray[np.int64]
    phases: PhaseTable
    folder: Path | None = None
    outside: Stack | None = None

    @classmethod
    def read(
        cls,
        annotations: Annotations,
        scale: IntensityScale,
        slices: int = 1,
        folder: Path | None = None,
    ) -> "Pool":
        """Read the annotated slices and their neighbours, one tile at a time.

        Args:
            annotations: known pixels, and the images that they belong to.
            scale: intensity scale.
            slices: number of slices per image, odd.
            folder: folder for temporary files.

        Raises:
            InputError: a slice cannot be used, or neighbours are needed but the slices of the
                volume are not consecutive.
        """
        images = annotations.images
        for z in annotations.z:
            check_not_constant(images, int(z))
        check_neighbours(images, annotations.z, slices)
        n, (height, width) = len(annotations), images.shape[-2:]
        grey = room_for((n, slices * scale.channels, height, width), np.float32, folder)
        known = room_for((n, height, width), np.uint8, folder)
        outside: WritableStack | None = None
        ends = scale.of_slices(images, annotations.z, slices)
        rows = max(1, PIXELS_PER_READ // width)
        every = tiles((images.n_slices, height, width), (1, rows, width), Halo(slices=slices // 2))
        per_slice = len(every) // images.n_slices
        for number, z in enumerate(annotations.z):
            for tile in every[z * per_slice : (z + 1) * per_slice]:
                seen = read_tile(images, ends, tile, slices)
                grey[(number, slice(None), *tile.core[1:])] = seen.images
                if seen.outside is None:
                    continue
                if outside is None:
                    outside = room_for(known.shape, np.bool_, folder)
                    for one in range(n):
                        outside[one] = False
                outside[(number, *tile.core[1:])] = seen.outside
            known[number] = annotations.plane(number)
        return cls(grey, known, np.arange(n), annotations.phases, folder, outside)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a slice."""
        height, width = self.labels.shape[-2:]
        return height, width

    def counts(self) -> NDArray[np.int64]:
        """Number of known pixels of each phase, (phases,)."""
        return self._counts.copy()

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        # kept, since several stages ask for it and each count reads all slices
        counts = np.zeros(len(self.phases), np.int64)
        for number in range(len(self)):
            plane = self.labels[number]
            counts += np.bincount(plane.ravel(), minlength=256)[: len(self.phases)]
        return counts

    def require_every_phase(self, name: str) -> None:
        """Refuse a pool in which a phase never occurs.

        Raises:
            InputError: a phase never occurs; the message names it.
        """
        require_every_phase(self.counts(), self.phases, name)

    def prepared(self, settings: DataSettings) -> tuple["Pool", LabelChanges | None]:
        """Training pool: row-removal copies of each slice, with smoothed labels.

        Returns:
            the pool, slice by slice, and the changes by smoothing (None if it is off).
        """
        return self.copied(settings.copies).smoothed(settings)

    def copied(self, copies: int) -> "Pool":
        """Pool of the row-removal copies of each slice, slice by slice."""
        if copies == 1:
            return self
        images = room_for((len(self) * copies, *self.images.shape[1:]), np.float32, self.folder)
        labels = room_for((len(self) * copies, *self.shape), np.uint8, self.folder)
        for number in range(len(self)):
            made = row_removal(self.images[number], self.labels[number], copies)
            place = slice(number * copies, (number + 1) * copies)
            images[place], labels[place] = made
        source = np.repeat(self.source, copies)
        return replace(self, images=images, labels=labels, source=source, outside=None)

    def smoothed(self, settings: DataSettings) -> tuple["Pool", LabelChanges | None]:
        """Pool with smoothed labels, and the changes (None if smoothing is off)."""
        if not settings.smooth_labels:
            return self, None
        names, n = self.phases.names, len(self.phases)
        keep = [names.index(name) for name in settings.keep if name in names]
        smooth = room_for(self.labels.shape, np.uint8, self.folder)
        before, after, changed = np.zeros(n, np.int64), np.zeros(n, np.int64), 0
        for number in range(len(self)):
            plane = self.labels[number]
            made = smooth_labels(plane, n, keep=keep, neighbors=settings.neighbors)
            smooth[number] = made
            before += np.bincount(plane.ravel(), minlength=256)[:n]
            after += np.bincount(made.ravel(), minlength=256)[:n]
            changed += int(np.count_nonzero(plane != made))
        return replace(self, labels=smooth), changes_from_counts(before, after, changed)

    def with_labels(self, labels: Stack) -> "Pool":
        """Pool of the same images with other labels (n, height, width)."""
        return replace(self, labels=labels)

    def spread(self, limit: int) -> "Pool":
        """Select at most `limit` evenly spaced images; 0: all of them."""
        if limit == 0 or limit >= len(self):
            return self
        return self.take(np.linspace(0, len(self) - 1, limit).round().astype(np.int64))

    def first_channels(self, channels: int) -> "Pool":
        """Pool that shows the first of so many channels of each slice, without copying."""
        if channels == 1:
            return self
        return replace(self, images=EveryChannel(self.images, channels))

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Pool":
        """Select images by mask or by number, without copying."""
        numbers = np.arange(len(self))[chosen]
        return replace(
            self,
            images=Subset(self.images, numbers),
            labels=Subset(self.labels, numbers),
            source=self.source[numbers],
            outside=None if self.outside is None else Subset(self.outside, numbers),
        )

    def known(self, number: int) -> NDArray[np.bool_]:
        """Mask (height, width) of the known pixels of an image."""
        known: NDArray[np.bool_] = self.labels[number] != IGNORE_INDEX
        return known
