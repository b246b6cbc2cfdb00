"""The slices that are learned from and tested on: one seed of one split."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.annotations import Annotations
from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import PhaseTable
from matphase.images.volume import Volume
from matphase.learning.augment import row_removal
from matphase.learning.splits import PAPER_UNSEEN_SLICES, blocked_split, paper_split
from matphase.learning.training_pool import Pool
from matphase.reproduce.protocol import Protocol, SplitName
from matphase.support.errors import InputError
from matphase.support.seeds import fingerprint, mix
from matphase.virtual import VirtualElectrode

COPIES = 10
"""The paper's split draws from so many row-removal copies of each slice."""


@dataclass(frozen=True, eq=False)
class Source:
    """Slices with labels.

    Attributes:
        images: grey volume.
        measured: labels that train and score.
        exact: (n, height, width) uint8, what is really there; none for real slices.
        phases: of both.
    """

    images: Volume
    measured: Volume
    exact: NDArray[np.uint8] | None
    phases: PhaseTable


@dataclass(frozen=True)
class UserSlices:
    """Where a user's own labelled slices are, in place of the virtual electrode."""

    images: str
    labels: str
    label_map: str
    axes: str | None = None
    """Axes of the images as stored, in place of those that the files record."""
    label_axes: str | None = None
    """The same for the labels; None: as the images."""

    def read(self) -> Source:
        """Open them.

        Raises:
            InputError: they cannot be used.
        """
        phases = PhaseTable.parse(self.label_map)
        images = formats.open(self.images, axes=self.axes)
        labels = formats.open(self.labels, axes=self.label_axes or self.axes)
        return Source(images, labels, None, phases)

    def record(self) -> dict[str, str]:
        """The identity of these slices: their label map, and a checksum of both volumes."""
        source = self.read()
        data = fingerprint(source.images.to_array(), source.measured.to_array())
        return {"label_map": self.label_map, "data": data}


@dataclass(frozen=True, eq=False)
class SplitData:
    """The training and test part of one seed of one split.

    Attributes:
        pool: training images and labels, prepared.
        images: (n, slices * channels, height, width) float32, test images scaled to [-1, 1].
        measured: (n, height, width) uint8, their labels as measured.
        exact: the same as they are; none for real slices.
        phases: names of the phases.
        groups: slices of the stack of test images that the bootstrap draws together.
        channels: images of each slice, by the grey scale.
    """

    pool: Pool
    images: NDArray[np.float32]
    measured: NDArray[np.uint8]
    exact: NDArray[np.uint8] | None
    phases: PhaseTable
    groups: int
    channels: int

    @property
    def first_channels(self) -> NDArray[np.float32]:
        """View (n, slices, height, width) of the test images that local networks see."""
        return self.images[:, :: self.channels]

    @property
    def truths(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """The labels to score against, by name."""
        yield "measured", self.measured
        if self.exact is not None:
            yield "exact", self.exact


def electrode(protocol: Protocol, seed: int, folder: Path) -> Source:
    """The virtual electrode of that seed, made once and kept in `folder`.

    Raises:
        OutputError: it cannot be written.
    """
    if not folder.exists():
        made = VirtualElectrode.simulate(protocol.recipe, protocol.shape, seed=seed)
        made.save(folder)
    labels = {name: formats.open(folder / f"{name}.tif") for name in ("measured_labels", "labels")}
    return Source(
        images=formats.open(folder / "images.tif"),
        measured=labels["measured_labels"],
        exact=labels["labels"].to_array().astype(np.uint8),
        phases=PhaseTable.from_names(("pore", "carbon", "nickel")),
    )


def split_data(source: Source, split: SplitName, seed: int, protocol: Protocol) -> SplitData:
    """Split the slices, before anything is done to them, and prepare both parts.

    `blocked` tests a block of depth that training never sees, apart by guard slices. `paper` tests
    all copies of 4 slices, and 10 copies whose siblings are in training: neighbours and siblings
    leak, as in the paper.

    Raises:
        InputError: the slices are too few, or cannot be used.
    """
    data = protocol.settings.data
    n = source.images.n_slices
    if split == "blocked":
        parts = blocked_split(n)
        tested = parts.test[:: protocol.test_every]
        scale = IntensityScale.of(_volume(source.images, parts.train), data.scale)
        everything = _pool(source, scale, protocol)
        pool, _ = everything.take(parts.train).prepared(data)
        test = everything.take(tested)
        exact = None if source.exact is None else source.exact[tested]
        groups = protocol.block[0]
    else:
        paper = paper_split(n, COPIES, seed=mix(seed, "paper split"))
        seen = np.setdiff1d(np.arange(n), paper.unseen)
        scale = IntensityScale.of(_volume(source.images, seen), data.scale)
        everything = _pool(source, scale, protocol)
        copies = everything.copied(COPIES)
        train = copies.take(paper.train[:, 0] * COPIES + paper.train[:, 1])
        pool, _ = train.smoothed(data)
        # the unseen slices in front, so that their ten copies each make a group of the bootstrap
        leaky = ~np.isin(paper.test[:, 0], paper.unseen)
        order = paper.test[np.argsort(leaky, kind="stable")]
        test = copies.take(order[:, 0] * COPIES + order[:, 1])
        exact = None if source.exact is None else _copies(source.exact, order)
        assert len(paper.unseen) == PAPER_UNSEEN_SLICES
        groups = COPIES
    pool.require_every_phase(f"{source.measured.name}, training part of {split}")
    images, labels = test.images[:], test.labels[:]
    return SplitData(pool, images, labels, exact, source.phases, groups, data.channels)


def check_source(source: Source) -> None:
    """See that there are slices enough for both splits, before the long work starts.

    Raises:
        InputError: there are not.
    """
    blocked_split(source.images.n_slices)
    paper_split(source.images.n_slices, COPIES, seed=0)


def _pool(source: Source, scale: IntensityScale, protocol: Protocol) -> Pool:
    """All slices with their labels.

    Raises:
        InputError: they cannot be used, or a slice has no known pixel.
    """
    annotations = Annotations.of(source.images, source.measured, source.phases)
    if len(annotations) < source.images.n_slices:
        raise InputError(
            f"{source.measured.name} has slices in which no pixel is known; leave these out"
        )
    return Pool.read(annotations, scale, protocol.settings.slices)


def _volume(images: Volume, chosen: NDArray[np.int64]) -> Volume:
    stack = np.stack([images.slice(int(z)) for z in chosen])
    return Volume.from_array(stack, name=images.name)


def _copies(labels: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Row-removal copies of labels: of the slices and copies (n, 2) that `pairs` names."""
    blank = np.zeros(labels.shape[1:], np.float32)
    made: dict[int, NDArray[Any]] = {}
    for z in np.unique(pairs[:, 0]):
        made[int(z)] = row_removal(blank, labels[z], COPIES)[1]
    return np.stack([made[int(z)][copy] for z, copy in pairs])
