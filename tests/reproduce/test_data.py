from pathlib import Path

import numpy as np
import pytest

import matphase as mp
from matphase.images.phases import PhaseTable
from matphase.learning.run import Run
from matphase.learning.splits import blocked_split
from matphase.method.results import GlobalStack, Partition
from matphase.reproduce.data import COPIES, Source, UserSlices, check_source, split_data
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.stages import Stages
from matphase.support.errors import InputError

PHASES = PhaseTable.from_names(("pore", "carbon", "nickel"))


def numbered(n: int = 16) -> Source:
    """Slices whose grey value says which slice it is; exact labels are those measured."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (n, 40, 36)).astype(np.uint8)
    grey = np.arange(n)[:, None, None] * 10 + labels.astype(np.float32)
    return Source(
        mp.Volume.from_array(grey, name="grey"),
        mp.Volume.from_array(labels, name="labels"),
        labels,
        PHASES,
    )


def on_one_scale(protocol: Protocol) -> Protocol:
    return protocol.updated(settings=protocol.settings.updated({"data": {"scale": "volume"}}))


def test_blocked_keeps_every_second_slice_of_the_test_block(protocol: Protocol) -> None:
    source = numbered()
    data = split_data(source, "blocked", 0, on_one_scale(protocol))
    parts = blocked_split(16)
    assert data.pool.source.tolist() == parts.train.tolist()
    np.testing.assert_array_equal(data.measured, source.measured.to_array()[parts.test[::2]])
    np.testing.assert_array_equal(data.exact, data.measured)
    assert data.groups == protocol.block[0]
    # scaled by the training slices alone: what is brighter than all of them is clipped
    assert data.images.max() == 1
    assert data.pool.images[:].min() == -1


def test_local_networks_and_figures_see_the_first_of_two_scales(protocol: Protocol) -> None:
    deep = protocol.settings.updated({"data": {"scale": "both"}, "ugsm": {"slices": 3}})
    data = split_data(numbered(), "blocked", 0, protocol.updated(settings=deep))
    one = split_data(
        numbered(),
        "blocked",
        0,
        protocol.updated(settings=deep.updated({"data": {"scale": "volume"}})),
    )
    assert data.images.shape[1] == 6
    np.testing.assert_array_equal(data.first_channels, one.images)
    stages = Stages(deep, Run(), data)
    n, (height, width) = len(data.pool), data.pool.shape
    split = Partition(
        np.ones((n, height, width), np.bool_), np.ones((n, height, width), np.float32)
    )
    learned = GlobalStack.empty(n, 3, (height, width), None)
    learns = stages.local_pool(data.pool, learned, split).pool
    np.testing.assert_array_equal(learns.images[:], one.pool.images[:])


def test_blocked_is_the_same_for_every_seed(protocol: Protocol) -> None:
    first, second = (split_data(numbered(), "blocked", seed, protocol) for seed in (0, 1))
    np.testing.assert_array_equal(first.images, second.images)


def test_paper_tests_fifty_pairs_the_unseen_slices_in_front(protocol: Protocol) -> None:
    source = numbered()
    data = split_data(source, "paper", 3, on_one_scale(protocol))
    assert len(data.images) == 4 * COPIES + 10
    assert len(data.pool.images) == 16 * COPIES - 50
    assert data.groups == COPIES
    unseen = set(range(16)) - set(data.pool.source.tolist())
    assert len(unseen) == 4
    # copy 0 of each unseen slice stands at the head of its group, as it is
    first = source.measured.to_array()[sorted(unseen)]
    np.testing.assert_array_equal(data.measured[: 4 * COPIES : COPIES], first)
    # the exact labels were cut and stretched in the same way as the measured ones
    np.testing.assert_array_equal(data.exact, data.measured)


def test_training_never_sees_a_pair_of_the_paper_test(protocol: Protocol) -> None:
    data = split_data(numbered(), "paper", 1, on_one_scale(protocol))
    learned = {labels.tobytes() for labels in data.pool.labels}
    assert not any(labels.tobytes() in learned for labels in data.measured)


def test_test_labels_are_never_smoothed(protocol: Protocol) -> None:
    smoothing = protocol.settings.updated({"data": {"smooth_labels": True, "keep": []}})
    source = numbered()
    truth = source.measured.to_array()
    for split in ("blocked", "paper"):
        data = split_data(source, split, 0, protocol.updated(settings=smoothing))
        assert np.isin([one.tobytes() for one in data.measured[:1]], [t.tobytes() for t in truth])
        np.testing.assert_array_equal(data.measured, data.exact)


def test_too_few_slices_are_refused_before_the_work() -> None:
    with pytest.raises(InputError, match="too few"):
        check_source(numbered(5))


def test_a_users_slices_have_no_exact_labels(slices: UserSlices, protocol: Protocol) -> None:
    data = split_data(slices.read(), "paper", 0, protocol)
    assert data.exact is None
    assert [name for name, _ in data.truths] == ["measured"]


def test_other_slices_have_another_record(slices: UserSlices, tmp_path: Path) -> None:
    volume = mp.open(slices.images)
    changed = volume.to_array().copy()
    changed[0, 0, 0] += 1
    mp.save(tmp_path / "images.tif", mp.Volume.from_array(changed))
    mp.save(tmp_path / "same.tif", mp.Volume.from_array(volume.to_array()))
    other, same = (
        UserSlices(str(tmp_path / name), slices.labels, slices.label_map)
        for name in ("images.tif", "same.tif")
    )
    assert other.record() != slices.record()
    assert same.record() == slices.record()
