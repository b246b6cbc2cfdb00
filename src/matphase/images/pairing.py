"""Which slice of the images a slice of the labels belongs to, by the names of their files.

Names say it where each slice is a file of its own: `s_002.tif` is labelled by `s_002.png`,
`s_002_labels.tif` or `label_002.tif`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matphase.images.formats import slice_files
from matphase.images.mask import unmasked
from matphase.images.volume import Volume
from matphase.support.errors import InputError

_WORDS = {
    *("annotated", "annotation", "annotations", "lab", "label", "labeled", "labelled", "labelling"),
    *("labels", "mask", "masks", "seg", "segmentation", "segmentations", "segmented", "segs"),
    *("ground", "groundtruth", "gt", "target", "targets", "truth"),
    *("gray", "grey", "image", "images", "img", "imgs", "raw"),
}
"""Words that tell labels from images, and not one slice from another."""

Names = Sequence[str]
Key = str | tuple[int, ...]


def file_names(volume: Volume) -> list[str] | None:
    """Names of the files of a stack of one file per slice; None for other volumes."""
    files = slice_files(unmasked(volume))
    return None if files is None else [path.name for path in files]


def paired_by_name(
    images: Names, labels: Names, image_name: str, label_name: str
) -> NDArray[np.int64] | None:
    """Number of the image file that each label file belongs to, by their names.

    Names are compared without suffix and without words such as "labels" or "mask", or else by the
    numbers in them that differ from file to file. They contradict each other where only some
    labels have an image of their name, or where all names are alike but for their numbers.

    Args:
        images: names of the files of the images.
        labels: names of the files of the labels.
        image_name: what to call the images in messages.
        label_name: what to call the labels in messages.

    Returns:
        (label files,) numbers from 0; None where the names do not say which files belong together.

    Raises:
        InputError: the names contradict each other.
    """
    missing: list[str] = []
    alike = _named_alike(images, labels)
    for keys in (_words, _numbers):
        of_images, of_labels = keys(images), keys(labels)
        if of_images is None or of_labels is None:
            continue
        place = {key: number for number, key in enumerate(of_images)}
        if place.keys() >= {*of_labels}:
            return np.array([place[key] for key in of_labels], np.int64)
        if alike or not place.keys().isdisjoint(of_labels):
            pairs = zip(labels, of_labels, strict=True)
            missing = [name for name, key in pairs if key not in place]
    if not missing:
        return None
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    raise InputError(
        f"{label_name} has {missing[0]}{more}, but {image_name} ({images[0]} to {images[-1]}) has "
        "no file of such a name, so it is not known which slices are labelled; rename the files, "
        "or give the numbers of the labelled slices (label_slices=)"
    )


def _words(names: Names) -> list[Key] | None:
    """Names without suffix and without words that all labels have; None if some are the same."""
    return _distinct([_stem(name) for name in names])


def _stem(name: str) -> str:
    stem = re.sub(r"(\.ome)?\.\w+$", "", name.lower())
    parts = [part for part in re.split(r"[^a-z0-9]+", stem) if part]
    return "_".join(part for part in parts if part not in _WORDS) or stem


def _numbers(names: Names) -> list[Key] | None:
    """The numbers in the names that differ from file to file; None if they do not tell all apart.

    Of a single file it is its only number.
    """
    found = [tuple(map(int, re.findall(r"\d+", Path(name).stem))) for name in names]
    if len({len(one) for one in found}) > 1 or not found[0]:
        return None
    places = [place for place, one in enumerate(zip(*found, strict=True)) if len({*one}) > 1]
    if len(found) == len(found[0]) == 1:
        places = [0]
    return _distinct([tuple(one[place] for place in places) for one in found]) if places else None


def _distinct(keys: Sequence[Key]) -> list[Key] | None:
    return list(keys) if len({*keys}) == len(keys) else None


def _named_alike(images: Names, labels: Names) -> bool:
    """Whether all names are the same but for their numbers, which makes these comparable."""
    return len({re.sub(r"\d+", "#", _stem(name)) for name in (*images, *labels)}) == 1
