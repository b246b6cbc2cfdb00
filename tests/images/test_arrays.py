"""Volumes as arrays: indexing, and arrays of other libraries that go in and come out."""

import pickle
import sys
from pathlib import Path
from typing import Any

import dask.array
import h5py
import numpy as np
import pytest
import torch
import xarray
import zarr
from hypothesis import given
from hypothesis import strategies as st

from matphase.images import arrays, formats
from matphase.images.volume import Volume
from matphase.support.errors import InputError

STACK = np.arange(7 * 8 * 9, dtype=np.uint16).reshape(7, 8, 9)


class Counting:
    """An array in chunks that remembers the windows that were read of it."""

    dtype = STACK.dtype

    def __init__(self, array: np.ndarray = STACK, chunks: tuple[int, ...] | None = None) -> None:
        self.array, self.shape = array, array.shape
        self.chunks = chunks
        self.windows: list[tuple[slice, ...]] = []

    def __getitem__(self, windows: tuple[slice, ...]) -> np.ndarray:
        assert len(windows) == len(self.shape)
        for window, side in zip(windows, self.shape, strict=True):
            assert window.step is None
            assert 0 <= window.start < window.stop <= side
        self.windows.append(windows)
        return self.array[windows]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise AssertionError("the array was read whole")

    @property
    def voxels_read(self) -> int:
        return sum(self.array[windows].size for windows in self.windows)


def indices(ndim: int) -> st.SearchStrategy[Any]:
    part = st.one_of(
        st.integers(-7, 6),
        st.slices(9),
        st.builds(slice, *[st.none() | st.integers(-12, 12)] * 2, st.sampled_from([-3, -1, 2, 4])),
    )
    plain = st.lists(part, max_size=ndim).map(tuple)
    dotted = st.tuples(
        st.lists(part, max_size=1), st.just([Ellipsis]), st.lists(part, max_size=ndim - 1)
    ).map(lambda parts: tuple(one for given in parts for one in given))
    return plain | dotted | part | st.just(Ellipsis)


@given(indices(3), st.sampled_from([None, (1, 8, 9), (3, 2, 4), (7, 8, 9)]), st.booleans())
def test_an_index_gives_what_numpy_gives(
    index: Any, chunks: tuple[int, ...] | None, small: bool
) -> None:
    source = Counting(chunks=chunks)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(arrays, "BAND_BYTES", 40)
        got = Volume.from_array(source)[index]
    np.testing.assert_array_equal(got, STACK[index])
    assert (got.shape, got.dtype) == (STACK[index].shape, STACK.dtype)
    np.testing.assert_array_equal(Volume.from_array(STACK)[index], STACK[index])


@given(indices(2))
def test_an_index_of_a_slice_gives_what_numpy_gives(index: Any) -> None:
    plane = STACK[0, :, :7]
    np.testing.assert_array_equal(Volume.from_array(Counting(plane))[index], plane[index])


def test_only_what_is_asked_for_is_read() -> None:
    source = Counting(chunks=(2, 8, 9))
    volume = Volume.from_array(source)
    assert volume[3].shape == (8, 9)
    assert source.windows == [(slice(3, 4), slice(0, 8), slice(0, 9))]
    source.windows.clear()
    assert volume[-1, 2, ::-4].tolist() == STACK[-1, 2, ::-4].tolist()
    assert source.voxels_read == 9
    source.windows.clear()
    volume[::3]
    assert [window[0] for window in source.windows] == [slice(0, 1), slice(3, 4), slice(6, 7)]
    source.windows.clear()
    assert volume[5:5].shape == (0, 8, 9)
    assert source.windows == []


