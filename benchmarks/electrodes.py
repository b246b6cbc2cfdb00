"""Labelled slices of real electrodes, as the benchmark programs read them.

A folder of electrodes has one folder an electrode, with images/ and labels/: one file a slice, of
the same name in both. The programs were run on those of Su et al., npj Computational Materials
2022 (doi 10.1038/s41524-022-00709-7), from the history of the repository ZeliangSu/LRCS-Xlearn;
they are not part of this project.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import matphase as mp
from matphase.images.grey_scale import percentiles, scaled
from matphase.support.errors import InputError

LABEL_MAP = "active_material=0,carbon_binder=1,pore=2"
KINDS = ("images", "labels")
Part = Literal["train", "test"]
Images = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Split:
    """Files of the slices to train on and to test on, in the order of their names."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    def last(self, count: int) -> "Split":
        """The same test slices, and the last training slices, which lie nearest to them."""
        return Split(self.train[-count:], self.test)


def electrodes_in(data: Path) -> list[str]:
    """Names of the folders that have images/ and labels/.

    Raises:
        InputError: there are none.
    """
    found = sorted(one.name for one in data.glob("*") if all((one / k).is_dir() for k in KINDS))
    if not found:
        raise InputError(f"{data} has no folder with images/ and labels/; give the one above them")
    return found


def split_of(electrode: Path) -> Split:
    """The last third of the slices, at least one, to test on, since new slices lie beyond.

    Raises:
        InputError: fewer than two slices, or a slice without its label.
    """
    images, labels = (sorted(one.name for one in (electrode / kind).iterdir()) for kind in KINDS)
    if images != labels:
        odd = sorted(set(images) ^ set(labels))[0]
        raise InputError(f"{odd} is not in both images/ and labels/ of {electrode}; add or move it")
    if len(images) < 2:
        raise InputError(f"{electrode} has {len(images)} slices; at least 2 are needed")
    tested = max(1, len(images) // 3)
    return Split(tuple(images[:-tested]), tuple(images[-tested:]))


class Electrode:
    """Slices of one electrode, in folders of training and test slices as a user would have them.

    Args:
        source: has images/ and labels/.
        split: which slices.
        folder: takes train/images, train/labels, test/images and test/labels, as links.
        label_map: label value of each phase.
    """

    def __init__(
        self, source: Path, split: Split, folder: Path, label_map: str = LABEL_MAP
    ) -> None:
        self.source = source
        self.split = split
        self.folder = folder
        self.label_map = label_map
        self.phases = mp.PhaseTable.parse(label_map)
        parts: dict[Part, Sequence[str]] = {"train": split.train, "test": split.test}
        for part, files in parts.items():
            for kind in KINDS:
                place = folder / part / kind
                place.mkdir(parents=True)
                for file in files:
                    (place / file).symlink_to((source / kind / file).resolve())

    def images(self, part: Part) -> Images:
        """Grey slices (n, height, width)."""
        return mp.open(self.folder / part / "images").to_array().astype(np.float32)

    def labels(self, part: Part) -> Labels:
        """Phase indices (n, height, width)."""
        return self.phases.encode(mp.open(self.folder / part / "labels").to_array())

    def scaled(self, part: Part) -> Images:
        """Grey slices (n, height, width), each with mean 0 and SD 1."""
        images = self.images(part)
        mean, sd = (f(images, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
        return (images - mean) / sd

    def both_scales(self, part: Part) -> Images:
        """Slices (n, 2, height, width): on the scale of all training slices, and on their own."""
        low, high = percentiles(self.images("train"))
        return np.stack([scaled(self.images(part), low, high), self.scaled(part)], axis=1)
