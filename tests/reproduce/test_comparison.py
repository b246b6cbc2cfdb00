"""Differences over the seeds that two methods share."""

import numpy as np
import pytest

from matphase.reproduce.comparison import difference
from matphase.support.errors import InputError


def blocks(right, wrong, n_blocks=4):
    """Equal blocks of two phases: `right` pixels of each right, `wrong` of phase 0 taken for 1."""
    return [[[right, wrong], [0, right]]] * n_blocks


def test_only_common_seeds_count():
    a = {0: blocks(9, 1), 1: blocks(9, 1), 3: blocks(1, 9)}
    b = {1: np.array(blocks(8, 2)), 0: np.array(blocks(8, 2)), 7: np.array(blocks(0, 9))}
    found = difference(a, b)
    assert found is not None
    expected = 9 / 10 - 8 / 10
    # all blocks are alike, so the draws are, too
    assert found == pytest.approx((expected, expected, expected))


def test_no_common_seed():
    assert difference({0: blocks(9, 1)}, {1: blocks(9, 1)}) is None
    assert difference({}, {}) is None


def test_blocks_that_do_not_match():
    with pytest.raises(InputError, match="the same blocks"):
        difference({0: blocks(9, 1)}, {0: blocks(9, 1, 5)})
