"""Known pixels on a volume: dense slices, some slices, strokes; and where they belong."""

from typing import Any

import numpy as np
import pytest

from matphase.images.annotations import Annotations, paired_slices
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume
from matphase.support.errors import InputError
from samples import Counted

PHASES = PhaseTable.parse("pore=0,carbon=10,nickel=20,ignore=99")


def stack(n: int, **known: Any) -> Volume:
    """Grey slices."""
    array = np.random.default_rng(0).random((n, 32, 34)).astype(np.float32)
    return Volume.from_array(array, name="grey", **known)


def dense(n: int) -> np.ndarray:
    """Label values of all pixels of n slices."""
    return (10 * np.random.default_rng(1).integers(0, 3, (n, 32, 34))).astype(np.uint8)


def strokes(n: int, where: dict[int, int]) -> np.ndarray:
    """Labels with a short stroke on some slices: number to value."""
    labels = np.full((n, 32, 34), 99, np.uint8)
    for z, value in where.items():
        labels[z, 5, 3:9] = value
    return labels


def of(images: Volume, labels: np.ndarray, numbers: list[int] | None = None) -> Annotations:
    return Annotations.of(images, Volume.from_array(labels, name="known"), PHASES, numbers)


# --- what is known --------------------------------------------------------------------------------


