import math

import numpy as np
import pytest

from matphase.images.phases import IGNORE_INDEX
from matphase.scores.bootstrap import Interval, paired_difference
from matphase.scores.metrics.checks import scored_pixels
from matphase.scores.metrics.confusion import (
    accuracy,
    block_confusions,
    confusion_matrix,
    f1_per_phase,
    frequency_weighted_iou,
    mean_iou,
    metric_by_name,
)
from matphase.support.errors import InputError

MEASURES = ["mIU", "fIU", "ACC", "F1:0", "F1:1", "F1:2"]


def labelled(seed: int = 0, shape=(3, 11, 13), right: float = 0.8):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, shape).astype(np.uint8)
    labels = np.where(random.random(shape) < right, truth, (truth + 1) % 3).astype(np.uint8)
    truth[random.random(shape) < 0.1] = IGNORE_INDEX
    labels[random.random(shape) < 0.1] = IGNORE_INDEX
    return truth, labels


def accurate(right: np.ndarray, size: int) -> np.ndarray:
    """Block confusions of two phases with `right` of `size` pixels right in each block."""
    confusions = np.zeros((len(right), 2, 2), np.int64)
    confusions[:, 0, 0], confusions[:, 0, 1] = right, size - right
    return confusions


class TestBlockConfusions:
    def test_hand_computed_blocks(self):
        truth = np.array([[[0, 0, 1, 1, 0], [0, 1, 1, 1, IGNORE_INDEX]]], np.uint8)
        labels = np.array([[[0, 1, 1, 0, 1], [0, 1, IGNORE_INDEX, 1, 0]]], np.uint8)
        blocks = block_confusions(truth, labels, 2, (1, 2, 2))
        np.testing.assert_array_equal(
            blocks, [[[2, 1], [0, 1]], [[0, 0], [1, 2]], [[0, 1], [0, 0]]]
        )
        assert blocks.dtype == np.int64

    @pytest.mark.parametrize("block", [(1, 1, 1), (2, 4, 5), (3, 11, 13), (9, 99, 99), (1, 2, 13)])
    def test_blocks_sum_to_the_whole(self, block):
        truth, labels = labelled()
        counted = np.where(labels == IGNORE_INDEX, IGNORE_INDEX, truth)
        blocks = block_confusions(truth, labels, 3, block)
        edges = [math.ceil(n / edge) for n, edge in zip(truth.shape, block, strict=True)]
        assert len(blocks) == math.prod(edges)
        whole = confusion_matrix(counted, labels, 3)
        np.testing.assert_array_equal(blocks.sum(axis=0), whole)

    def test_each_block_is_that_part_of_the_stack(self):
        truth, labels = labelled()
        blocks = block_confusions(truth, labels, 3, (2, 4, 5)).reshape(2, 3, 3, 3, 3)
        part = np.s_[2:, 4:8, 10:]
        alone = block_confusions(truth[part], labels[part], 3, (9, 9, 9))
        np.testing.assert_array_equal(blocks[1, 1, 2], alone[0])

    def test_ignored_in_either_counts_nowhere(self):
        truth, labels = labelled()
        scored = scored_pixels(truth, labels, 3)
        assert block_confusions(truth, labels, 3, (1, 4, 4)).sum() == scored.sum() < truth.size
        nothing = np.full_like(truth, IGNORE_INDEX)
        assert not block_confusions(nothing, labels, 3, (1, 4, 4)).any()
        assert not block_confusions(truth, nothing, 3, (1, 4, 4)).any()

    @pytest.mark.parametrize(
        ("truth", "labels", "block", "words"),
        [
            (np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8), (1, 1, 1), "shape"),
            (np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), (1, 1, 1), "stacks"),
            (np.full((1, 2, 2), 3), np.zeros((1, 2, 2), np.uint8), (1, 1, 1), "truth hold"),
            (np.zeros((1, 2, 2), np.uint8), np.full((1, 2, 2), -1), (1, 1, 1), "index -1"),
            (np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2)), (1, 1, 1), "integer"),
            (np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8), (1, 0, 1), "edges"),
            (np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2), np.uint8), (2, 2), "edges"),
        ],
    )
    def test_bad_input(self, truth, labels, block, words):
        with pytest.raises(InputError, match=words):
            block_confusions(truth, labels, 3, block)