@pytest.mark.parametrize("index", [[1, 2], np.array([0]), STACK > 3, None, True, "z", 1.5])
@pytest.mark.parametrize("inside", [False, True])
def test_other_kinds_of_index_are_refused(index: Any, inside: bool) -> None:
    with pytest.raises(InputError, match=r"scan takes integers.*np\.asarray\(volume\)"):
        Volume.from_array(STACK, name="scan")[(0, index) if inside else index]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (7, "index 7 is out of range: axis 0 of scan has length 7"),
        ((0, -9), "index -9 is out of range: axis 1 of scan has length 8"),
        ((0, 0, 0, 0), "3 axes, got 4 indices"),
        ((..., 0, ...), "more than one Ellipsis"),
        (slice(None, None, 0), "step of a slice of scan is 0"),
        (slice(0, 1.5), "takes integers and slices"),
    ],
)
def test_an_index_that_does_not_fit(index: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Volume.from_array(STACK, name="scan")[index]


def test_an_index_beyond_the_end_is_an_index_error_too() -> None:
    with pytest.raises(IndexError):
        Volume.from_array(STACK)[99]


def test_a_volume_has_a_length_and_slices_to_iterate_over() -> None:
    volume = Volume.from_array(Counting(), name="scan")
    assert len(volume) == 7
    assert volume.size == STACK.size
    np.testing.assert_array_equal(np.stack(list(volume)), STACK)
    np.testing.assert_array_equal(np.stack(list(Volume.from_array(STACK[0]))), STACK[0])


def test_numpy_reads_the_whole_volume() -> None:
    volume = Volume.from_array(Counting())
    array = np.asarray(volume)
    np.testing.assert_array_equal(array, STACK)
    assert np.asarray(volume, np.float32).dtype == np.float32
    assert np.mean(volume) == STACK.mean()
    with pytest.raises(ValueError, match="not in memory"):
        np.array(volume, copy=False)


def test_an_array_in_memory_is_copied_only_if_asked() -> None:
    volume = Volume.from_array(STACK)
    assert np.shares_memory(np.asarray(volume), STACK)
    assert np.shares_memory(volume[2:4], STACK)
    assert not np.shares_memory(np.array(volume), STACK)


def test_foreign_byte_order_is_turned() -> None:
    volume = Volume.from_array(STACK.astype(">u2"))
    assert volume.dtype.isnative
    assert all(part.dtype.isnative for part in (volume[1], volume.slice(1), np.asarray(volume)))
    np.testing.assert_array_equal(np.asarray(volume), STACK)


def test_volumes_are_equal_only_to_themselves() -> None:
    one, other = Volume.from_array(STACK), Volume.from_array(STACK)
    assert one != other
    assert len({one, other, one}) == 2


# --- arrays of other libraries --------------------------------------------------------------------


def sources(folder: Path) -> dict[str, Any]:
    stored = zarr.create_array(folder / "a.zarr", shape=STACK.shape, dtype="u2", chunks=(2, 4, 9))
    stored[...] = STACK
    file = h5py.File(folder / "a.h5", "w")
    return {
        "lists": STACK.tolist(),
        "dask": dask.array.from_array(STACK, chunks=(2, 4, 9)),
        "xarray": xarray.DataArray(STACK, dims=("z", "y", "x")),
        "zarr": stored,
        "h5py": file.create_dataset("data", data=STACK, chunks=(2, 4, 9)),
        "torch": torch.from_numpy(STACK.astype(np.int32)),
    }


@pytest.mark.parametrize("kind", ["lists", "dask", "xarray", "zarr", "h5py", "torch"])
def test_arrays_of_other_libraries_go_in(tmp_path: Path, kind: str) -> None:
    source = sources(tmp_path)[kind]
    volume = formats.open(source, voxel_size=(0.5, 0.2, 0.2), unit="um", name="mine")
    assert (volume.name, volume.axes, volume.shape) == ("mine", "zyx", STACK.shape)
    assert volume.voxel_size == (0.5, 0.2, 0.2)
    assert volume.chunks == ((2, 4, 9) if kind in ("dask", "zarr", "h5py") else None)
    for part in (volume[::-2, 3, 1:5], volume.block(slice(1, 3), slice(0, 8), slice(2, 3))):
        assert isinstance(part, np.ndarray)
    np.testing.assert_array_equal(volume[::-2, 3, 1:5], STACK[::-2, 3, 1:5])
    np.testing.assert_array_equal(np.asarray(volume), STACK)


def test_a_dask_array_is_computed_only_where_it_is_read() -> None:
    computed = []

    def plane(block_info: Any = None) -> np.ndarray:
        computed.append(block_info[None]["chunk-location"][0])
        return np.full((1, 40, 50), block_info[None]["chunk-location"][0], np.uint8)

    lazy = dask.array.map_blocks(plane, chunks=((1,) * 6, (40,), (50,)), dtype=np.uint8)
    volume = formats.open(lazy)
    computed.clear()  # dask tries the function once
    assert volume[4].max() == 4
    assert computed == [4]


@pytest.mark.parametrize("make", [lambda v: v, lambda v: v.to_dask()])
def test_an_array_that_forbids_being_read_whole(make: Any) -> None:
    source = Counting(chunks=(1, 8, 9))
    again = Volume.from_array(make(Volume.from_array(source)))
    np.testing.assert_array_equal(again[2], STACK[2])
    assert source.voxels_read <= STACK.size


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([[1, 2], [3]], "scan: the lists have different lengths"),
        (object(), "scan is of type object; give an array, a path, or a list of files"),
        (None, "scan is of type NoneType"),
        ([], "scan has 1 dimensions"),
        ({"a": 1}, "scan is of type dict"),
        (np.zeros((4, 5), complex), "scan holds complex128 values"),
        (xarray.DataArray(STACK, dims=("time", "y", "x")), "scan holds 7 times; .*axes='zyx'"),
        (xarray.DataArray(STACK, dims=("x", "y", "x2")), "scan holds 9 images along x2"),
        (torch.zeros(4, 5, requires_grad=True), "cannot be made a NumPy array"),
    ],
)
def test_what_is_no_array(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        formats.open(source, name="scan")


def test_axes_that_an_array_names_are_brought_to_order() -> None:
    lazy = xarray.DataArray(dask.array.from_array(STACK.T), dims=("x", "y", "z"))
    for source in (lazy, lazy.rename(x="column", y="row", z="slice"), lazy.expand_dims("channel")):
        volume = formats.open(source)
        assert "xarray" in repr(volume)
        np.testing.assert_array_equal(volume[1:3, ::2], STACK[1:3, ::2])
        np.testing.assert_array_equal(volume, STACK)


def test_an_array_of_unknown_size() -> None:
    array = dask.array.from_array(STACK)
    with pytest.raises(InputError, match="compute_chunk_sizes"):
        formats.open(array[array[:, 0, 0] > 100])


# --- and come out ---------------------------------------------------------------------------------


def test_dask_reads_the_parts_that_are_computed() -> None:
    source = Counting(chunks=(1, 8, 9))
    lazy = Volume.from_array(source).to_dask()
    assert isinstance(lazy, dask.array.Array)
    assert (lazy.shape, lazy.dtype) == (STACK.shape, STACK.dtype)
    assert source.windows == []
    np.testing.assert_array_equal(lazy[2:4].compute(), STACK[2:4])
    np.testing.assert_array_equal(lazy.rechunk((1, 8, 9))[-1].compute(), STACK[-1])
    assert lazy.mean().compute() == STACK.mean()


def test_dask_chunks_are_whole_chunks_of_the_file() -> None:
    class Large:
        shape, dtype, chunks = (4096, 2048, 2048), np.dtype(np.uint16), (48, 96, 128)

        def __getitem__(self, windows: Any) -> np.ndarray:
            raise AssertionError("nothing is read")

    lazy = Volume.from_array(Large()).to_dask()
    for lengths, chunk in zip(lazy.chunks, Large.chunks, strict=True):
        assert all(length % chunk == 0 for length in lengths[:-1])
    assert lazy.npartitions < 1000


def test_xarray_has_coordinates_in_the_unit() -> None:
    source = Counting(chunks=(1, 8, 9))
    volume = Volume.from_array(source, voxel_size=(None, 0.5, 0.25), unit="um", name="scan")
    array = volume.to_xarray()
    assert source.windows == []
    assert (array.dims, array.name) == (("z", "y", "x"), "scan")
    assert "z" not in array.coords
    assert array.x.values.tolist() == [0.25 * n for n in range(9)]
    assert array.y.attrs == {"units": "um"}
    np.testing.assert_array_equal(array.sel(x=0.5, y=1.5).values, STACK[:, 3, 2])
    again = formats.open(array, voxel_size=1, unit="um")
    np.testing.assert_array_equal(again[1], STACK[1])


def test_the_coordinates_of_xarray_give_the_voxel_size() -> None:
    known = Volume.from_array(STACK, voxel_size=(0.5, 0.1, 0.065), unit="um")
    again = Volume.from_array(known.to_xarray())
    assert (again.voxel_size, again.unit) == ((0.5, 0.1, 0.065), "um")
    without_z = Volume.from_array(STACK, voxel_size=(None, 0.1, 0.2), unit="um").to_xarray()
    assert Volume.from_array(without_z).voxel_size == (None, 0.1, 0.2)
    given = Volume.from_array(known.to_xarray(), voxel_size=3, unit="nm")
    assert (given.voxel_size, given.unit) == ((3, 3, 3), "nm")
    assert Volume.from_array(STACK).with_array(known.to_xarray()).voxel_size is None


@pytest.mark.parametrize(
    ("positions", "attributes", "length"),
    [
        ([0, 1, 2, 3], {"units": "micrometer"}, 1),
        (np.uint8([9, 6, 3, 0]), {"units": "um"}, 3),
        ([0, 1, 2, 4], {"units": "um"}, None),
        ([0, 1, 2, 3], {}, None),
        ([0, 1, 2, 3], {"units": "pixel"}, None),
        ([0, 1, 2, 3], {"units": "furlong"}, None),
        ([0, np.nan, 2, 3], {"units": "um"}, None),
        ([0, 0, 0, 0], {"units": "um"}, None),
        (list("abcd"), {"units": "um"}, None),
    ],
)
def test_only_regular_coordinates_with_a_unit_are_a_voxel_size(
    positions: Any, attributes: dict[str, str], length: float | None
) -> None:
    coordinates = {axis: (axis, positions, attributes) for axis in "yx"}
    source = xarray.DataArray(STACK[0, :4, :4], coordinates, ("y", "x"))
    assert Volume.from_array(source).voxel_size == (None if length is None else (length, length))


def test_xarray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(InputError, match=r"pip install 'matphase\[xarray\]'"):
        Volume.from_array(STACK).to_xarray()


@pytest.mark.parametrize("suffix", [".tif", ".h5", ".ome.zarr"])
def test_files_go_through_dask_and_travel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    formats.save(path, Volume.from_array(STACK))
    volume = pickle.loads(pickle.dumps(formats.open(path)))
    np.testing.assert_array_equal(volume.to_dask().compute(), STACK)
    np.testing.assert_array_equal(volume[::-3, ..., 1:7:2], STACK[::-3, ..., 1:7:2])
