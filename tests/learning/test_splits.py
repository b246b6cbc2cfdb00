import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matphase.learning.splits import blocked_split, paper_split
from matphase.support.errors import InputError


class TestBlocked:
    def test_the_papers_133_slices(self):
        split = blocked_split(133)
        # 4 guards; of the other 129, 15 % and 25 % rounded.
        np.testing.assert_array_equal(split.train, np.arange(78))
        np.testing.assert_array_equal(split.validation, np.arange(80, 99))
        np.testing.assert_array_equal(split.test, np.arange(101, 133))

    @given(
        n_slices=st.integers(1, 300),
        validation=st.floats(0, 0.6),
        test=st.floats(0.01, 0.6),
        guard=st.integers(0, 5),
    )
    def test_blocks_are_whole_apart_and_as_large_as_asked(self, n_slices, validation, test, guard):
        try:
            split = blocked_split(n_slices, validation=validation, test=test, guard=guard)
        except InputError:
            # Refused only for want of slices: enough of them always give a split.
            assert validation + test >= 1 or n_slices < 2 * guard + 3 / (1 - (validation + test))
            return
        blocks = [block for block in (split.train, split.validation, split.test) if block.size]
        assert len(blocks) == (3 if validation > 0 else 2)
        for block in blocks:
            np.testing.assert_array_equal(np.diff(block), 1)
            assert block.dtype == np.int64
        for shallow, deep in itertools.pairwise(blocks):
            assert deep[0] - shallow[-1] == guard + 1
        assert blocks[0][0] == 0
        assert blocks[-1][-1] == n_slices - 1
        usable = n_slices - (len(blocks) - 1) * guard
        assert split.test.size == pytest.approx(test * usable, abs=1)
        assert split.validation.size == pytest.approx(validation * usable, abs=1)

    def test_without_validation_there_is_one_guard(self):
        split = blocked_split(10, validation=0, test=0.25, guard=2)
        assert split.train.tolist() == [0, 1, 2, 3, 4, 5]
        assert split.validation.size == 0
        assert split.test.tolist() == [8, 9]

    def test_smallest_split(self):
        split = blocked_split(7)
        assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == (
            [0],
            [3],
            [6],
        )
        with pytest.raises(InputError, match="6 slices are too few"):
            blocked_split(6)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"test": 0},
            {"test": 1},
            {"validation": -0.1},
            {"validation": 0.5, "test": 0.5},
            {"guard": -1},
            {"test": float("nan")},
        ],
    )
    def test_bad_shares(self, arguments):
        with pytest.raises(InputError):
            blocked_split(100, **arguments)


def as_set(pairs):
    return set(map(tuple, pairs.tolist()))


class TestPaper:
    def test_the_papers_numbers(self):
        split = paper_split(133, seed=0)
        assert split.train.shape == (1280, 2)
        assert split.test.shape == (50, 2)
        assert split.unseen.shape == (4,)
        unseen = np.isin(split.test[:, 0], split.unseen)
        assert unseen.sum() == 40

    @given(n_slices=st.integers(16, 60), copies=st.integers(1, 12), seed=st.integers(0, 2**32))
    def test_disjoint_complete_and_four_slices_unseen(self, n_slices, copies, seed):
        split = paper_split(n_slices, copies, seed=seed)
        train, test = as_set(split.train), as_set(split.test)
        assert not train & test
        assert train | test == {(s, c) for s in range(n_slices) for c in range(copies)}
        assert len(test) == 4 * copies + 10
        assert not np.isin(split.train[:, 0], split.unseen).any()
        assert {(s, c) for s in split.unseen for c in range(copies)} <= test

    def test_leaky_pairs_have_siblings_in_training(self):
        split = paper_split(133, seed=4)
        leaky = split.test[~np.isin(split.test[:, 0], split.unseen)]
        assert len(leaky) == 10
        assert np.isin(leaky[:, 0], split.train[:, 0]).all()

    def test_seed_decides(self):
        first, again, other = (paper_split(133, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first.test, again.test)
        np.testing.assert_array_equal(first.train, again.train)
        assert as_set(first.test) != as_set(other.test)

    @pytest.mark.parametrize(("n_slices", "copies"), [(4, 10), (5, 10), (14, 1), (133, 0)])
    def test_too_little_to_split(self, n_slices, copies):
        with pytest.raises(InputError):
            paper_split(n_slices, copies, seed=0)