class TestMeasures:
    @pytest.mark.parametrize("phases_there", [3, 2, 1, 0])
    def test_agree_with_the_measures_of_one_matrix(self, phases_there):
        confusions = np.random.default_rng(4).integers(0, 9, (4, 5, 3, 3))
        confusions[..., phases_there:, :] = 0
        confusions[0, ..., phases_there:] = 0  # in the others the phase is predicted only
        expected = {
            "mIU": mean_iou,
            "fIU": frequency_weighted_iou,
            "ACC": accuracy,
            **{f"F1:{i}": lambda c, i=i: f1_per_phase(c)[i] for i in range(3)},
        }
        assert set(expected) == set(MEASURES)
        for name, measure in expected.items():
            values = metric_by_name(confusions, name)
            assert values.shape == (4, 5)
            for place in np.ndindex(4, 5):
                np.testing.assert_allclose(values[place], measure(confusions[place]), rtol=1e-12)

    @pytest.mark.parametrize("name", ["miu", "F1", "F1:", "F1:3", "F1:-1", "F1:x", ""])
    def test_unknown_measure(self, name):
        with pytest.raises(InputError, match="no metric"):
            metric_by_name(np.ones((2, 3, 3)), name)

    @pytest.mark.parametrize("shape", [(3,), (4, 3, 2)])
    def test_needs_matrices(self, shape):
        with pytest.raises(InputError, match="confusion matrices"):
            metric_by_name(np.ones(shape), "ACC")


