import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.smoothing import changes_from_counts, smooth_labels
from matphase.support.errors import InputError

PORE, CARBON, NICKEL = 0, 1, 2
NEIGHBORS = [4, 8, 12, 20, 24]

label_images = hnp.arrays(
    np.uint8, (9, 11), elements=st.sampled_from([PORE, CARBON, NICKEL, IGNORE_INDEX])
)


def field(phase, size=9):
    return np.full((size, size), phase, np.uint8)


def by_hand(labels, keep, neighbors):
    """The rule, pixel by pixel: the k nearest pixels of the lattice, by sorting distances."""
    result = labels.copy()
    reach = range(-2, 3)
    offsets = sorted((dy * dy + dx * dx, dy, dx) for dy in reach for dx in reach)[1 : neighbors + 1]
    for y, x in np.ndindex(labels.shape):
        if labels[y, x] in (*keep, IGNORE_INDEX):
            continue
        around = [
            labels[y + dy, x + dx]
            for _, dy, dx in offsets
            if 0 <= y + dy < labels.shape[0] and 0 <= x + dx < labels.shape[1]
        ]
        voters = [label for label in around if label != IGNORE_INDEX]
        for phase in set(voters) - set(keep):
            if 2 * voters.count(phase) > len(voters):
                result[y, x] = phase
    return result


@pytest.mark.parametrize("neighbors", NEIGHBORS)
@pytest.mark.parametrize(("inside", "outside"), [(CARBON, NICKEL), (NICKEL, CARBON)])
def test_lone_pixel_takes_the_phase_around_it(inside, outside, neighbors):
    labels = field(outside)
    labels[4, 4] = labels[0, 0] = inside
    np.testing.assert_array_equal(
        smooth_labels(labels, 3, keep=[PORE], neighbors=neighbors), field(outside)
    )


def test_pore_neither_changes_nor_takes():
    in_nickel, in_pore = field(NICKEL), field(PORE)
    in_nickel[4, 4] = PORE
    in_pore[4, 4] = CARBON
    np.testing.assert_array_equal(smooth_labels(in_nickel, 3, keep=[PORE]), in_nickel)
    np.testing.assert_array_equal(smooth_labels(in_pore, 3, keep=[PORE]), in_pore)
    np.testing.assert_array_equal(smooth_labels(in_pore, 3), field(PORE))


def test_half_is_not_most():
    ring = [(3, 3), (3, 4), (3, 5), (4, 3), (4, 5), (5, 3), (5, 4), (5, 5)]
    for votes, changes in [(4, False), (5, True)]:
        labels = field(PORE)
        labels[4, 4] = CARBON
        for y, x in ring[:votes]:
            labels[y, x] = NICKEL
        assert (smooth_labels(labels, 3, keep=[PORE])[4, 4] == NICKEL) == changes


def test_pore_counts_among_the_neighbours():
    # 4 nickel, 3 pore, 1 carbon: nickel leads, but does not hold more than half of the ring.
    labels = field(CARBON)
    labels[3, 3:6] = PORE
    labels[4, 3] = labels[4, 5] = labels[5, 3] = labels[5, 4] = NICKEL
    assert smooth_labels(labels, 3, keep=[PORE])[4, 4] == CARBON


def test_ignored_pixels_do_not_vote():
    labels = field(IGNORE_INDEX)
    labels[4, 4], labels[4, 5] = CARBON, NICKEL
    smoothed = smooth_labels(labels, 3, keep=[PORE])
    # Each is the other's only neighbour: they swap, for all pixels change at once.
    assert (smoothed[4, 4], smoothed[4, 5]) == (NICKEL, CARBON)
    assert ((smoothed == IGNORE_INDEX) == (labels == IGNORE_INDEX)).all()


@settings(max_examples=40, deadline=None)
@given(label_images, st.sampled_from(NEIGHBORS), st.sampled_from([(), (PORE,), (PORE, CARBON)]))
def test_follows_the_rule_pixel_by_pixel(labels, neighbors, keep):
    np.testing.assert_array_equal(
        smooth_labels(labels, 3, keep=keep, neighbors=neighbors), by_hand(labels, keep, neighbors)
    )


@settings(deadline=None)
@given(label_images)
def test_commutes_with_turns_and_mirrors(labels):
    smoothed = smooth_labels(labels, 3, keep=[PORE])
    np.testing.assert_array_equal(
        smooth_labels(np.rot90(labels), 3, keep=[PORE]), np.rot90(smoothed)
    )
    np.testing.assert_array_equal(smooth_labels(labels[::-1], 3, keep=[PORE]), smoothed[::-1])


def test_slices_do_not_see_each_other():
    random = np.random.default_rng(0)
    stack = random.choice([PORE, CARBON, NICKEL], (4, 20, 20)).astype(np.uint8)
    before = stack.copy()
    smoothed = smooth_labels(stack, 3, keep=[PORE])
    np.testing.assert_array_equal(
        smoothed, np.stack([smooth_labels(s, 3, keep=[PORE]) for s in stack])
    )
    np.testing.assert_array_equal(stack, before)
    assert smoothed.dtype == np.uint8


@pytest.mark.parametrize(
    ("labels", "neighbors", "words"),
    [
        (np.zeros((4, 4), np.uint8), 6, "4, 8, 12, 20, 24"),
        (np.zeros((4, 4), np.int64), 8, "uint8"),
        (np.zeros(4, np.uint8), 8, "shape"),
        (np.full((4, 4), 3, np.uint8), 8, "index 3 is not a phase"),
    ],
)
def test_bad_input(labels, neighbors, words):
    with pytest.raises(InputError, match=words):
        smooth_labels(labels, 3, neighbors=neighbors)


def test_phases_left_alone_must_exist():
    with pytest.raises(InputError, match="index 3 is not a phase"):
        smooth_labels(field(NICKEL), 3, keep=[3])


def test_changes_are_reported():
    changes = changes_from_counts(np.array([1, 2, 1]), np.array([1, 1, 2]), 1)
    np.testing.assert_allclose(changes.before, [1 / 4, 1 / 2, 1 / 4])
    np.testing.assert_allclose(changes.after, [1 / 4, 1 / 4, 1 / 2])
    assert changes.changed == 1 / 4
