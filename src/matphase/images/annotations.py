"""Annotations: known pixels of a volume, from densely labelled slices or from strokes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import index

import numpy as np
from numpy.typing import NDArray

from matphase.images.mask import outside_of
from matphase.images.pairing import file_names, paired_by_name
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume
from matphase.images.voxel_size import converted
from matphase.support.errors import InputError
from matphase.support.text import times


@dataclass(frozen=True, eq=False)
class Annotations:
    """Known pixels of a volume and their phases, read from the labels when needed.

    In a densely labelled slice all pixels are known. Slices without known pixels are left out.
    Labels outside of the sample, where the image is NaN, are not known.

    Attributes:
        z: (n,) numbers of the annotated slices in the volume, from 0, rising.
        counts: (n, phases) number of known pixels of each phase in each annotated slice.
        labels: label values of the annotated slices, and possibly of others.
        planes: (n,) numbers of the annotated slices in `labels`.
        phases: names and label values of the phases.
        images: grey values.
    """

    z: NDArray[np.int64]
    counts: NDArray[np.int64]
    labels: Volume
    planes: NDArray[np.int64]
    phases: PhaseTable
    images: Volume

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
            images: grey values; NaN is outside of the sample.
            labels: phases of the same pixels, for all slices or some of them.
            phases: their label values; pixels with the ignore value are not known.
            label_slices: see `paired_slices`.

        Raises:
            InputError: slices of images and labels differ in size, the numbers of the labelled
                slices are not known, a label value is not in the table, or no pixel is known.
        """
        given, numbers = paired_slices(images, labels, label_slices)
        if images.shape[-2:] != labels.shape[-2:]:
            raise InputError(
                f"slices of {images.name} are {times(images.shape[-2:])} pixels but those of "
                f"{labels.name} are {times(labels.shape[-2:])}; image and labels must cover the "
                "same pixels"
            )
        every = cls(numbers, np.empty(0, np.int64), labels, given, phases, images)
        counted = (np.bincount(plane.ravel(), minlength=256)[: len(phases)] for plane in every)
        found = np.array(list(counted), np.int64)
        known = np.flatnonzero(found.any(axis=1))
        if not len(known):
            raise InputError(
                f"{labels.name}: every pixel has the ignore value "
                f"{' or '.join(map(str, phases.ignored))}, or is outside of the sample (NaN, or "
                "outside of the mask); give labels that contain phases"
            )
        known = known[np.argsort(numbers[known], kind="stable")]
        return cls(numbers[known], found[known], labels, given[known], phases, images)

    def __len__(self) -> int:
        return len(self.z)

    def plane(self, number: int) -> NDArray[np.uint8]:
        """Phase indices (y, x) uint8 of one annotated slice; `IGNORE_INDEX` where not known."""
        plane = int(self.planes[number])
        where = f"{self.labels.name}, slice {plane}"
        codes = self.phases.encode(self.labels.slice(plane), where=where)
        if np.any(codes != IGNORE_INDEX):  # else the image need not be read
            outside = outside_of(self.images, int(self.z[number]))
            if outside is not None:
                codes[outside] = IGNORE_INDEX
        return codes

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self.plane(number) for number in range(len(self)))

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Annotations":
        """Select annotated slices by number or by mask."""
        return replace(
            self, z=self.z[chosen], counts=self.counts[chosen], planes=self.planes[chosen]
        )

    def require_every_phase(self, name: str | None = None) -> None:
        """Refuse labels in which a phase never occurs.

        Args:
            name: name of the labels for the message.

        Raises:
            InputError: a phase never occurs; the message names it.
        """
        require_every_phase(self.counts.sum(axis=0), self.phases, name or self.labels.name)


