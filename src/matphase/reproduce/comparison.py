"""Differences between two methods over the seeds that both have."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from matphase.scores.bootstrap import Interval, paired_difference

BlocksBySeed = Mapping[int, Any]
"""Block confusions (blocks, phases, phases) of a method by seed, as arrays or nested lists."""


def difference(
    a: BlocksBySeed, b: BlocksBySeed, measure: str = "mIU", *, same_pixels: bool = False
) -> Interval | None:
    """The measure of `a` minus that of `b`, with its 95 % interval; None without a common seed.

    Args:
        a: of one method.
        b: of the other.
        measure: see `bootstrap.measure_of`.
        same_pixels: all seeds were tested on the same pixels, see `bootstrap.paired_difference`.

    Raises:
        InputError: the block confusions do not match.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        return None
    ours, theirs = ([np.array(side[seed], np.int64) for seed in common] for side in (a, b))
    return paired_difference(ours, theirs, measure, same_pixels=same_pixels)
