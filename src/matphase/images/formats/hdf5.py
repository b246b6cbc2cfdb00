"""HDF5, the format of synchrotron beamlines: one dataset of a file, read block by block.

Voxel sizes are taken from attributes of the dataset: `element_size_um` (z, y, x in micrometres,
as ilastik and BigDataViewer tools write it), or `voxel_size` (one number, or one per axis, NaN
for a slice spacing that is not known) together with `unit` or `units`. Other attributes are
not guessed at.
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

from matphase.images.formats._reading import kept_axes, reading, stored_index
from matphase.images.volume import Volume
from matphase.images.voxel_size import VoxelSize, checked_voxel_size, normalised_unit
from matphase.support.errors import FormatError, InputError

SUFFIXES = (".h5", ".hdf5", ".nxs")

_WITH_DATASET = re.compile(r"(?P<file>.*\.(?:h5|hdf5|nxs)):(?P<dataset>[^:]*)", re.IGNORECASE)


def split_path(path: Path) -> tuple[Path, str | None]:
    """Split 'file.h5:/entry/data' into file and dataset; None where no dataset is named."""
    match = _WITH_DATASET.fullmatch(str(path))
    return (Path(match["file"]), match["dataset"] or None) if match else (path, None)


def open_dataset(path: Path, dataset: str | None, axes: str | None = None) -> Volume:
    """Open a dataset as a volume; of more than three axes, those of length 1 are left out.

    Args:
        path: the file.
        dataset: where in the file; None takes the only one that can be a slice or a stack.
        axes: "yx" or "zyx", of the axes that are left; None trusts the attribute or the shape.

    Raises:
        FormatError: a file that is damaged or no HDF5, or no such dataset, or several to choose
            from, which the message lists.
        InputError: a dataset that is no slice or stack of numbers.
    """
    with reading(path), h5py.File(path, "r") as file:
        found = _chosen(file, path, dataset)
        name = f"{path}:{found.name}"
        if found.dtype.kind not in "biuf":
            raise InputError(f"{name} holds {found.dtype} values; give a dataset of numbers")
        kept = kept_axes(found.shape or ())
        if len(kept) not in (2, 3):
            raise InputError(
                f"{name} has shape {found.shape}; give one slice (y, x) or one stack (z, y, x), "
                "not several channels or times"
            )
        source = _Dataset(
            path,
            found.name,
            found.shape,
            kept,
            tuple(found.shape[axis] for axis in kept),
            found.dtype.newbyteorder("="),
            tuple(found.chunks[axis] for axis in kept) if found.chunks else None,
        )
        # Known axes tell a stack of narrow slices from an RGB picture.
        recorded = _text(found.attrs.get("axes"))
        if axes is None and recorded == "zyx"[-len(kept) :]:
            axes = recorded
        voxel_size, unit = _voxel_size(found.attrs, len(kept))
    return Volume.from_array(source, axes, voxel_size, unit, name)


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
    """Array of a dataset without its axes of length 1; the file is open only while it is read."""

    path: Path
    dataset: str
    stored_shape: tuple[int, ...]
    kept: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block, given by one window per axis; HDF5 decodes only the chunks that it touches.

        Raises:
            FormatError: the file is gone, changed or damaged.
        """
        index = stored_index(self.kept, len(self.stored_shape), windows)
        with reading(self.path), h5py.File(self.path, "r") as file:
            block: NDArray[Any] = file[self.dataset][index]
        return block


def _chosen(file: h5py.File, path: Path, dataset: str | None) -> h5py.Dataset:
    if dataset is not None:
        try:
            found = file[dataset]
        except (KeyError, ValueError):
            found = None
        if isinstance(found, h5py.Dataset):
            return found
        raise FormatError(f"{path} has no dataset {dataset}; {_listed(_candidates(file), path)}")
    candidates = _candidates(file)
    if len(candidates) != 1:
        several = "holds several datasets" if candidates else "names no dataset"
        raise FormatError(f"{path} {several}; {_listed(candidates, path)}")
    return candidates[0]


def _candidates(file: h5py.File) -> list[h5py.Dataset]:
    """Find the datasets that can be a slice or a stack."""
    found: list[h5py.Dataset] = []

    def visit(_: str, item: Any) -> None:
        if (
            isinstance(item, h5py.Dataset)
            and item.dtype.kind in "biuf"
            and item.shape is not None
            and len(kept_axes(item.shape)) in (2, 3)
        ):
            found.append(item)

    file.visititems(visit)
    return found


def _listed(candidates: list[h5py.Dataset], path: Path) -> str:
    if not candidates:
        return "it holds no slice or stack of numbers"
    shown = ", ".join(f"{path}:{dataset.name} {dataset.shape}" for dataset in candidates[:8])
    more = f" and {len(candidates) - 8} more" if len(candidates) > 8 else ""
    return f"choose one of {shown}{more}"


def _voxel_size(attributes: Any, ndim: int) -> tuple[VoxelSize | None, str | None]:
    """Read the voxel size and unit; (None, None) where they are missing or not valid."""
    if "element_size_um" in attributes:
        lengths, unit = _numbers(attributes["element_size_um"]), "um"
    else:
        lengths = _numbers(attributes.get("voxel_size"))
        unit = _text(attributes.get("unit", attributes.get("units"))) or ""
    if len(lengths) == 1:
        lengths *= ndim
    if normalised_unit(unit) is None or len(lengths) < ndim:
        return None, None
    axes = "zyx"[-ndim:]
    # Lengths belong to the last axes: a slice keeps the pixel size of the stack it is from.
    size = [
        None if axis == "z" and math.isnan(length) else length
        for axis, length in zip(axes, lengths[-ndim:], strict=True)
    ]
    try:
        return checked_voxel_size(size, unit, axes, "the dataset")
    except InputError:
        return None, None


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
