"""Grey slices with known phases, checked and brought to the form that training needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.images.grey_scale import IntensityScale
from matphase.images.neighbours import check_neighbours, labelled_slices, read_images
from matphase.images.phases import Phase, PhaseTable
from matphase.images.volume import Volume, check_not_constant
from matphase.learning.augment import row_removal
from matphase.learning.smoothing import LabelChanges, changed_fractions, smooth_labels
from matphase.settings import DataSettings
from matphase.support.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """Images X and labels Y of a data set D (paper problem 2.1).

    Attributes:
        images: (n, height, width) float32, scaled to [-1, 1]; or (n, slices, height, width), each
            labelled slice between its neighbours.
        labels: (n, height, width) uint8 phase indices, `IGNORE_INDEX` where unknown.
        source: (n,) number of the slice that each image was made from.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.uint8]
    source: NDArray[np.int64]

    @classmethod
    def read(
        cls,
        images: Volume,
        labels: Volume,
        phases: PhaseTable,
        scale: IntensityScale,
        *,
        slices: int = 1,
        label_slices: Sequence[int] | None = None,
    ) -> "Pairs":
        """Read and check all labelled slices.

        Args:
            images: grey values, of the labelled slices or of more.
            labels: phases of the same pixels.
            phases: values of the labels.
            scale: of the images.
            slices: that an image consists of, the labelled one in the middle.
            label_slices: which slices of the images are labelled; see `labelled_slices`.

        Raises:
            InputError: images and labels differ in size, it is not known which of the images are
                labelled, a label value is not in the table, a slice cannot be used, or several are
                wanted that are no neighbours.
        """
        numbers = labelled_slices(images, labels, label_slices)
        if images.shape[-2:] != labels.shape[-2:]:
            raise InputError(
                f"slices of {images.name} are {_size(images)} pixels but those of {labels.name} "
                f"are {_size(labels)}; image and labels must cover the same pixels"
            )
        for z in numbers:
            check_not_constant(images, int(z))
        check_neighbours(images, numbers, slices)
        codes = [
            phases.encode(plane, where=f"{labels.name}, slice {z}")
            for z, plane in enumerate(labels.slices())
        ]
        return cls(
            read_images(images, scale, numbers, slices), np.stack(codes), np.arange(len(numbers))
        )

    def require_every_phase(self, phases: PhaseTable, name: str) -> None:
        """Refuse a training set in which a phase never occurs.

        Raises:
            InputError: naming the phase.
        """
        if lacking := self.lacking(phases):
            phase = lacking[0]
            raise InputError(
                f"{name}: the phase {phase.name!r} (value {phase.value}) never occurs; "
                "take it out of the label map or add slices that show it"
            )

    def lacking(self, phases: PhaseTable) -> list[Phase]:
        """The phases that never occur."""
        counts = np.bincount(self.labels.ravel(), minlength=len(phases))
        return [phase for phase, count in zip(phases.phases, counts, strict=False) if count == 0]

    def prepared(
        self, settings: DataSettings, phases: PhaseTable
    ) -> tuple["Pairs", LabelChanges | None]:
        """Make the training pool: each slice's row-removal copies, their labels smoothed.

        Returns:
            the pool, slice by slice, and what smoothing changed (None where it is off).
        """
        return self.copied(settings.copies).smoothed(settings, phases)

    def copied(self, copies: int) -> "Pairs":
        """Row-removal copies of each slice, slice by slice."""
        images, labels = [], []
        for image, label in zip(self.images, self.labels, strict=True):
            made = row_removal(image, label, copies)
            images.append(made[0])
            labels.append(made[1])
        source = np.repeat(self.source, copies)
        return Pairs(np.concatenate(images), np.concatenate(labels), source)

    def smoothed(
        self, settings: DataSettings, phases: PhaseTable
    ) -> tuple["Pairs", LabelChanges | None]:
        """The pairs with smoothed labels, and what that changed (None where it is off)."""
        if not settings.smooth_labels:
            return self, None
        keep = [phases.index(name) for name in settings.keep if name in phases.names]
        smooth = smooth_labels(self.labels, len(phases), keep=keep, neighbors=settings.neighbors)
        changes = changed_fractions(self.labels, smooth, len(phases))
        return Pairs(self.images, smooth, self.source), changes

    def spread(self, limit: int) -> "Pairs":
        """At most `limit` of the pairs, evenly spaced; 0: all of them."""
        if limit == 0 or limit >= len(self.images):
            return self
        return self.take(np.linspace(0, len(self.images) - 1, limit).round().astype(np.int64))

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Pairs":
        """Some of the pairs, by mask or by number."""
        return Pairs(self.images[chosen], self.labels[chosen], self.source[chosen])


def _size(volume: Volume) -> str:
    return " x ".join(str(side) for side in volume.shape[-2:])
