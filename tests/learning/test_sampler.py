"""Squares are drawn around known pixels, wherever these are."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.batches import Draw
from matphase.learning.sampler import TileSampler


def strokes(shape: tuple[int, int, int] = (3, 96, 112)) -> NDArray[np.uint8]:
    """Labels of a few pixels: a stroke, two points in corners, and a slice with a single one."""
    labels = np.full(shape, IGNORE_INDEX, np.uint8)
    labels[0, 40, 30:44] = 1
    labels[1, 0, 0], labels[1, -1, -1] = 0, 2
    labels[2, 70, 3] = 2
    return labels


def numbered(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images whose pixels say where they are: (slice, row, column) as three channels."""
    return np.stack(np.indices(labels.shape), axis=1).astype(np.float32)


def squares(
    labels: NDArray[np.uint8], crop: int, draws: int, flips: bool = False
) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    sampler = TileSampler(numbered(labels), labels, crop, flips)
    found = []
    for seed in range(draws):
        images, known = sampler.batch(Draw(np.arange(len(sampler)), seed))
        found += zip(images.numpy(), known.numpy(), strict=True)
    return found


@pytest.mark.parametrize("flips", [False, True])
def test_every_square_holds_a_known_pixel(flips: bool) -> None:
    for _, known in squares(strokes(), 24, draws=20, flips=flips):
        assert known.shape == (24, 24)
        assert (known != IGNORE_INDEX).any()


def test_a_slice_without_a_known_pixel_is_no_error() -> None:
    labels = strokes()
    labels[2] = IGNORE_INDEX
    sampler = TileSampler(numbered(labels), labels, 24, flips=True)
    images, known = sampler.batch(Draw(np.arange(len(sampler)), seed=0))
    assert images.shape[2:] == (24, 24)
    none = images[:, 0, 0, 0] == 2
    assert none.any()
    assert (known[none] == IGNORE_INDEX).all()


def test_image_and_labels_are_of_the_same_place() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (3, 96, 112)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.9] = IGNORE_INDEX
    for images, known in squares(labels, 24, draws=3, flips=True):
        z, rows, columns = images.astype(int)
        np.testing.assert_array_equal(labels[z, rows, columns], known)


def test_known_pixels_are_drawn_alike_and_lie_anywhere_in_the_square() -> None:
    """Two points far from each other and from the border: a square holds one of them."""
    labels = np.full((1, 160, 160), IGNORE_INDEX, np.uint8)
    places = ((50, 60), (110, 100))
    for row, column in places:
        labels[0, row, column] = 1
    counts, inside = np.zeros(2), []
    for images, known in squares(labels, 16, draws=8):
        row, column = np.argwhere(known != IGNORE_INDEX)[0]
        inside.append((row, column))
        counts[places.index((int(images[1, row, column]), int(images[2, row, column])))] += 1
    n = counts.sum()
    assert n == 800
    # binomial, and a mean of a uniform distribution over 16 values: five standard deviations
    assert abs(counts[0] / n - 0.5) < 5 * 0.5 / n**0.5
    np.testing.assert_allclose(np.mean(inside, axis=0), 7.5, atol=5 * 4.6 / n**0.5)
    assert {*np.unique(inside)} == set(range(16))


def test_coverage_of_dense_slices_is_about_even_away_from_the_border() -> None:
    """Each pixel is seen about as often as another; at the border squares pile up."""
    labels = np.zeros((1, 96, 96), np.uint8)
    seen = np.zeros(labels.shape[1:])
    for images, _ in squares(labels, 16, draws=60):
        rows, columns = images[1:].astype(int)
        seen[rows, columns] += 1
    inner = seen[16:-16, 16:-16]
    # by blocks of 16 px, since single pixels are counted tens of times only
    blocks = inner.reshape(4, 16, 4, 16).mean(axis=(1, 3))
    assert blocks.min() > 0.75 * blocks.mean()
    assert blocks.max() < 1.25 * blocks.mean()
    assert seen.min() > 0, "no pixel of a dense slice is left out"


def test_as_many_squares_as_it_takes_to_see_every_pixel_once() -> None:
    labels = np.zeros((2, 48, 56), np.uint8)
    for crop, per_slice in ((32, 3), (0, 1), (48, 1), (16, 10), (1000, 1)):
        assert len(TileSampler(numbered(labels), labels, crop, flips=True)) == 2 * per_slice


def test_whole_slices_where_nothing_is_cropped() -> None:
    labels = strokes()
    images, known = TileSampler(numbered(labels), labels, 0, flips=False).batch(
        Draw(np.array([1]), seed=3)
    )
    np.testing.assert_array_equal(images[0], numbered(labels)[1])
    np.testing.assert_array_equal(known[0], labels[1])


def test_examples_are_crops_of_image_and_labels_together() -> None:
    images = np.arange(2 * 48 * 56, dtype=np.float32).reshape(2, 1, 48, 56)
    labels = (images[:, 0] % 251).astype(np.uint8)
    examples = TileSampler(images, labels, crop=32, flips=True)
    assert len(examples) == 2 * 3
    draw = Draw(np.arange(6), seed=4)
    x, y = examples.batch(draw)
    assert x.shape == (6, 1, 32, 32)
    assert y.dtype == torch.int64
    np.testing.assert_array_equal(x[:, 0].numpy() % 251, y.numpy())
    again, _ = examples.batch(draw)
    assert torch.equal(x, again)
    other, _ = examples.batch(Draw(np.arange(6), seed=5))
    assert not torch.equal(x, other)


def test_channels_are_cropped_and_turned_together() -> None:
    grey = np.random.default_rng(0).integers(0, 200, (2, 40, 44)).astype(np.float32)
    channels = np.stack([grey, grey + 1, -grey], axis=1)
    examples = TileSampler(channels, grey.astype(np.uint8), crop=32, flips=True)
    x, y = examples.batch(Draw(np.arange(4), seed=1))
    assert x.shape == (4, 3, 32, 32)
    for channel, expected in enumerate((y, y + 1, -y)):
        np.testing.assert_array_equal(x[:, channel].numpy(), expected.numpy())


def test_a_share_of_the_examples_lacks_one_of_two_grey_scales() -> None:
    labels = np.zeros((1, 40, 40), np.uint8)
    images = np.ones((1, 6, 40, 40), np.float32)  # three slices at two scales
    examples = TileSampler(images, labels, 32, flips=False, scale_dropout=(0.25, 0.25))
    found, _ = examples.batch(Draw(np.zeros(400, np.int64), 0))
    shown = found.amax(dim=(2, 3)).reshape(400, 3, 2)
    assert (shown == shown[:, :1]).all()  # of all slices alike
    lacks = (shown[:, 0] == 0).float()
    assert lacks.sum(dim=1).max() == 1
    assert lacks.mean(dim=0).tolist() == pytest.approx([0.25, 0.25], abs=0.06)
    assert (images == 1).all()
    own = TileSampler(images, labels, 32, flips=False, scale_dropout=(1.0, 0.0))
    found, _ = own.batch(Draw(np.zeros(50, np.int64), 0))
    assert (found[:, ::2] == 0).all()
    assert (found[:, 1::2] == 1).all()
    every, _ = TileSampler(images, labels, 32, flips=False).batch(Draw(np.zeros(50, np.int64), 0))
    assert (every == 1).all()