class TestPairedDifference:
    def test_hand_computed_difference(self):
        # Accuracies: seed 0 has 8/10 against 6/10, seed 1 has 5/10 against 7/10 and 3 blocks.
        a = [accurate(np.array([5, 3]), 5), accurate(np.array([2, 2, 1, 0, 0]), 2)]
        b = [accurate(np.array([2, 4]), 5), accurate(np.array([2, 2, 2, 1, 0]), 2)]
        found = paired_difference(a[:1], b[:1], "ACC", draws=400)
        assert found.difference == pytest.approx(0.2)
        # Each draw is one of the two blocks twice or both: -0.2, 0.2 or 0.6.
        assert (found.low, found.high) == pytest.approx((-0.2, 0.6))
        assert paired_difference(a, b, "ACC", draws=10).difference == pytest.approx(0)

    def test_equal_in_every_block_leaves_nothing_open(self):
        a = [accurate(np.full(6, 9), 10)] * 3
        b = [accurate(np.full(6, 7), 10)] * 3
        found = paired_difference(a, b, "ACC", draws=50)
        assert found == pytest.approx((0.2, 0.2, 0.2))
        assert found.excludes_zero

    @pytest.mark.parametrize("measure", MEASURES)
    def test_a_method_does_not_differ_from_itself(self, measure):
        blocks = [block_confusions(*labelled(seed), 3, (1, 4, 4)) for seed in range(3)]
        found = paired_difference(blocks, blocks, measure, draws=100)
        assert found == (0, 0, 0)
        assert not found.excludes_zero

    def test_swapped_methods_turn_the_sign(self):
        a = [block_confusions(*labelled(seed), 3, (1, 4, 4)) for seed in range(3)]
        b = [block_confusions(*labelled(seed, right=0.7), 3, (1, 4, 4)) for seed in range(3)]
        there, back = (paired_difference(*pair, "mIU", draws=200) for pair in ((a, b), (b, a)))
        assert there.difference > 0
        assert (-back.difference, -back.high, -back.low) == pytest.approx(there)

    def test_repeatable_and_seeded(self):
        a, b = ([block_confusions(*labelled(1, right=r), 3, (1, 4, 4))] for r in (0.8, 0.7))
        first = paired_difference(a, b, "mIU", draws=50)
        assert first == paired_difference(a, b, "mIU", draws=50)
        other = paired_difference(a, b, "mIU", draws=50, seed=1)
        assert other != first
        assert other.difference == first.difference

    def test_interval_holds_the_truth_as_often_as_it_says(self):
        random = np.random.default_rng(7)
        held, repeats, gain = 0, 200, 0.04
        for repeat in range(repeats):
            # Blocks differ in difficulty, which both methods share.
            easy = random.beta(14, 6, 40)
            b = random.binomial(50, easy * (1 - gain))
            a = random.binomial(50, easy * (1 - gain) + gain)
            found = paired_difference(
                [accurate(a, 50)], [accurate(b, 50)], "ACC", draws=300, seed=repeat
            )
            held += found.low <= gain <= found.high
        assert 0.88 <= held / repeats <= 0.99

    def test_pairing_narrows_the_interval_where_errors_are_shared(self):
        random = np.random.default_rng(8)
        easy = random.beta(2, 1, 60)
        a, b = (random.binomial(100, easy * factor) for factor in (1.0, 0.95))
        paired = paired_difference([accurate(a, 100)], [accurate(b, 100)], "ACC", draws=300)
        shuffled = random.permutation(b)
        unpaired = paired_difference(
            [accurate(a, 100)], [accurate(shuffled, 100)], "ACC", draws=300
        )
        assert paired.difference == unpaired.difference
        assert paired.high - paired.low < (unpaired.high - unpaired.low) / 2

    def test_seeds_that_disagree_widen_the_interval(self):
        # No block tells anything that its seed does not; only the draw of seeds does.
        a = [accurate(np.full(4, right), 10) for right in (9, 8, 7)]
        b = [accurate(np.full(4, 7), 10)] * 3
        found = paired_difference(a, b, "ACC", draws=500)
        assert found == pytest.approx((0.1, 0, 0.2))

    def test_seeds_on_the_same_pixels_are_no_new_pixels(self):
        random = np.random.default_rng(3)
        first, second = (accurate(random.binomial(50, p, 40), 50) for p in (0.8, 0.75))
        one = paired_difference([first], [second], "ACC")
        three = paired_difference([first] * 3, [second] * 3, "ACC", same_pixels=True)
        fresh = paired_difference([first] * 3, [second] * 3, "ACC")
        assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.1)
        assert fresh.high - fresh.low < 0.75 * (one.high - one.low)

    def test_a_higher_level_is_wider(self):
        a, b = ([block_confusions(*labelled(1, right=r), 3, (1, 4, 4))] for r in (0.8, 0.7))
        narrow, wide = (paired_difference(a, b, "mIU", draws=200, level=p) for p in (0.5, 0.99))
        assert wide.low < narrow.low < narrow.high < wide.high

    def test_blocks_without_pixels_change_nothing(self):
        a, b = accurate(np.array([4, 3, 5]), 5), accurate(np.array([3, 3, 4]), 5)
        more_a, more_b = (np.concatenate([c, np.zeros((5, 2, 2), np.int64)]) for c in (a, b))
        assert paired_difference([a], [b], "ACC", draws=50) == paired_difference(
            [more_a], [more_b], "ACC", draws=50
        )

    def test_undefined_measure(self):
        a = np.zeros((4, 3, 3), np.int64)
        a[:, 0, 0] = 5
        found = paired_difference([a], [a], "F1:2", draws=20)
        assert all(math.isnan(value) for value in found)
        assert not found.excludes_zero
        assert found.to_json() == {
            "difference": None,
            "low": None,
            "high": None,
            "excludes_zero": False,
        }

    def test_seed_in_which_it_is_undefined_is_left_out(self):
        a, b = accurate(np.array([4, 3]), 5), accurate(np.array([3, 3]), 5)
        other = np.zeros((2, 2, 2), np.int64)
        other[:, 1, 1] = 5
        both = paired_difference([a, other], [b, other], "F1:0", draws=100)
        assert both.difference == paired_difference([a], [b], "F1:0", draws=1).difference
        assert both.low <= both.difference <= both.high

    @pytest.mark.parametrize(
        ("interval", "decided"),
        [((1, 0.5, 2), True), ((-1, -2, -0.5), True), ((1, -1, 2), False), ((1, 0, 2), False)],
    )
    def test_excludes_zero(self, interval, decided):
        assert Interval(*interval).excludes_zero is decided

    ONE = accurate(np.array([4, 3, 5]), 5)

    @pytest.mark.parametrize(
        ("a", "b", "options", "words"),
        [
            ([ONE], [ONE, ONE], {}, "seeds"),
            ([], [], {}, "seeds"),
            ([ONE], [ONE[:2]], {}, "same blocks"),
            ([ONE[0]], [ONE[0]], {}, "blocks"),
            ([ONE, np.ones((3, 4, 4), int)], [ONE, np.ones((3, 4, 4), int)], {}, "phases"),
            ([ONE * 0], [ONE * 0], {}, "no pixel was scored"),
            ([ONE], [ONE], {"draws": 0}, "draw"),
            ([ONE], [ONE], {"level": 1.0}, "level"),
            ([ONE], [ONE], {"metric": "F1:2"}, "no metric"),
        ],
    )
    def test_bad_input(self, a, b, options, words):
        with pytest.raises(InputError, match=words):
            paired_difference(a, b, **{"metric": "ACC", **options})
