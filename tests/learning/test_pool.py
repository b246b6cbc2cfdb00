import numpy as np
import pytest

from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume
from matphase.learning.pairs import Pairs
from matphase.settings import DataSettings
from matphase.support.errors import InputError
from samples import Sample

PHASES = PhaseTable.parse("pore=0,carbon=1,nickel=2,ignore=9")
SCALE = IntensityScale(0, 100)


def read(images: np.ndarray, labels: np.ndarray) -> Pairs:
    return Pairs.read(
        Volume.from_array(images, name="grey"),
        Volume.from_array(labels, name="known"),
        PHASES,
        SCALE,
    )


def test_images_are_scaled_and_labels_are_indices(sample: Sample) -> None:
    labels = sample.labels.copy()
    labels[0, :5] = 9
    pairs = read(sample.images, labels)
    assert pairs.images.min() >= -1
    assert (pairs.labels[0, :5] == IGNORE_INDEX).all()
    np.testing.assert_array_equal(pairs.labels[1], labels[1])
    np.testing.assert_array_equal(pairs.source, range(6))


def test_single_slices_are_pairs_too(sample: Sample) -> None:
    assert read(sample.images[0], sample.labels[0]).images.shape == (1, 48, 56)


def test_the_pool_holds_ten_copies_of_each_slice_in_order(sample: Sample) -> None:
    pairs = read(sample.images, sample.labels)
    pool, changes = pairs.prepared(DataSettings(copies=10, smooth_labels=False), PHASES)
    assert changes is None
    assert pool.images.shape == (60, 48, 56)
    np.testing.assert_array_equal(pool.source, np.repeat(range(6), 10))
    np.testing.assert_array_equal(pool.images[::10], pairs.images)
    assert not np.array_equal(pool.images[1], pairs.images[0])


def test_smoothing_leaves_pores_alone() -> None:
    labels = np.full((1, 40, 40), 2, np.uint8)
    labels[0, 10, 10] = 1  # a speck of carbon in nickel
    labels[0, 20, 20] = 0  # and one of pore
    images = np.random.default_rng(0).random((1, 40, 40))
    pool, changes = read(images, labels).prepared(DataSettings(copies=1), PHASES)
    assert changes is not None
    assert changes.changed == 1 / 1600
    assert pool.labels[0, 10, 10] == 2
    assert pool.labels[0, 20, 20] == 0


def test_counts_sizes_and_values_must_fit(sample: Sample) -> None:
    with pytest.raises(InputError, match="grey has 6 slices but known has 5"):
        read(sample.images, sample.labels[:5])
    with pytest.raises(InputError, match="48 x 56 pixels but those of known are 48 x 50"):
        read(sample.images, sample.labels[..., :50])
    with pytest.raises(InputError, match="known, slice 0 hold label value"):
        read(sample.images, sample.labels + 5)
    flat = sample.images.copy()
    flat[3] = 1
    with pytest.raises(InputError, match="slice 3 of grey have the value 1"):
        read(flat, sample.labels)


def test_a_phase_that_never_occurs_is_named(sample: Sample) -> None:
    pairs = read(sample.images, np.minimum(sample.labels, 1))
    with pytest.raises(InputError, match="known: the phase 'nickel'"):
        pairs.require_every_phase(PHASES, "known")
