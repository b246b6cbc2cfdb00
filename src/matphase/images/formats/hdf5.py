"""HDF5, the format of synchrotron beamlines: one dataset of a file, read block by block.

Axes are taken from attributes of the dataset (vigra's `axistags`, `axes` and the like), NeXus, or
dimension labels and scales, in this order. Voxel sizes are taken from attributes, too:
`element_size_um` (z, y, x in micrometres, as BigDataViewer tools write it), or `voxel_size` (one
number, or one per axis, NaN for a slice spacing that is not known) together with `unit` or
`units`; else from the regular coordinates of NeXus axes and dimension scales with a unit. Other
attributes are not guessed at.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from matphase.images.formats._axes import Stored, letter_of, names_in, unnamed
from matphase.images.formats._hdf5_links import (
    broken_link,
    check_filters,
    check_shape,
    datasets_in,
    sources_of,
)
from matphase.images.formats._reading import reading
from matphase.images.volume import Volume
from matphase.images.voxel_size import spacing_along
from matphase.support.errors import FormatError, InputError

SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".nxs", ".nx5", ".nexus")

_WITH_DATASET = re.compile(
    r"(?P<file>.*\.(?:h5|hdf5|hdf|he5|nxs|nx5|nexus)):(?P<dataset>[^:]*)", re.IGNORECASE
)


def split_path(path: Path) -> tuple[Path, str | None]:
    """Split 'file.h5:/entry/data' or 'file.h5/entry/data' into file and dataset.

    The dataset is None where none is named. Whatever its suffix, a path that goes on behind an
    existing file is split there.
    """
    match = _WITH_DATASET.fullmatch(str(path))
    if match:
        return Path(match["file"]), match["dataset"] or None
    if path.exists():
        return path, None
    file, colon, dataset = str(path).rpartition(":")
    if colon and Path(file).is_file():
        return Path(file), dataset or None
    for parent in path.parents:
        if parent.is_file():
            return parent, f"/{path.relative_to(parent).as_posix()}"
    return path, None


def is_hdf5(path: Path) -> bool:
    """Tell whether a file is HDF5, by its suffix or its first bytes."""
    return path.suffix.lower() in SUFFIXES or bool(h5py.is_hdf5(path))


def open_dataset(path: Path, dataset: str | None) -> Stored:
    """Open a dataset, which may lie behind links, or be put together from other files.

    Args:
        path: the file.
        dataset: where in the file; None takes the only one that can be a slice or a stack, or
            the one that NeXus calls the signal.

    Raises:
        FormatError: a file that is damaged or no HDF5, or no such dataset, or several to choose
            from, which the message lists; a file or filter that the dataset needs is missing.
        InputError: a dataset that holds no numbers.
    """
    with path.open("rb") as raw:
        if raw.read(4) == b"\x0e\x03\x13\x01":
            raise FormatError(f"{path} is HDF4, not HDF5; convert it (h4toh5, or ImageJ to TIFF)")
    with reading(path), h5py.File(path, "r") as file:
        places, found = _chosen(file, path, dataset)
        name = f"{path}:{places[0]}"
        if found.dtype.kind not in "biuf":
            raise InputError(f"{name} holds {_kind(found)}; give a dataset of numbers")
        if found.shape is None:
            raise InputError(f"{name} is empty; give one slice (y, x) or one stack (z, y, x)")
        if len(found.shape) < 2:
            raise InputError(
                f"{name} has shape {found.shape}; give one slice (y, x) or one stack (z, y, x)"
            )
        source = _Dataset(
            path,
            places[0],
            found.shape,
            found.dtype.newbyteorder("="),
            found.chunks,
            sources_of(found, name),
        )
        axes, scales = recorded_axes(found, [file.get(_parent(one)) for one in places])
        size, unit = _voxel_size(found, axes, scales)
    return Stored(source, name, axes, size, unit)


def save(path: Path, volume: Volume, *, compress: bool) -> None:
    """Write dataset `/data` with attributes `axes`, `voxel_size` and `unit`, slice by slice.

    Raises:
        OSError: the disk is full, or fails otherwise.
    """
    with path.open("w+b") as raw:
        target = _DeferringFile(raw)
        _write(target, volume, compress=compress)
        if target.error is not None:
            raise target.error


class _DeferringFile:
    """A file that holds back an error of writing until HDF5 is done.

    HDF5 cannot close a file whose last parts it could not write: it crashes the process instead.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.error: OSError | None = None
        self.seek = raw.seek
        self.tell = raw.tell
        self.read = raw.read
        self.readinto = raw.readinto  # type: ignore[attr-defined]

    def write(self, data: memoryview) -> int:
        self._try(self._raw.write, data)
        return len(data)

    def truncate(self, size: int) -> int:
        self._try(self._raw.truncate, size)
        return size

    def flush(self) -> None:
        self._try(self._raw.flush)

    def _try(self, action: Callable[..., Any], *args: Any) -> None:
        if self.error is None:
            try:
                action(*args)
            except OSError as error:
                self.error = error