def test_all_pixels_of_dense_slices_are_known() -> None:
    labels = dense(4)
    found = of(stack(4), labels)
    np.testing.assert_array_equal(found.z, range(4))
    np.testing.assert_array_equal(np.stack(list(found)), labels // 10)
    for counts, plane in zip(found.counts, labels, strict=True):
        assert counts.tolist() == [np.count_nonzero(plane == value) for value in (0, 10, 20)]
    assert len(found) == 4


def test_some_slices_keep_their_place() -> None:
    labels = dense(3)
    found = of(stack(9), labels, [1, 4, 7])
    np.testing.assert_array_equal(found.z, [1, 4, 7])
    np.testing.assert_array_equal(np.stack(list(found)), labels // 10)


def test_a_single_slice_is_annotated_too() -> None:
    grey = Volume.from_array(stack(1).to_array()[0])
    found = of(grey, dense(1)[0])
    assert found.z.tolist() == [0]
    assert found.plane(0).shape == (32, 34)


def test_strokes_keep_their_place_and_empty_slices_are_left_out() -> None:
    found = of(stack(8), strokes(8, {2: 20, 5: 0}))
    np.testing.assert_array_equal(found.z, [2, 5])
    np.testing.assert_array_equal(found.planes, [2, 5])
    np.testing.assert_array_equal(found.counts, [[0, 0, 6], [6, 0, 0]])
    plane = found.plane(0)
    assert (plane[5, 3:9] == 2).all()
    assert np.count_nonzero(plane != IGNORE_INDEX) == 6


def test_strokes_on_some_slices_keep_the_true_number() -> None:
    found = of(stack(9), strokes(3, {1: 10}), [2, 6, 8])
    assert (found.z.tolist(), found.planes.tolist()) == ([6], [1])
    assert (found.plane(0)[5, 3:9] == 1).all()


def test_slices_come_in_the_order_of_z_whatever_the_order_of_the_labels() -> None:
    labels = dense(3)
    found = of(stack(9), labels, [7, 1, 4])
    np.testing.assert_array_equal(found.z, [1, 4, 7])
    np.testing.assert_array_equal(found.planes, [1, 2, 0])
    np.testing.assert_array_equal(np.stack(list(found)), labels[[1, 2, 0]] // 10)
    for counts, plane in zip(found.counts, labels[[1, 2, 0]], strict=True):
        assert counts.tolist() == [np.count_nonzero(plane == value) for value in (0, 10, 20)]


def test_some_of_them_by_number_or_mask() -> None:
    labels = dense(4)
    found = of(stack(4), labels)
    for chosen, numbers in (
        (np.array([3, 1]), [3, 1]),
        (np.array([True, False, True, False]), [0, 2]),
    ):
        some = found.take(chosen)
        assert some.z.tolist() == numbers
        np.testing.assert_array_equal(np.stack(list(some)), labels[numbers] // 10)
        np.testing.assert_array_equal(some.counts, found.counts[numbers])


def test_phases_that_are_lacking_are_named() -> None:
    found = of(stack(8), strokes(8, {2: 20, 5: 0}))
    with pytest.raises(InputError, match=r"known: the phase 'carbon' \(value 10\) never occurs"):
        found.require_every_phase()
    with pytest.raises(InputError, match="my strokes: the phase 'carbon'"):
        found.require_every_phase("my strokes")
    of(stack(4), dense(4)).require_every_phase()


# --- what is read ---------------------------------------------------------------------------------


def test_each_slice_of_the_labels_is_looked_at_once_and_read_again_when_asked_for() -> None:
    source = Counted(strokes(8, {2: 20, 5: 0}))
    grey = Counted(stack(8).to_array().astype(np.uint8))
    labels = Volume.from_array(source, name="known")
    found = Annotations.of(Volume.from_array(grey, name="grey"), labels, PHASES)
    assert source.read == list(range(8))
    assert grey.read == []
    source.read.clear()
    some = found.take(np.array([1]))
    assert source.read == []
    some.plane(0)
    assert source.read == [5]
    planes = iter(found)
    next(planes)
    assert source.read == [5, 2]


# --- what is refused ------------------------------------------------------------------------------


def test_nothing_known_is_refused() -> None:
    with pytest.raises(InputError, match="known: every pixel has the ignore value 99"):
        of(stack(3), strokes(3, {}))


def test_sizes_and_values_must_fit() -> None:
    with pytest.raises(InputError, match="32 x 34 pixels but those of known are 32 x 30"):
        of(stack(3), dense(3)[..., :30])
    wrong = dense(3)
    wrong[1, 0, 0] = 55
    with pytest.raises(InputError, match=r"known, slice 1 hold.* label value 55"):
        of(stack(3), wrong)
    with pytest.raises(InputError, match="grey has 6 slices but known has 5"):
        of(stack(6), dense(5))


def test_labels_of_some_slices_find_theirs_by_number_or_by_distance() -> None:
    labels = Volume.from_array(np.zeros((3, 32, 34), np.uint8), name="known")
    assert paired_slices(stack(9), labels, [1, 4, 7])[1].tolist() == [1, 4, 7]
    fine = stack(9, voxel_size=(250, 50, 50), unit="nm")
    coarse = Volume.from_array(labels.to_array(), voxel_size=(1, 0.05, 0.05), unit="um")
    assert paired_slices(fine, coarse, None)[1].tolist() == [0, 4, 8]
    assert paired_slices(stack(3), labels, None)[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("there", "chosen", "says"),
    [
        (9, None, r"give the numbers of the labelled slices \(label_slices=\)"),
        (9, [0, 1], "got 2 slice numbers for known, which has 3"),
        (9, [0, 1, 9], "slice 9 of grey, which has slices 0 to 8"),
        (9, [-1, 1, 2], "slice -1 of grey"),
        (9, [0, 1, 1], "give each labelled slice its own number"),
        (9, [0.5, 1, 2], r"\[0.5, 1, 2\] are not slice indices"),
        (9, [0, 1, 10**30], "are not slice indices"),
        (9, ["a", 1, 2], "are not slice indices"),
    ],
)
def test_slices_that_cannot_be_labelled_are_refused(
    there: int, chosen: list[int] | None, says: str
) -> None:
    labels = Volume.from_array(np.zeros((3, 32, 34), np.uint8), name="known")
    with pytest.raises(InputError, match=says):
        paired_slices(stack(there), labels, chosen)


def test_labels_of_all_slices_are_those_of_the_chosen_ones() -> None:
    grey = Volume.from_array(np.zeros((6, 32, 34), np.float32), name="grey")
    every = np.zeros((6, 32, 34), np.uint8)
    every[:, :16] = 1
    every[3] = 7  # a value that only a slice has which is not asked for
    phases = PhaseTable.from_names(["pore", "carbon"])
    found = Annotations.of(grey, Volume.from_array(every, name="known"), phases, [4, 1])
    assert found.z.tolist() == [1, 4]
    np.testing.assert_array_equal(found.plane(0), every[1])
    np.testing.assert_array_equal(found.plane(1), every[4])
