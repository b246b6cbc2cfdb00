"""Known pixels on a volume: some of its slices, labelled densely, or strokes on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.images.phases import Phase, PhaseTable
from matphase.images.volume import Volume
from matphase.images.voxel_size import converted
from matphase.support.errors import InputError


@dataclass(frozen=True, eq=False)
class Annotations:
    """Which pixels of which slices are known, and their phases; read when asked for.

    A dense slice is one whose pixels are all known. Slices without a known pixel are left out.

    Attributes:
        z: (n,) rising numbers of the annotated slices in the volume that they belong to, from 0.
        counts: (n, phases) known pixels of each phase in each of them.
        labels: label values of the annotated slices and perhaps others.
        planes: (n,) which slices of `labels` these are.
        phases: meaning of the values.
    """

    z: NDArray[np.int64]
    counts: NDArray[np.int64]
    labels: Volume
    planes: NDArray[np.int64]
    phases: PhaseTable

    @classmethod
    def of(
        cls,
        images: Volume,
        labels: Volume,
        phases: PhaseTable,
        label_slices: Sequence[int] | None = None,
    ) -> "Annotations":
        """Find the known pixels of `labels`, and the slices of `images` that they belong to.

        Args:
            images: grey values.
            labels: phases of the same pixels, of all slices or of some.
            phases: their values; pixels of the ignore value are not known.
            label_slices: see `labelled_slices`.

        Raises:
            InputError: images and labels differ in size, it is not known which of the slices are
                labelled, a label value is not in the table, or no pixel is known.
        """
        numbers = labelled_slices(images, labels, label_slices)
        if images.shape[-2:] != labels.shape[-2:]:
            raise InputError(
                f"slices of {images.name} are {_size(images)} pixels but those of {labels.name} "
                f"are {_size(labels)}; image and labels must cover the same pixels"
            )
        counts = []
        for z, plane in enumerate(labels.slices()):
            codes = phases.encode(plane, where=f"{labels.name}, slice {z}")
            counts.append(np.bincount(codes.ravel(), minlength=256)[: len(phases)])
        found = np.array(counts, np.int64)
        planes = np.flatnonzero(found.any(axis=1))
        if not len(planes):
            raise InputError(
                f"{labels.name}: every pixel has the ignore value {phases.ignore}; give labels "
                "that name phases"
            )
        planes = planes[np.argsort(numbers[planes], kind="stable")]
        return cls(numbers[planes], found[planes], labels, planes, phases)

    def __len__(self) -> int:
        return len(self.z)

    def plane(self, number: int) -> NDArray[np.uint8]:
        """Phase indices (y, x) of one annotated slice; `IGNORE_INDEX` where not known."""
        plane = int(self.planes[number])
        where = f"{self.labels.name}, slice {plane}"
        return self.phases.encode(self.labels.slice(plane), where=where)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self.plane(number) for number in range(len(self)))

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Annotations":
        """Those of some of the annotated slices, by number or by mask."""
        return Annotations(
            self.z[chosen], self.counts[chosen], self.labels, self.planes[chosen], self.phases
        )

    def lacking(self) -> list[Phase]:
        """The phases of which no pixel is known."""
        totals = self.counts.sum(axis=0)
        return [
            phase for phase, count in zip(self.phases.phases, totals, strict=True) if count == 0
        ]

    def require_every_phase(self, name: str | None = None) -> None:
        """Refuse labels in which a phase never occurs.

        Args:
            name: what to call the labels in the message.

        Raises:
            InputError: naming the phase.
        """
        require_every_phase(self.counts.sum(axis=0), self.phases, name or self.labels.name)


def require_every_phase(counts: NDArray[np.int64], phases: PhaseTable, name: str) -> None:
    """Refuse labels in which a phase never occurs.

    Args:
        counts: (phases,) known pixels of each.
        phases: their names.
        name: what to call the labels in the message.

    Raises:
        InputError: naming the phase.
    """
    for phase, count in zip(phases.phases, counts, strict=True):
        if count == 0:
            raise InputError(
                f"{name}: the phase {phase.name!r} (value {phase.value}) never occurs; "
                "remove it from the label map, or add slices that show it"
            )


def labelled_slices(
    images: Volume, labels: Volume, chosen: Sequence[int] | None
) -> NDArray[np.int64]:
    """Which slice of the images each slice of the labels belongs to.

    As many images as labels are pairs in their order. Where there are more images, the numbers are
    inferred from the slice spacings, if both volumes have one; both then begin at the same place.

    Args:
        images: grey values.
        labels: of some of their slices.
        chosen: the numbers (from 0), if the caller knows them.

    Returns:
        (slices of the labels,) numbers from 0.

    Raises:
        InputError: they cannot be told, or there are no such slices.
    """
    n, there = labels.n_slices, images.n_slices
    if chosen is not None:
        numbers = np.asarray(chosen, np.int64)
        if len(numbers) != n:
            raise InputError(
                f"got {len(numbers)} slice numbers for {labels.name}, which has {n} slices; "
                "give one number per slice"
            )
    elif n == there:
        return np.arange(n)
    else:
        numbers = _by_spacing(images, labels)
    if numbers.min() < 0 or numbers.max() >= there or len(np.unique(numbers)) < n:
        listed = ", ".join(str(number) for number in numbers[:8]) + ", ..." * (n > 8)
        raise InputError(
            f"the labels of {labels.name} cannot belong to slices {listed} of {images.name}, "
            f"which has slices 0 to {there - 1}; give each slice a different number"
        )
    return numbers


def _by_spacing(images: Volume, labels: Volume) -> NDArray[np.int64]:
    lengths = []
    for volume in (images, labels):
        length = volume.voxel_size[0] if volume.voxel_size and volume.ndim == 3 else None
        if length is None or volume.unit is None:
            raise InputError(
                f"{images.name} has {images.n_slices} slices but {labels.name} has "
                f"{labels.n_slices}; say which slices of the images are labelled (label_slices=), "
                "or record the slice spacing in both files"
            )
        lengths.append(converted(length, volume.unit, "mm"))
    return np.round(np.arange(labels.n_slices) * (lengths[1] / lengths[0])).astype(np.int64)


def _size(volume: Volume) -> str:
    return " x ".join(str(side) for side in volume.shape[-2:])
