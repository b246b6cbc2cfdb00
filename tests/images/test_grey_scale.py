import numpy as np
import pytest

from matphase.images.grey_scale import IntensityScale, scaled
from matphase.images.mask import masked
from matphase.images.volume import Volume
from matphase.support.errors import InputError


def test_percentiles_of_the_whole_volume_map_to_the_ends() -> None:
    ramp = np.linspace(0, 1000, 5 * 40 * 50).reshape(5, 40, 50)
    scale = IntensityScale.of(Volume.from_array(ramp))
    assert (scale.low, scale.high) == pytest.approx((1, 999), abs=0.1)
    scaled = scale.apply(np.array([[-50, 1, 500, 999, 2000]], np.float32))
    np.testing.assert_allclose(scaled, [[-1, -1, 0, 1, 1]], atol=1e-3)
    assert scaled.dtype == np.float32


def test_a_few_bright_pixels_do_not_decide_but_can_serve() -> None:
    image = np.zeros((100, 100), np.float32)
    image[0, :3] = 7
    assert IntensityScale.of(Volume.from_array(image)) == IntensityScale(0, 7)


def test_every_slice_of_a_short_volume_and_64_of_a_long_one_are_looked_at() -> None:
    short = np.zeros((64, 32, 32), np.float32)
    short[63] = 1
    assert IntensityScale.of(Volume.from_array(short)).high == 1
    asked = []

    class Source:
        shape = (1000, 32, 32)
        dtype = np.dtype(np.uint8)

        def __getitem__(self, windows: tuple[slice, slice, slice]) -> np.ndarray:
            z = windows[0]
            asked.append(z.start)
            return np.full((1, 32, 32), z.start % 200, np.uint8)

    IntensityScale.of(Volume.from_array(Source()))
    assert 32 < len(asked) <= 64


def test_one_value_is_refused() -> None:
    with pytest.raises(InputError, match="all pixels have the value 4"):
        IntensityScale.of(Volume.from_array(np.full((2, 40, 40), 4.0), name="flat.tif"))


@pytest.mark.parametrize(
    ("other", "fits"), [((0, 100), True), ((20, 120), True), ((0, 160), False), ((-70, 100), False)]
)
def test_another_grey_scale_is_refused(other: tuple[float, float], fits: bool) -> None:
    scale = IntensityScale(0, 100)
    if fits:
        scale.check_fits(IntensityScale(*other), "scan.tif")
    else:
        with pytest.raises(InputError, match=r"scan\.tif.*intensity='volume'"):
            scale.check_fits(IntensityScale(*other), "scan.tif")


def test_a_drifting_stack_is_scaled_slice_by_slice() -> None:
    rng = np.random.default_rng(0)
    stack = rng.normal(100, 10, (8, 40, 40)).astype(np.float32)
    steady = IntensityScale.of(Volume.from_array(stack), "auto")
    assert steady.kind == "volume"
    drifting = stack + 10 * np.arange(8, dtype=np.float32)[:, None, None]
    scale = IntensityScale.of(Volume.from_array(drifting), "auto")
    assert scale.kind == "slice"
    for one, moved in zip(stack, drifting, strict=True):
        np.testing.assert_allclose(scale.apply(moved), scale.apply(one), atol=1e-4)
    for kind in ("volume", "slice", "both"):
        assert IntensityScale.of(Volume.from_array(drifting), kind).kind == kind
    # an empty slice is no reason to fail, and other grey values are none to refuse
    assert not scale.apply(np.full((40, 40), 5, np.float32)).any()
    scale.check_fits(IntensityScale(-1000, 1000), "other scan")


def test_scales_of_slices_are_those_of_whole_slices() -> None:
    rng = np.random.default_rng(0)
    stack = (rng.normal(100, 10, (8, 40, 40)) + 10 * np.arange(8)[:, None, None]).astype(np.float32)
    volume = Volume.from_array(stack)
    fixed, own = IntensityScale(3, 8), IntensityScale(3, 8, "slice")
    np.testing.assert_array_equal(fixed.of_slices(volume), np.tile([3.0, 8.0], (8, 1, 1)))
    ends = own.of_slices(volume)
    for plane, ((low, high),) in zip(stack, ends, strict=True):
        np.testing.assert_array_equal(scaled(plane, low, high), own.apply(plane))
        # and a part of a slice is scaled as the slice is
        np.testing.assert_array_equal(scaled(plane[:9], low, high), own.apply(plane)[:9])
    # of a few slices and their neighbours, the others are not read
    some = own.of_slices(volume, np.array([0, 5]), neighbours=3)
    known = [0, 1, 4, 5, 6]
    np.testing.assert_array_equal(some[known], ends[known])
    assert np.isnan(some[[2, 3, 7]]).all()
    both = IntensityScale(3, 8, "both").of_slices(volume)
    np.testing.assert_array_equal(both[:, :1], fixed.of_slices(volume))
    mean, reach = stack.mean(axis=(1, 2)), 3 * stack.std(axis=(1, 2))
    np.testing.assert_allclose(both[:, 1], np.stack([mean - reach, mean + reach], 1), rtol=1e-5)


def test_a_scale_that_each_volume_has_anew() -> None:
    rng = np.random.default_rng(0)
    volume = Volume.from_array(rng.normal(1e4, 10, (4, 40, 40)).astype(np.float32))
    with pytest.raises(InputError, match="the model was trained on -1 to 1"):
        IntensityScale(-1, 1, "both").of_another(volume)
    found = IntensityScale(-1, 1, "both", anew=True).of_another(volume)
    assert found == IntensityScale.of(volume, "both")
    known = IntensityScale(9_900, 10_100, "both")
    assert known.of_another(volume) == known


def test_outside_is_no_part_of_the_scale() -> None:
    grey = np.random.default_rng(0).normal(50, 5, (9, 60, 60)).astype(np.float32)
    inside = np.zeros(grey.shape, bool)
    inside[:, 20:50, 10:40] = True
    inside[3] = False
    low, high = np.percentile(grey[inside], [0.1, 99.9])
    for outside in (np.nan, 0, 1e3):
        volume = masked(Volume.from_array(np.where(inside, grey, outside)), inside)
        assert IntensityScale.of(volume) == IntensityScale(low, high)
        ends = IntensityScale.of(volume, "slice").of_slices(volume)
        assert np.isnan(ends[3]).all()
        assert (ends[[0, 8]] > 30).all()
        own = IntensityScale.of(volume, "both").of_slices(volume)[:, 1]
        assert np.isnan(own[3]).all()
        mean, reach = grey[0][inside[0]].mean(), 3 * grey[0][inside[0]].std()
        np.testing.assert_allclose(own[0], [mean - reach, mean + reach], rtol=1e-5)
        assert IntensityScale.of(volume, "auto").kind == "volume"


def test_a_region_between_the_slices_that_are_looked_at_is_found() -> None:
    grey = np.full((200, 32, 600), np.nan, np.float32)
    grey[77, 5, 101] = 3
    grey[78, 6, 101] = 8
    scale = IntensityScale.of(Volume.from_array(grey))
    assert (scale.low, scale.high) == pytest.approx((3, 8), abs=0.1)
    with pytest.raises(InputError, match="all pixels are NaN"):
        IntensityScale.of(Volume.from_array(np.full((2, 40, 40), np.nan)))
