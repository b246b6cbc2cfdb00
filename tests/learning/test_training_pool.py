"""Annotated slices as networks learn from them: read, copied, smoothed, chosen."""

from pathlib import Path

import numpy as np
import pytest

from matphase.images.annotations import Annotations
from matphase.images.grey_scale import IntensityScale, Kind
from matphase.images.mask import masked
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume
from matphase.learning import training_pool as pools
from matphase.learning.augment import row_removal
from matphase.learning.smoothing import smooth_labels
from matphase.learning.training_pool import Pool
from matphase.settings import DataSettings
from matphase.support.errors import InputError
from samples import Sample

PHASES = PhaseTable.parse("pore=0,carbon=1,nickel=2,ignore=9")
SCALE = IntensityScale(0, 100)


def read(
    images: np.ndarray,
    labels: np.ndarray,
    scale: IntensityScale = SCALE,
    slices: int = 1,
    label_slices: list[int] | None = None,
) -> Pool:
    grey, known = Volume.from_array(images, name="grey"), Volume.from_array(labels, name="known")
    annotations = Annotations.of(grey, known, PHASES, label_slices)
    return Pool.read(annotations, scale, slices)


def all_of(stack: object) -> np.ndarray:
    return np.stack([stack[number] for number in range(len(stack))])  # type: ignore[index, arg-type]


def test_images_are_scaled_and_labels_are_indices(sample: Sample) -> None:
    labels = sample.labels.copy()
    labels[0, :5] = 9
    pool = read(sample.images, labels)
    images, known = all_of(pool.images), all_of(pool.labels)
    assert images.shape == (6, 1, 48, 56)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[:, 0], [SCALE.apply(one) for one in sample.images])
    assert (known[0, :5] == IGNORE_INDEX).all()
    np.testing.assert_array_equal(known[1], labels[1])
    np.testing.assert_array_equal(pool.source, range(6))
    assert pool.counts().tolist() == np.bincount(known.ravel(), minlength=256)[:3].tolist()
    np.testing.assert_array_equal(pool.known(0), known[0] != IGNORE_INDEX)


def test_single_slices_are_pools_too(sample: Sample) -> None:
    assert read(sample.images[0], sample.labels[0]).images.shape == (1, 1, 48, 56)


@pytest.mark.parametrize("kind", ["volume", "slice"])
@pytest.mark.parametrize("at_once", [56, 5 * 56, 10**9])
def test_slices_read_in_tiles_equal_whole_ones(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, at_once: int, kind: Kind
) -> None:
    """From one row to a whole slice at a time, with neighbours, at both ends of the stack."""
    monkeypatch.setattr(pools, "PIXELS_PER_READ", at_once)
    scale = IntensityScale(0, 100, kind)
    pool = read(sample.images, sample.labels[[0, 2, 5]], scale, 3, [0, 2, 5])
    planes = [scale.apply(one) for one in sample.images]
    for found, seen in zip(pool.images, ((0, 0, 1), (1, 2, 3), (4, 5, 5)), strict=True):
        np.testing.assert_array_equal(found, np.stack([planes[z] for z in seen]))
    np.testing.assert_array_equal(all_of(pool.labels), sample.labels[[0, 2, 5]])


def test_what_a_pool_keeps_leaves_no_file_behind(sample: Sample, tmp_path: Path) -> None:
    grey, known = Volume.from_array(sample.images), Volume.from_array(sample.labels)
    pool = Pool.read(Annotations.of(grey, known, PHASES), SCALE, folder=tmp_path)
    pool, _ = pool.prepared(DataSettings(copies=2))
    assert pool.folder == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_pool_holds_ten_copies_of_each_slice_in_order(sample: Sample) -> None:
    annotated = read(sample.images, sample.labels, slices=3)
    pool, changes = annotated.prepared(DataSettings(copies=10, smooth_labels=False))
    assert changes is None
    assert pool.images.shape == (60, 3, 48, 56)
    np.testing.assert_array_equal(pool.source, np.repeat(range(6), 10))
    images, labels = all_of(pool.images), all_of(pool.labels)
    for number in range(6):
        made = row_removal(annotated.images[number], annotated.labels[number], 10)
        here = slice(10 * number, 10 * number + 10)
        np.testing.assert_array_equal(images[here], made[0])
        np.testing.assert_array_equal(labels[here], made[1])
    np.testing.assert_array_equal(images[::10], all_of(annotated.images))
    assert not np.array_equal(images[1], images[0])


