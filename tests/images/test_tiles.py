"""Block arithmetic, over all shapes, blocks and halos."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.images.tiles import Block, tiles, window_side

Case = tuple[tuple[int, int, int], tuple[int, int, int], int, int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 90), st.integers(1, 90)))
    multiple = draw(st.sampled_from([1, 2, 8, 16]))
    sides = [draw(st.integers(1, 6)) * multiple for _ in range(2)]
    whole = draw(st.tuples(st.booleans(), st.booleans()))
    rows, columns = (
        side if all_of_it else length
        for side, length, all_of_it in zip(shape[1:], sides, whole, strict=True)
    )
    return shape, (draw(st.integers(1, 10)), rows, columns), draw(st.integers(0, 40)), multiple


@settings(deadline=None)  # a machine may be busy
@given(cases())
def test_cores_tile_the_volume_once_in_order(case: Case) -> None:
    shape, block, halo, multiple = case
    seen = np.zeros(shape, np.int64)
    found = tiles(shape, block, halo, multiple)
    for one in found:
        seen[one.core] += 1
        assert one.shape == seen[one.core].shape
        assert one.voxels == seen[one.core].size
        assert all(length <= most for length, most in zip(one.shape, block, strict=True))
    assert (seen == 1).all()
    assert [one.number for one in found] == list(range(len(found)))
    starts = [tuple(part.start for part in one.core) for one in found]
    assert starts == sorted(starts)


@settings(deadline=None)  # a machine may be busy
@given(cases())
def test_windows_hold_core_and_halo_or_end_at_the_border(case: Case) -> None:
    shape, block, halo, multiple = case
    for one in tiles(shape, block, halo, multiple):
        for core, window, length, side in zip(
            one.core[1:], one.window, block[1:], shape[1:], strict=True
        ):
            assert 0 <= window.start <= core.start < core.stop <= window.stop <= side
            assert window.start == 0 or window.start <= core.start - halo
            assert window.stop == side or window.stop >= core.stop + halo
            assert window.start % multiple == 0
            assert window.stop % multiple == 0 or window.stop == side
            # and no more than that
            assert core.start - window.start < halo + multiple
            assert window.stop - core.stop < halo + multiple
            assert window.stop - window.start <= window_side(length, side, halo, multiple)


@settings(deadline=None)  # a machine may be busy
@given(cases())
def test_the_core_is_found_in_its_window(case: Case) -> None:
    shape, block, halo, multiple = case
    plane = np.arange(shape[1] * shape[2]).reshape(shape[1:])
    for one in tiles(shape, block, halo, multiple):
        np.testing.assert_array_equal(plane[one.window][one.inner], plane[one.core[1:]])
        assert plane[one.window].flat[0] == plane[one.origin]


def test_a_block_of_several_slices_and_a_rectangle() -> None:
    assert tiles((5, 64, 100), (2, 32, 48), 5, 16)[7] == Block(
        7,
        (slice(2, 4), slice(0, 32), slice(48, 96)),
        (slice(0, 48), slice(32, 100)),
    )


@pytest.mark.parametrize(
    ("block", "halo", "message"),
    [
        ((1, 20, 64), 0, "20 px do not begin at multiples of 16"),
        ((0, 64, 64), 0, "no block"),
        ((1, 64, 64), -1, "no block"),
    ],
)
def test_blocks_that_cannot_be(block: tuple[int, int, int], halo: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiles((3, 64, 64), block, halo, 16)
