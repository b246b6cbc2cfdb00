"""Which slices are labelled, by the names of files."""

from pathlib import Path

import numpy as np
import pytest

import matphase as mp
from matphase.images.annotations import Annotations
from matphase.images.pairing import paired_by_name
from matphase.images.phases import PhaseTable
from matphase.support.errors import InputError

PHASES = PhaseTable.from_names(("pore", "carbon"))


def numbered(pattern: str, *numbers: int) -> list[str]:
    return [pattern.format(number) for number in numbers]


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (numbered("s_{:03}.tif", *range(12)), numbered("s_{:03}.tif", 2, 6, 9), [2, 6, 9]),
        (numbered("s_{:03}.tif", *range(12)), numbered("label_{:03}.png", 2, 9), [2, 9]),
        (numbered("s_{}.tif", *range(12)), numbered("s_{:03}_labels.tif", 2, 11), [2, 11]),
        (numbered("scan_2024_{}.tif", 4, 8, 12), numbered("seg{:04}.tif", 12, 4), [2, 0]),
        (numbered("case_{:03}_0000.tif", 1, 2, 3), numbered("case_{:03}.tif", 3, 1), [2, 0]),
        (["Top.tif", "mid.tif", "low.tif"], ["low_mask.png", "top_mask.png"], [2, 0]),
        (["img_1.tif", "img_2.tif"], ["mask_2.tif"], [1]),
        (["a.ome.tif", "b.ome.tif"], ["b.seg.tif"], [1]),
    ],
)
def test_names_say_which_slices_are_labelled(
    images: list[str], labels: list[str], expected: list[int]
) -> None:
    found = paired_by_name(images, labels, "scan", "labels")
    assert found is not None
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        (numbered("s_{:03}.tif", 0, 4, 8), numbered("s_{:03}.tif", 0, 8, 11), "s_011.tif"),
        (numbered("s_{:03}.tif", 0, 4, 8), numbered("label_{}.png", 1, 4, 8), "label_1.png"),
        (numbered("s_{}.tif", 0, 1), numbered("s_{}_labels.tif", 7, 9), "s_7_labels.tif and 1"),
        (["top.tif", "mid.tif"], ["top_gt.tif", "low_gt.tif"], "low_gt.tif"),
    ],
)
def test_names_that_contradict_are_refused(
    images: list[str], labels: list[str], named: str
) -> None:
    with pytest.raises(InputError, match=rf"known has {named}.*scan.*label_slices="):
        paired_by_name(images, labels, "scan", "known")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["a.tif", "b.tif"], ["x.tif", "y.tif"]),
        (numbered("s_{}.tif", 100, 101), numbered("label_{}.tif", 0, 1)),
        (numbered("s_{}.tif", 1, 2), ["first.tif", "second.tif"]),
    ],
)
def test_names_without_anything_in_common_say_nothing(images: list[str], labels: list[str]) -> None:
    assert paired_by_name(images, labels, "scan", "labels") is None


def folder(path: Path, stack: np.ndarray, names: list[str]) -> Path:
    path.mkdir()
    for plane, name in zip(stack, names, strict=True):
        mp.save(path / name, mp.Volume.from_array(plane))
    return path


def test_annotations_follow_the_names(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 99, (5, 32, 33)).astype(np.uint8)
    known = np.stack([np.full((32, 33), number % 2, np.uint8) for number in range(3)])
    images = mp.open(folder(tmp_path / "images", grey, numbered("s_{}.tif", *range(5))))
    labels = folder(tmp_path / "labels", known, numbered("lab_{}.png", 1, 3, 4))
    pattern = mp.open(tmp_path / "labels" / "*.png")
    reversed_list = mp.open(sorted(labels.iterdir(), reverse=True))
    for volume in (mp.open(labels), pattern):
        assert Annotations.of(images, volume, PHASES).z.tolist() == [1, 3, 4]
    backwards = Annotations.of(images, reversed_list, PHASES)
    assert backwards.z.tolist() == [1, 3, 4]
    assert [plane[0, 0] for plane in backwards] == [0, 1, 0]
    assert Annotations.of(images, mp.open(labels), PHASES, [0, 1, 2]).z.tolist() == [0, 1, 2]
    assert Annotations.of(mp.open(grey[:3]), mp.open(labels), PHASES).z.tolist() == [0, 1, 2]
