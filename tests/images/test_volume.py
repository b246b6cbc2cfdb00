import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matphase.images import volume as volume_module
from matphase.images.volume import Volume, check_not_constant, checked_slice
from matphase.support.errors import InputError

STACK = np.arange(3 * 40 * 50, dtype=np.uint16).reshape(3, 40, 50)


def test_a_stack_gives_its_slices_in_order() -> None:
    volume = Volume.from_array(STACK)
    assert (volume.axes, volume.shape, volume.ndim, volume.n_slices) == ("zyx", (3, 40, 50), 3, 3)
    assert volume.dtype == np.uint16
    assert volume.nbytes == 2 * 3 * 40 * 50
    np.testing.assert_array_equal(np.stack(list(volume.slices())), STACK)
    np.testing.assert_array_equal(volume.slice(2), STACK[2])
    np.testing.assert_array_equal(volume.to_array(), STACK)


def test_a_slice_is_a_volume_of_one_slice() -> None:
    volume = Volume.from_array(STACK[0])
    assert (volume.axes, volume.n_slices) == ("yx", 1)
    np.testing.assert_array_equal(volume.slice(0), STACK[0])
    np.testing.assert_array_equal(volume.to_array(), STACK[0])


@pytest.mark.parametrize("z", [-1, 3])
def test_a_slice_that_is_not_there(z: int) -> None:
    with pytest.raises(InputError, match="slices 0 to 2, so no slice"):
        Volume.from_array(STACK).slice(z)


@given(st.data())
def test_a_block_is_what_indexing_gives(data: st.DataObject) -> None:
    window = [
        slice(start, data.draw(st.integers(start + 1, side)))
        for side in STACK.shape
        for start in [data.draw(st.integers(0, side - 1))]
    ]
    np.testing.assert_array_equal(Volume.from_array(STACK).block(*window), STACK[tuple(window)])
    plane = Volume.from_array(STACK[1]).block(slice(0, 1), *window[1:])
    np.testing.assert_array_equal(plane, STACK[1:2, window[1], window[2]])


@pytest.mark.parametrize(
    "z",
    [
        slice(-1, 2),
        slice(2, 2),
        slice(2, 1),
        slice(0, 4),
        slice(0, 2, 2),
        slice(None),
        slice(0, 1.0),
    ],
)
def test_a_block_that_is_not_there(z: slice) -> None:
    volume = Volume.from_array(STACK, name="scan.tif")
    with pytest.raises(InputError, match=r"scan\.tif has no block .* along z; .* stop <= 3"):
        volume.block(z, slice(0, 1), slice(0, 1))
    with pytest.raises(InputError, match=r"no block 0:51 along x; .* stop <= 50"):
        volume.block(slice(0, 1), slice(0, 1), slice(0, 51))


class Chunks:
    """A stack whose slices are stored several together; it remembers what was asked for."""

    dtype = STACK.dtype

    def __init__(self, shape: tuple[int, ...], depth: int) -> None:
        self.shape = shape
        self.chunks = (depth, *shape[1:])
        self.asked: list[tuple[int, int]] = []

    def __getitem__(self, windows: tuple[slice, slice, slice]) -> np.ndarray:
        z = windows[0]
        self.asked.append((z.start, z.stop))
        block = np.zeros((z.stop - z.start, *self.shape[1:]), self.dtype)
        return block + np.arange(z.start, z.stop, dtype=self.dtype)[:, None, None]


def test_slices_that_are_stored_together_are_decoded_once() -> None:
    source = Chunks((10, 3, 4), 4)
    volume = Volume.from_array(source)
    assert [plane.max() for plane in volume.slices()] == list(range(10))
    assert source.asked == [(0, 4), (4, 8), (8, 10)]
    assert volume.to_array()[:, 0, 0].tolist() == list(range(10))
    assert source.asked[3:] == source.asked[:3]
    assert [plane.min() for plane in volume.slices(3, 9)] == list(range(3, 9))
    assert source.asked[6:] == [(3, 4), (4, 8), (8, 9)]


def test_slices_of_deep_chunks_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Chunks((10, 3, 4), 5)
    monkeypatch.setattr(volume_module, "SLAB_BYTES", 3 * 3 * 4 * 2 + 1)
    assert [plane.min() for plane in Volume.from_array(source).slices()] == list(range(10))
    assert source.asked == [(0, 3), (3, 5), (5, 8), (8, 10)]
    monkeypatch.setattr(volume_module, "SLAB_BYTES", 1)
    assert len(list(Volume.from_array(source).slices())) == 10


def test_voxel_size_is_unknown_unless_given() -> None:
    volume = Volume.from_array(STACK)
    assert volume.voxel_size is None
    assert volume.unit is None


@pytest.mark.parametrize("size", [0.2, np.float32(0.25), 2])
def test_one_number_means_isotropic(size: float) -> None:
    assert Volume.from_array(STACK, voxel_size=size, unit="um").voxel_size == (float(size),) * 3


def test_one_length_an_axis_is_kept_in_axes_order() -> None:
    volume = Volume.from_array(STACK, voxel_size=(0.5, 0.1, 0.2), unit="um")
    assert volume.voxel_size == (0.5, 0.1, 0.2)


def test_the_distance_of_slices_may_be_unknown() -> None:
    volume = Volume.from_array(STACK, voxel_size=(None, 0.1, 0.1), unit="um")
    assert volume.voxel_size == (None, 0.1, 0.1)
    assert "unknown x 0.1 x 0.1 um" in repr(volume)