def require_every_phase(counts: NDArray[np.int64], phases: PhaseTable, name: str) -> None:
    """Refuse labels in which a phase never occurs.

    Args:
        counts: (phases,) number of known pixels of each phase.
        phases: names of the phases.
        name: name of the labels for the message.

    Raises:
        InputError: a phase never occurs; the message names it.
    """
    for phase, count in zip(phases.phases, counts, strict=True):
        if count == 0:
            raise InputError(
                f"{name}: the phase {phase.name!r} (value {phase.value}) never occurs; "
                "remove it from the label map, or add slices that contain it"
            )


def paired_slices(
    images: Volume,
    labels: Volume,
    chosen: Sequence[int] | None,
    files: Sequence[str] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of slices of the labels, and of the image slices that they belong to.

    Where both are files of one slice each, their names say it (`paired_by_name`). Otherwise equal
    numbers of image and label slices are matched in order, and other numbers are inferred from the
    slice spacings of both volumes, which then have to begin at the same slice.

    Args:
        images: grey values.
        labels: labels of all slices or some of them.
        chosen: numbers of the labelled slices, from 0, in place of all this: one for each slice of
            the labels, in their order; where there are labels of all slices, any number of them.
        files: names of the files of the images, where they are not those that `images` reads.

    Returns:
        (n,) numbers of slices of the labels, and (n,) of the images, from 0.

    Raises:
        InputError: the numbers are needed and cannot be inferred, are not valid, or the names of
            the files contradict each other.
    """
    n, there = labels.n_slices, images.n_slices
    every = np.arange(n)
    if chosen is not None:
        numbers = _whole_numbers(chosen)
        if n == there:
            return numbers, _valid(numbers, images, labels)
        if len(numbers) != n:
            raise InputError(
                f"got {len(numbers)} slice numbers for {labels.name}, which has {n} slices; "
                f"give one number for each of them, or labels of all {there} slices of "
                f"{images.name}"
            )
    elif (named := _by_name(images, labels, files)) is not None:
        numbers = named
    elif n == there:
        return every, every
    else:
        numbers = _by_spacing(images, labels)
    return every, _valid(numbers, images, labels)


def _whole_numbers(chosen: Sequence[int]) -> NDArray[np.int64]:
    try:
        return np.array([index(number) for number in chosen], np.int64)
    except (TypeError, OverflowError) as error:
        raise InputError(
            f"label_slices={chosen!r} are not slice indices; give whole numbers such as [0, 10, 20]"
        ) from error


def _valid(numbers: NDArray[np.int64], images: Volume, labels: Volume) -> NDArray[np.int64]:
    """The numbers, if they are those of slices of the images, each once."""
    there = images.n_slices
    beyond = numbers[(numbers < 0) | (numbers >= there)]
    if len(beyond):
        raise InputError(
            f"{labels.name} cannot have labels of slice {beyond[0]} of {images.name}, which has "
            f"slices 0 to {there - 1}; correct the numbers (label_slices=)"
        )
    if not len(numbers) or len(np.unique(numbers)) < len(numbers):
        raise InputError(
            f"the slice numbers of {labels.name} are none, or some occur twice; give each "
            "labelled slice its own number (label_slices=)"
        )
    return numbers


def _by_name(
    images: Volume, labels: Volume, files: Sequence[str] | None
) -> NDArray[np.int64] | None:
    files, others = file_names(images) if files is None else files, file_names(labels)
    if files is None or others is None:
        return None
    return paired_by_name(files, others, images.name, labels.name)


def _by_spacing(images: Volume, labels: Volume) -> NDArray[np.int64]:
    lengths = []
    for volume in (images, labels):
        length = volume.voxel_size[0] if volume.voxel_size and volume.ndim == 3 else None
        if length is None or volume.unit is None:
            raise InputError(
                f"{images.name} has {images.n_slices} slices but {labels.name} has "
                f"{labels.n_slices}; give the numbers of the labelled slices (label_slices=), "
                "or record the slice spacing in both files"
            )
        lengths.append(converted(length, volume.unit, "mm"))
    return np.round(np.arange(labels.n_slices) * (lengths[1] / lengths[0])).astype(np.int64)
