import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.augment import row_removal
from matphase.support.errors import InputError


def pair(height=40, width=24, seed=0):
    random = np.random.default_rng(seed)
    image = random.random((height, width)).astype(np.float32)
    labels = random.choice([0, 1, 2, IGNORE_INDEX], (height, width)).astype(np.uint8)
    return image, labels


def test_shapes_types_and_an_untouched_first_copy():
    image, labels = pair()
    images, stretched = row_removal(image, labels, 10)
    assert images.shape == stretched.shape == (10, 40, 24)
    assert images.dtype == np.float32
    assert stretched.dtype == np.uint8
    np.testing.assert_array_equal(images[0], image)
    np.testing.assert_array_equal(stretched[0], labels)


def test_labels_keep_only_their_values():
    _, stretched = row_removal(*pair(), 10)
    assert set(np.unique(stretched)) == {0, 1, 2, IGNORE_INDEX}


def test_copy_shows_the_rows_that_are_left():
    # On a ramp, the source row can be read off: y = (r + 1/2) (h - i) / h - 1/2, plus i removed.
    height = 50
    ramp = np.repeat(np.arange(height, dtype=np.float32)[:, None], 5, axis=1)
    images, stretched = row_removal(ramp, ramp.astype(np.uint8), 8)
    for removed in range(8):
        left = height - removed
        source = (np.arange(height) + 0.5) * left / height - 0.5
        seen = np.clip(source, 0, left - 1) + removed
        np.testing.assert_allclose(images[removed, :, 0], seen, atol=1e-4)
        assert np.abs(stretched[removed, :, 0] - seen).max() <= 0.5 + 1e-4
        assert stretched[removed].min() == removed
        assert stretched[removed].max() == height - 1


@settings(max_examples=60, deadline=None)
@given(height=st.integers(32, 150), edge=st.floats(0.2, 0.8), copies=st.integers(2, 12))
def test_an_edge_in_image_and_labels_stays_together(height, edge, copies):
    labels = np.repeat((np.arange(height) >= edge * height)[:, None], 8, axis=1).astype(np.uint8)
    images, stretched = row_removal(labels.astype(np.float32), labels, copies)
    # Bilinear grey passes one half exactly where the nearest label changes.
    apart = np.abs(images - 0.5) > 1e-4
    np.testing.assert_array_equal((images > 0.5)[apart], (stretched == 1)[apart])


def test_columns_are_not_mixed():
    image, labels = pair()
    image[:, 3] = 7
    labels[:, 3] = 2
    images, stretched = row_removal(image, labels, 5)
    np.testing.assert_allclose(images[:, :, 3], 7, rtol=1e-6)
    assert (stretched[:, :, 3] == 2).all()
    assert images[:, :, 2].max() <= 1


def test_inputs_are_left_alone():
    image, labels = pair()
    image_before, labels_before = image.copy(), labels.copy()
    images, stretched = row_removal(image, labels, 3)
    images[:], stretched[:] = 0, 0
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(labels, labels_before)


def test_integer_images_become_float():
    image = np.arange(40 * 24, dtype=np.uint16).reshape(40, 24)
    images, _ = row_removal(image, np.zeros((40, 24), np.uint8), 2)
    np.testing.assert_array_equal(images[0], image)


@pytest.mark.parametrize("copies", [0, -1, 41])
def test_impossible_number_of_copies(copies):
    with pytest.raises(InputError, match="copies"):
        row_removal(*pair(), copies)


def test_image_and_labels_must_be_a_pair():
    image, labels = pair()
    with pytest.raises(InputError, match="do not match"):
        row_removal(image, labels[:-1], 2)
    with pytest.raises(InputError, match="do not match"):
        row_removal(image[None], labels[None], 2)