@pytest.mark.parametrize(
    ("spelling", "unit"),
    [
        ("\u00b5m", "um"),
        ("\u03bcm", "um"),
        ("micron", "um"),
        ("Micrometer", "um"),
        (" nm ", "nm"),
        ("millimetre", "mm"),
        ("cm", "cm"),
        ("m", "m"),
    ],
)
def test_units_get_one_ascii_name(spelling: str, unit: str) -> None:
    assert Volume.from_array(STACK, voxel_size=1, unit=spelling).unit == unit


@pytest.mark.parametrize("unit", ["px", "pixel", "Pixels", ""])
def test_a_size_in_pixels_is_no_size(unit: str) -> None:
    volume = Volume.from_array(STACK, voxel_size=1, unit=unit)
    assert (volume.voxel_size, volume.unit) == (None, None)


@pytest.mark.parametrize("size", [0, -0.2, math.nan, math.inf, (1, 0, 1), (1, None, 1)])
def test_a_length_that_is_none(size: float) -> None:
    with pytest.raises(InputError, match="give a length above zero"):
        Volume.from_array(STACK, voxel_size=size, unit="um")


def test_size_and_unit_come_together() -> None:
    with pytest.raises(InputError, match="give the unit too"):
        Volume.from_array(STACK, voxel_size=0.2)
    with pytest.raises(InputError, match="without a voxel size"):
        Volume.from_array(STACK, unit="um")
    with pytest.raises(InputError, match=r"'furlong'.*not known"):
        Volume.from_array(STACK, voxel_size=0.2, unit="furlong")
    with pytest.raises(InputError, match="2 lengths for the 3 axes zyx"):
        Volume.from_array(STACK, voxel_size=(0.2, 0.2), unit="um")


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5), ()])
def test_only_two_or_three_dimensions(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="dimensions"):
        Volume.from_array(np.zeros(shape))


def test_an_empty_array() -> None:
    with pytest.raises(InputError, match="empty"):
        Volume.from_array(np.zeros((0, 40, 40)))


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype("U3"), np.dtype("datetime64[s]")])
def test_only_real_numbers(dtype: np.dtype) -> None:
    with pytest.raises(InputError, match="holds"):
        Volume.from_array(np.zeros((40, 40), dtype))


@pytest.mark.parametrize("channels", [3, 4])
def test_an_rgb_picture_is_not_taken_for_a_stack(channels: int) -> None:
    picture = np.zeros((40, 50, channels), np.uint8)
    with pytest.raises(InputError, match="RGB"):
        Volume.from_array(picture)
    assert Volume.from_array(picture, axes="zyx").n_slices == 40


@pytest.mark.parametrize("axes", ["yx", "xyz", "z"])
def test_axes_that_do_not_fit(axes: str) -> None:
    with pytest.raises(InputError, match="pass 'zyx'"):
        Volume.from_array(STACK, axes=axes)


def test_with_array_keeps_the_place_and_takes_the_values() -> None:
    volume = Volume.from_array(STACK, voxel_size=(0.5, 0.1, 0.2), unit="um", name="scan.tif")
    labels = volume.with_array(np.ones(STACK.shape, np.uint8))
    assert (labels.axes, labels.voxel_size, labels.unit) == ("zyx", (0.5, 0.1, 0.2), "um")
    assert labels.dtype == np.uint8
    with pytest.raises(InputError, match=r"does not fit scan\.tif of shape 3 x 40 x 50"):
        volume.with_array(np.ones((3, 40, 49)))
    assert volume.with_array(STACK.tolist()).voxel_size == (0.5, 0.1, 0.2)


@given(st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float16, np.float64, bool]))
def test_checked_slice_gives_float32_of_the_same_values(dtype: type) -> None:
    plane = (np.arange(32 * 33) % 100).reshape(32, 33).astype(dtype)
    grey = checked_slice(Volume.from_array(plane), 0)
    assert grey.dtype == np.float32
    np.testing.assert_array_equal(grey, plane)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e300])
def test_checked_slice_names_volume_and_slice_of_a_bad_pixel(bad: float) -> None:
    stack = np.ones((3, 40, 50))
    stack[1, 5, 7] = bad
    volume = Volume.from_array(stack, name="scan.tif")
    checked_slice(volume, 0)
    with pytest.raises(InputError, match=r"scan\.tif has 1 infinite pixel in slice 1"):
        checked_slice(volume, 1)


@pytest.mark.parametrize("shape", [(31, 50), (50, 31), (4, 31, 31)])
def test_checked_slice_refuses_images_that_are_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="at least 32 px"):
        checked_slice(Volume.from_array(np.ones(shape)), 0)


def test_an_image_of_one_value() -> None:
    stack = np.full((3, 40, 50), 7)
    with pytest.raises(InputError, match="all pixels of scan have the value 7"):
        check_not_constant(Volume.from_array(stack, name="scan"))
    stack[2, 0, 0] = 8
    volume = Volume.from_array(stack, name="scan")
    check_not_constant(volume)
    check_not_constant(volume, 2)
    with pytest.raises(InputError, match="slice 1 of scan"):
        check_not_constant(volume, 1)


def test_slices_of_different_values_make_a_volume_with_contrast() -> None:
    check_not_constant(Volume.from_array(np.stack([np.zeros((9, 9)), np.ones((9, 9))])))
