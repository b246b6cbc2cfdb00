"""Tiles cover a volume once, and see what they need; over all shapes, cores and halos."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matphase.images.grey_scale import IntensityScale, Kind, scaled
from matphase.images.tiles import Halo, Tile, plan_tiles, read_tile, tiles, window_side
from matphase.images.volume import Volume
from matphase.support.errors import InputError

Shape = tuple[int, int, int]
Case = tuple[Shape, Shape, Halo]


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
    halo = Halo(draw(st.integers(0, 40)), multiple, draw(st.integers(0, 3)))
    return shape, (draw(st.integers(1, 10)), rows, columns), halo


@settings(deadline=None)  # a machine may be busy
@given(cases())
def test_cores_cover_the_volume_once_in_order(case: Case) -> None:
    shape, core, halo = case
    seen = np.zeros(shape, np.int64)
    found = tiles(shape, core, halo)
    for one in found:
        seen[one.core] += 1
        assert one.shape == seen[one.core].shape
        assert one.voxels == seen[one.core].size
        assert all(length <= most for length, most in zip(one.shape, core, strict=True))
    assert (seen == 1).all()
    assert [one.number for one in found] == list(range(len(found)))
    starts = [tuple(part.start for part in one.core) for one in found]
    assert starts == sorted(starts)


@settings(deadline=None)  # a machine may be busy
@given(cases())
def test_windows_hold_core_and_halo_or_end_at_the_border(case: Case) -> None:
    shape, cores, halo = case
    for one in tiles(shape, cores, halo):
        for core, window, length, side in zip(
            one.core[1:], one.window[1:], cores[1:], shape[1:], strict=True
        ):
            assert 0 <= window.start <= core.start < core.stop <= window.stop <= side
            assert window.start == 0 or window.start <= core.start - halo.radius
            assert window.stop == side or window.stop >= core.stop + halo.radius
            assert window.start % halo.multiple == 0
            assert window.stop % halo.multiple == 0 or window.stop == side
            # and no more than that, but at the border
            if window.start > 0 and window.stop < side:
                assert core.start - window.start < halo.radius + halo.multiple
                assert window.stop - core.stop < halo.radius + halo.multiple
            assert window.stop - window.start <= window_side(length, side, halo)


@settings(deadline=None)  # a machine may be busy
@given(cases())
def test_windows_have_few_sizes_whatever_their_number(case: Case) -> None:
    """Each size costs memory once more (`matphase.networks.batches`)."""
    shape, cores, halo = case
    found = tiles(shape, cores, halo)
    for axis in (1, 2):
        lengths = {one.window[axis].stop - one.window[axis].start for one in found}
        assert len(lengths) <= (2 if shape[axis] % halo.multiple == 0 else 4)


@settings(deadline=None)  # a machine may be busy
@given(cases())
def test_windows_hold_the_slices_above_and_below_as_far_as_there_are_any(case: Case) -> None:
    shape, cores, halo = case
    for one in tiles(shape, cores, halo):
        core, window = one.core[0], one.window[0]
        assert window.start == max(0, core.start - halo.slices)
        assert window.stop == min(shape[0], core.stop + halo.slices)


@settings(deadline=None)  # a machine may be busy
@given(cases())
def test_the_core_is_found_in_its_window(case: Case) -> None:
    shape, cores, halo = case
    plane = np.arange(shape[1] * shape[2]).reshape(shape[1:])
    for one in tiles(shape, cores, halo):
        np.testing.assert_array_equal(plane[one.window[1:]][one.inner], plane[one.core[1:]])
        assert plane[one.window[1:]].flat[0] == plane[one.origin]
        assert one.pixels_seen == one.shape[0] * plane[one.window[1:]].size


def test_a_tile_of_several_slices_and_a_rectangle() -> None:
    assert tiles((5, 64, 100), (2, 32, 48), Halo(5, 16, 1))[7] == Tile(
        7,
        (slice(2, 4), slice(0, 32), slice(48, 96)),
        (slice(1, 5), slice(0, 48), slice(16, 100)),
    )


@pytest.mark.parametrize(
    ("core", "halo", "message"),
    [
        ((1, 20, 64), 0, "20 px do not begin at multiples of 16"),
        ((0, 64, 64), 0, "no tile"),
        ((1, 64, 64), -1, "no tile"),
    ],
)
def test_tiles_that_cannot_be(core: Shape, halo: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiles((3, 64, 64), core, Halo(halo, 16))


# --- reading --------------------------------------------------------------------------------------


@settings(deadline=None)  # a machine may be busy
@given(
    depth=st.integers(1, 5),
    cores=st.tuples(st.integers(1, 3), st.integers(5, 40), st.integers(5, 40)),
    slices=st.sampled_from([1, 3, 5]),
    kind=st.sampled_from(["volume", "slice", "both"]),
)
def test_tiles_read_what_the_whole_volume_shows_there(
    depth: int, cores: Shape, slices: int, kind: Kind
) -> None:
    rng = np.random.default_rng(0)
    grey = rng.normal(0, 1 + np.arange(depth)[:, None, None], (depth, 33, 35)).astype(np.float32)
    volume, scale = Volume.from_array(grey), IntensityScale(-1.5, 2, kind)
    ends = scale.of_slices(volume)
    planes = np.stack(
        [[scaled(plane, *one) for one in own] for plane, own in zip(grey, ends, strict=True)]
    )
    halo = Halo(3, slices=slices // 2)
    for one in tiles((depth, 33, 35), cores, halo):
        found = read_tile(volume, ends, one, slices).images
        assert found.dtype == np.float32
        for z, images in zip(range(one.core[0].start, one.core[0].stop), found, strict=True):
            around = np.clip(np.arange(slices) - slices // 2 + z, 0, depth - 1)
            shown = planes[around][:, :, *one.window[1:]]
            np.testing.assert_array_equal(images, np.concatenate(list(shown)))


# --- planning -------------------------------------------------------------------------------------


AROUND = Halo(24, 8)


def planned(memory: int, halo: Halo = AROUND) -> list[Tile]:
    """Tiles where a pass takes 100 bytes a pixel, and everything else 10 a pixel and slice."""
    shape = (40, 200, 300)
    return plan_tiles(
        shape, halo, lambda rows, columns: 100 * rows * columns, 10, memory, name="it"
    )


@pytest.mark.parametrize("memory", [610_000, 10**6, 6_600_000, 10**7, 10**8])
def test_planned_tiles_fit_into_the_memory_and_cover_the_volume(memory: int) -> None:
    found = planned(memory)
    assert sum(one.voxels for one in found) == 40 * 200 * 300
    for one in found:
        rows, columns = (part.stop - part.start for part in one.window[1:])
        assert 100 * rows * columns + 10 * one.pixels_seen <= memory
        assert one.shape[0] <= 16


@pytest.mark.parametrize("halo", [Halo(24, 8), Halo(94, 16), Halo(5, 1), Halo(0, 4)])
def test_a_small_limit_does_not_make_cores_that_are_mostly_halo(halo: Halo) -> None:
    for exponent in range(30, 60):
        try:
            found = planned(int(2 ** (exponent / 2)), halo=halo)
        except InputError:
            continue
        seen, wanted = (sum(amounts) for amounts in zip(*map(_work, found), strict=True))
        assert seen <= 9 * wanted


def _work(tile: Tile) -> tuple[int, int]:
    return tile.pixels_seen, tile.voxels


def test_whole_slices_where_they_fit_and_rectangles_where_not() -> None:
    slice_and_pass = 110 * 200 * 300
    assert {one.shape for one in planned(slice_and_pass)} == {(1, 200, 300)}
    assert {one.shape[0] for one in planned(10**9)} == {16, 8}
    assert all(one.shape[1:] != (200, 300) for one in planned(slice_and_pass - 1))


def test_too_little_memory_says_what_would_do() -> None:
    with pytest.raises(InputError, match=r"it: the smallest tile .* takes 610kB of .* to 610kB"):
        planned(10**5)
    assert planned(610_000)
    with pytest.raises(InputError, match="it needs whole slices, and one of 200 x 300 px"):
        planned(10**6, halo=Halo(None))
    assert {one.shape for one in planned(110 * 200 * 300, halo=Halo(None))} == {(1, 200, 300)}