def _write(target: _DeferringFile, volume: Volume, *, compress: bool) -> None:
    with h5py.File(target, "w") as file:
        data = file.create_dataset(
            "data",
            shape=volume.shape,
            dtype=volume.dtype,
            chunks=(1, *volume.shape[1:]) if volume.ndim == 3 else volume.shape,
            compression="gzip" if compress else None,
            compression_opts=4 if compress else None,
            shuffle=compress,
        )
        for z, plane in enumerate(volume.slices()):
            data[z if volume.ndim == 3 else ...] = plane
        data.attrs["axes"] = volume.axes
        if volume.voxel_size is not None:
            data.attrs["voxel_size"] = [
                math.nan if length is None else length for length in volume.voxel_size
            ]
            data.attrs["unit"] = volume.unit


@dataclass(frozen=True, eq=False)
class _Dataset:
    """Array of a dataset; its file is open only while it is read."""

    path: Path
    dataset: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    sources: tuple[Path, ...]

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block, given by one window per axis; HDF5 decodes only the chunks that it touches.

        Raises:
            FormatError: the file, or one that it reads from, is gone, changed or damaged.
        """
        for source in self.sources[1:]:
            if not source.exists():  # HDF5 would give zeros
                raise FormatError(f"{source}, which {self.path} reads from, is gone; restore it")
        with reading(self.path), h5py.File(self.path, "r") as file:
            found = file[self.dataset]
            check_filters(found, f"{self.path}:{self.dataset}")
            block: NDArray[Any] = found[windows]
        return block


def _parent(place: str) -> str:
    return place.rpartition("/")[0] or "/"


def _kind(dataset: h5py.Dataset) -> str:
    if h5py.check_string_dtype(dataset.dtype) or dataset.dtype.kind in "SUO":
        return "texts or objects"
    return f"{dataset.dtype} values"


def _chosen(file: h5py.File, path: Path, dataset: str | None) -> tuple[list[str], h5py.Dataset]:
    """Find the dataset to read, and the places in the file where it is, as asked for first."""
    if dataset is not None:
        try:
            found = file[dataset]
        except (KeyError, ValueError, OSError):
            found = None
        place = f"/{dataset.strip('/')}"
        if isinstance(found, h5py.Group) and (signal := _signal(found)) is not None:
            place, found = f"{place}/{signal}", found[signal]
        if isinstance(found, h5py.Dataset):
            check_shape(found, f"{path}:{place}")
            return [place], found
        link = broken_link(file, dataset)
        if link is not None:
            raise FormatError(f"{path}: {link}; copy what is missing, or correct the link")
        all_of, broken = datasets_in(file)
        listed = _listed(_candidates(all_of), broken, path)
        raise FormatError(f"{path} has no dataset {dataset}; {listed}")
    all_of, broken = datasets_in(file)
    candidates = _candidates(all_of)
    if len(candidates) == 1 and not broken:
        return candidates[0]
    shown = [
        ([place, *places], found)
        for places, found in candidates
        for place in places
        if _signal(file[_parent(place)]) == place.rpartition("/")[2]
    ]
    if len(shown) == 1:
        return shown[0]
    several = "holds several datasets" if candidates else "names no dataset"
    if broken and candidates:
        several = "holds links that lead nowhere"
    raise FormatError(f"{path} {several}; {_listed(candidates, broken, path)}")


def _signal(group: h5py.Group) -> str | None:
    """Name the dataset that NeXus shows of a group; None where it has none."""
    name = _text(group.attrs.get("signal"))
    if name is not None and isinstance(group.get(name), h5py.Dataset):
        return name
    if _text(group.attrs.get("NX_class")) == "NXdata":  # before 2014, the dataset had the mark
        marked = [
            key
            for key in group
            if isinstance(found := group.get(key), h5py.Dataset)
            and str(np.asarray(found.attrs.get("signal", "")).item() or "") in ("1", "b'1'")
        ]
        return marked[0] if len(marked) == 1 else None
    return None


def _candidates(
    all_of: list[tuple[list[str], h5py.Dataset]],
) -> list[tuple[list[str], h5py.Dataset]]:
    """Choose the datasets that can be a slice or a stack, or else those with more axes."""
    numbers = [
        (places, dataset)
        for places, dataset in all_of
        if dataset.dtype.kind in "biuf" and dataset.shape is not None and dataset.ndim >= 2
    ]
    longer = [sum(length > 1 for length in dataset.shape) for _, dataset in numbers]
    fitting = [
        one
        for one, axes in zip(numbers, longer, strict=True)
        if axes in (2, 3) or one[1].ndim in (2, 3)
    ]
    return fitting or [one for one, axes in zip(numbers, longer, strict=True) if axes > 3]


def _listed(candidates: list[tuple[list[str], h5py.Dataset]], broken: list[str], path: Path) -> str:
    nowhere = f" ({'; '.join(broken[:4])})" if broken else ""
    if not candidates:
        return f"it holds no slice or stack of numbers{nowhere}; check the file"
    shown = ", ".join(f"{path}:{places[0]} {found.shape}" for places, found in candidates[:8])
    more = f" and {len(candidates) - 8} more" if len(candidates) > 8 else ""
    return f"choose one of {shown}{more}{nowhere}"


_NAMES = ("axistags", "axes", "axis_order", "dimension_names", "_ARRAY_DIMENSIONS")
"""Attributes of a dataset in which programs name its axes."""

_Scales = list[tuple[NDArray[Any], str] | None]


def recorded_axes(
    dataset: h5py.Dataset, groups: list[Any]
) -> tuple[tuple[str, ...] | None, _Scales]:
    """Read what a file records about the axes of a dataset.

    Args:
        dataset: of an open file.
        groups: the groups in which the dataset lies.

    Returns:
        the names of the axes, or None; and coordinates with their unit, where there are any.
    """
    nexus: tuple[str, ...] | None = None
    signal: Any = None
    for group in groups:
        if isinstance(group, h5py.Group) and nexus is None and "axes" in group.attrs:
            nexus, signal = names_in(group.attrs["axes"]), group
    dims = list(dataset.dims)
    labels = tuple(axis.label for axis in dims)
    scales: list[Any] = [axis[0] if len(axis) else None for axis in dims]
    names = tuple(axis.keys()[0] if len(axis) else "" for axis in dims)
    for found in (
        *(names_in(dataset.attrs.get(name)) for name in _NAMES),
        nexus,
        labels,
        names,
    ):
        if found is None or not any(letter_of(one) for one in found):
            continue
        recorded = tuple("" if one == "." else one for one in found)
        if found is nexus:
            scales = [signal.get(one) if one else None for one in recorded]
        return recorded, [
            (one[()], _text(one.attrs.get("units")) or "")
            if isinstance(one, h5py.Dataset) and one.shape == (length,) and length > 1
            else None
            for one, length in zip(scales, dataset.shape, strict=False)
        ]
    return None, []


def _voxel_size(
    dataset: h5py.Dataset, axes: tuple[str, ...] | None, scales: _Scales
) -> tuple[tuple[float | None, ...] | None, str | None]:
    """Read the length along each axis of a dataset, and the unit; None where not recorded."""
    attributes = dataset.attrs
    known = axes if axes is not None and len(axes) == dataset.ndim else unnamed(dataset.shape)
    letters = [letter_of(one) for one in known]
    space = [axis for axis, letter in enumerate(letters) if letter in ("z", "y", "x")]
    size: list[float | None] = [None] * dataset.ndim
    if "element_size_um" in attributes:
        lengths, unit = _numbers(attributes["element_size_um"]), "um"
        if len(lengths) not in (1, 3):
            return None, None
        by_letter = dict(zip("zyx", lengths, strict=True)) if len(lengths) == 3 else {}
        for axis in space:
            size[axis] = by_letter.get(letters[axis] or "", lengths[-1])
    elif "voxel_size" in attributes:
        lengths = _numbers(attributes["voxel_size"])
        unit = _text(attributes.get("unit", attributes.get("units"))) or ""
        lengths = lengths * len(space) if len(lengths) == 1 else lengths
        if len(lengths) < len(space):
            return None, None
        # Lengths belong to the last axes: a slice keeps the pixel size of the stack it is from.
        for axis, length in zip(reversed(space), reversed(lengths), strict=False):
            size[axis] = length
    else:
        found, recorded = spacing_along(scales)
        return found, recorded
    return tuple(
        None if length is not None and math.isnan(length) else length for length in size
    ), unit


def _numbers(value: Any) -> list[float]:
    array = np.atleast_1d(np.asarray([] if value is None else value))
    return [float(number) for number in array.ravel()] if array.dtype.kind in "iuf" else []


def _text(value: Any) -> str | None:
    """Read an attribute as text: HDF5 has strings of several kinds."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, str) else None