def test_smoothing_is_that_of_the_slices_together(sample: Sample) -> None:
    labels = sample.labels.copy()
    labels[np.random.default_rng(0).random(labels.shape) < 0.05] = 1
    settings = DataSettings(copies=1, neighbors=12)
    pool, changes = read(sample.images, labels).prepared(settings)
    expected = smooth_labels(labels, 3, keep=[0], neighbors=12)
    np.testing.assert_array_equal(all_of(pool.labels), expected)
    assert changes is not None
    assert changes.changed == np.mean(expected != labels) > 0
    np.testing.assert_allclose(changes.before, np.bincount(labels.ravel()) / labels.size)
    np.testing.assert_allclose(changes.after, np.bincount(expected.ravel()) / labels.size)


def test_smoothing_leaves_pores_alone() -> None:
    labels = np.full((1, 40, 40), 2, np.uint8)
    labels[0, 10, 10] = 1  # a speck of carbon in nickel
    labels[0, 20, 20] = 0  # and one of pore
    images = np.random.default_rng(0).random((1, 40, 40))
    pool, changes = read(images, labels).prepared(DataSettings(copies=1))
    assert changes is not None
    assert changes.changed == 1 / 1600
    assert pool.labels[0][10, 10] == 2
    assert pool.labels[0][20, 20] == 0


def test_some_of_the_images_by_number_by_mask_and_evenly_spaced(sample: Sample) -> None:
    pool = read(sample.images, sample.labels)
    mask = np.array([True, False, False, True, True, False])
    for chosen, numbers in (
        (pool.take(np.array([4, 1])), [4, 1]),
        (pool.take(mask), [0, 3, 4]),
        (pool.take(mask).take(np.array([2, 0])), [4, 0]),
        (pool.spread(2), [0, 5]),
        (pool.spread(0), list(range(6))),
        (pool.spread(7), list(range(6))),
    ):
        assert len(chosen) == len(numbers)
        np.testing.assert_array_equal(chosen.source, numbers)
        np.testing.assert_array_equal(all_of(chosen.images), all_of(pool.images)[numbers])
        np.testing.assert_array_equal(all_of(chosen.labels), sample.labels[numbers])


def test_flat_slices_are_refused(sample: Sample) -> None:
    flat = sample.images.copy()
    flat[3] = 1
    with pytest.raises(InputError, match="slice 3 of grey have the value 1"):
        read(flat, sample.labels)
    # but nobody looks at a slice of which nothing is known
    labels = sample.labels.copy()
    labels[3] = 9
    assert len(read(flat, labels)) == 5


def test_a_phase_that_never_occurs_is_named(sample: Sample) -> None:
    pool = read(sample.images, np.minimum(sample.labels, 1))
    with pytest.raises(InputError, match="known: the phase 'nickel'"):
        pool.require_every_phase("known")


@pytest.mark.parametrize("slices", [1, 5])
def test_outside_of_the_sample_nothing_is_known_and_nothing_is_seen(
    sample: Sample, slices: int
) -> None:
    rng = np.random.default_rng(0)
    inside = rng.random(sample.labels.shape) > 0.3  # other pixels in each slice
    pools_of = []
    for outside in (np.float32(-1e4), np.float32(np.nan)):
        grey = Volume.from_array(np.where(inside, sample.images, outside), name="grey")
        grey = masked(grey, inside)
        annotations = Annotations.of(grey, Volume.from_array(sample.labels), PHASES)
        scale = IntensityScale.of(grey, "auto")
        pools_of.append((scale, Pool.read(annotations, scale, slices)))
    (scale, pool), (other_scale, other) = pools_of
    assert scale == other_scale
    np.testing.assert_array_equal(all_of(pool.images), all_of(other.images))
    np.testing.assert_array_equal(all_of(pool.labels) == IGNORE_INDEX, ~inside)
    np.testing.assert_array_equal(pool.counts(), annotations.counts.sum(axis=0))
    assert pool.outside is not None
    np.testing.assert_array_equal(all_of(pool.outside), ~inside)
    np.testing.assert_array_equal(all_of(pool.images)[:, slices // 2][~inside], 0)
    half = pool.take(np.array([4, 1]))
    assert half.outside is not None
    np.testing.assert_array_equal(half.outside[0], ~inside[4])
