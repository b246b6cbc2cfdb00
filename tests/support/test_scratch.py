"""Arrays on disk: what is written comes back, and nothing stays behind."""

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest

from matphase.support.errors import OutputError
from matphase.support.scratch import DiskArray, EveryChannel, Subset, as_array, gather
from matphase.support.seeds import fingerprint

VALUES = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)


@pytest.fixture
def stored(tmp_path: Path) -> DiskArray:
    array = DiskArray(VALUES.shape, np.float32, tmp_path)
    array[...] = VALUES
    return array


@pytest.mark.parametrize(
    "key", [0, -1, np.s_[1:3], np.s_[2, :3, 4:], np.s_[:, 1], np.s_[...], np.array([3, 0])]
)
def test_it_reads_as_an_array_does(stored: DiskArray, key: object) -> None:
    np.testing.assert_array_equal(stored[key], VALUES[key])
    assert stored[key].dtype == np.float32
    assert (len(stored), stored.shape) == (4, (4, 5, 6))
    for found, expected in zip(stored, VALUES, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("key", [1, np.s_[1:3], np.s_[2, :3, 4:], np.s_[:, :, 0]])
def test_it_is_written_as_an_array_is(stored: DiskArray, key: object) -> None:
    expected = VALUES.copy()
    expected[key] = -1
    stored[key] = -1
    np.testing.assert_array_equal(stored[...], expected)


def test_what_was_read_is_a_copy(stored: DiskArray) -> None:
    stored[0][...] = 9
    stored.as_array()[...] = 9
    np.testing.assert_array_equal(stored[...], VALUES)


def test_it_begins_with_zeros_of_its_type(tmp_path: Path) -> None:
    for dtype in (np.bool_, np.uint8, np.float32):
        array = DiskArray((2, 3), dtype, tmp_path)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array[...], np.zeros((2, 3), dtype))


def test_an_empty_one_is_an_array_too(tmp_path: Path) -> None:
    array = DiskArray((0, 5), np.uint8, tmp_path)
    assert (len(array), array[...].shape, list(array)) == (0, (0, 5), [])


def test_its_file_has_no_name_and_is_closed_with_it(tmp_path: Path) -> None:
    array = DiskArray((100, 100), np.float32, tmp_path)
    file = array._file
    array[...] = 1
    assert list(tmp_path.iterdir()) == []
    assert array[...].sum() == 10_000
    del array
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert file.closed


def test_it_is_sent_to_other_processes(stored: DiskArray) -> None:
    again = pickle.loads(pickle.dumps(stored))
    np.testing.assert_array_equal(again[...], VALUES)
    again[0] = 0
    np.testing.assert_array_equal(stored[...], VALUES)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"temporary files in .*none: No such file"):
        DiskArray((2, 2), np.uint8, tmp_path / "none")


@pytest.mark.parametrize("on_disk", [False, True])
def test_some_entries_of_a_stack(stored: DiskArray, on_disk: bool) -> None:
    some = Subset(stored if on_disk else VALUES, np.array([3, 0, 3]))
    expected = VALUES[[3, 0, 3]]
    assert (some.shape, some.dtype, len(some)) == ((3, 5, 6), np.float32, 3)
    for key in (1, np.s_[2, 1:3], np.s_[0, :, 4], np.s_[1:], np.s_[:, 2, :2]):
        np.testing.assert_array_equal(some[key], expected[key])
    np.testing.assert_array_equal(list(some), expected)
    twice = Subset(some, np.array([1]))
    np.testing.assert_array_equal(twice[0], VALUES[0])


def test_single_values_are_gathered_without_reading_the_rest(stored: DiskArray) -> None:
    numbers, columns = np.array([3, 0, 3]), np.array([5, 1, 0])
    some = Subset(Subset(stored, np.array([2, 0, 3, 1])), np.array([1, 2, 0, 2]))
    expected = VALUES[[0, 3, 2, 3]]
    for stack, values in ((VALUES, VALUES), (stored, VALUES), (some, expected)):
        found = gather(stack, numbers, slice(None), columns)
        np.testing.assert_array_equal(found, values[numbers, :, columns])


def test_as_one_array(stored: DiskArray) -> None:
    np.testing.assert_array_equal(as_array(stored), VALUES)
    assert as_array(VALUES) is VALUES


def test_a_fingerprint_is_of_shape_type_and_content_wherever_it_lies(stored: DiskArray) -> None:
    one = fingerprint(VALUES)
    assert fingerprint(stored) == one
    changed = VALUES.copy()
    changed[3, 4, 5] += 1
    others = [changed, VALUES.reshape(4, 6, 5), VALUES.astype(np.float64), VALUES[:3]]
    assert len({one, *(fingerprint(other) for other in others)}) == 5
    assert fingerprint(VALUES, changed) != fingerprint(changed, VALUES)


@pytest.mark.parametrize(
    "key", [0, (1, 2), (slice(1, 3), slice(None), slice(2, 4)), (2, slice(1, 3)), (3, -1, 5)]
)
def test_every_second_channel_reads_as_of_an_array(stored: DiskArray, key: object) -> None:
    shown = EveryChannel(stored, 2)
    assert (shown.shape, shown.dtype, len(shown)) == ((4, 3, 6), np.float32, 4)
    np.testing.assert_array_equal(shown[key], VALUES[:, ::2][key])
    np.testing.assert_array_equal(np.stack(list(shown)), VALUES[:, ::2])
