"""Open and save volumes; the format follows from a path's suffix or a folder's content."""

import re
from collections.abc import Sequence
from glob import glob, has_magic
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from matphase.images.arrays import Arranged, array_like
from matphase.images.formats import _zarr_paths, hdf5, metaimage, nrrd, png, raw, tiff
from matphase.images.formats._axes import Stored, volume_of
from matphase.images.formats._order import in_natural_order
from matphase.images.formats._reading import (
    SliceFiles,
    check_link,
    check_one_kind,
    files_among,
    slices_in,
)
from matphase.images.formats._zarr_paths import OmeVersion, check_replaceable
from matphase.images.formats._zarr_paths import has_metadata as is_zarr
from matphase.images.volume import Volume
from matphase.images.voxel_size import coordinates_of, spacing_along
from matphase.support.errors import FormatError, InputError, OutputError
from matphase.support.files import atomic_write

__all__ = [
    "OmeVersion",
    "check_replaceable",
    "files_of",
    "is_raw",
    "is_zarr",
    "open",
    "save",
    "slice_files",
    "write",
]

_TIFF = (".tif", ".tiff")
_PNG = (".png",)
_ZARR = (_zarr_paths.SUFFIX,)
_NPY = (".npy",)
_WITH_HEADER = (*_TIFF, *_PNG, *_NPY, *hdf5.SUFFIXES, *nrrd.SUFFIXES, *metaimage.SUFFIXES)
_KINDS = (
    "a TIFF (.tif, .tiff), a PNG (.png), HDF5 (.h5, .hdf5, .nxs), an OME-Zarr (.ome.zarr, .zip), "
    "NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), .npy, or raw data with shape= and dtype="
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+-]+://|(https?|s3|gs|ftp|sftp|file):/", re.IGNORECASE)


def open(  # noqa: A001 - `matphase.open` reads like the built-in, and does the same for volumes
    source: Any,
    *,
    axes: str | None = None,
    voxel_size: float | Sequence[float | None] | None = None,
    unit: str | None = None,
    shape: Sequence[int] | None = None,
    dtype: Any = None,
    name: str = "array",
) -> Volume:
    """Open a slice or a stack from a file, a folder, several files, or an array.

    Voxels are read when asked for. docs/formats.md says what is read of each format. Of HDF5, a
    dataset is named as 'file.h5:/entry/data', which may be left out where the file holds only one.
    Of OME-Zarr, the finest level of an image is read; label images are at 'image.zarr/labels/name'.
    A folder, a pattern such as 'scan/slice_*.tif' and a list of files are a stack of TIFF or PNG
    files of one slice each; those of a folder or a pattern are taken in the order of the numbers in
    their names, those of a list as they are listed.

    Axes that the file records are brought to the order z, y, x; axes of times, channels and the
    like are dropped where they have length 1. Voxel size and unit are those of the file where it
    records them, else None. A stack of files often does not record its slice spacing, so that the
    entry of z is None.

    Args:
        source: path, pattern, list of paths, volume, or array: NumPy, zarr, Dask, xarray, h5py, or
            nested lists.
        axes: axes of the file, in place of those that it records: a letter for each in the order
            in which they are stored, such as "zyx", "xyz", "yx" or "czyx". Axes of length 1 may be
            left out. Times that are slices are "zyx" or "tyx".
        voxel_size: one length, or one per axis of the volume in the order z, y, x, in place of the
            file's.
        unit: unit of `voxel_size`, such as "um" or "nm".
        shape: of raw data, the length of each axis as stored, the slowest first.
        dtype: of raw data: "uint8", "uint16", "float32", ..., also "uint16be" for big-endian.
        name: what to call an array in messages; files are called by their path.

    Raises:
        FormatError: a file that is missing, damaged, or of a kind that is not supported, or an
            OME-Zarr image without the scale it should have, unless `voxel_size` is given.
        InputError: colour, several channels, a time series, or arguments that do not fit.
    """
    paths = isinstance(source, str | PathLike) or _are_paths(source)
    if not paths and (shape is not None or dtype is not None):
        raise InputError("shape= and dtype= are for files of raw data; leave them out")
    if isinstance(source, Volume):
        volume = source if axes in (None, source.axes) else volume_of(_stored(source), axes)
    elif isinstance(source, str | PathLike):
        found = _opened(source, shape, dtype, scaled=voxel_size is None)
        volume = volume_of(found, axes)
    elif paths:
        if shape is not None or dtype is not None:
            raise InputError("shape= and dtype= are for one file of raw data; leave them out")
        volume = volume_of(_stack_of(list(map(Path, source)), _files_text(source)), axes)
    else:
        volume = _of_array(source, axes, name)
    if voxel_size is None and unit is None:
        return volume
    return Volume.from_array(volume.data, volume.axes, voxel_size, unit, volume.name)


def save(
    path: str | PathLike[str],
    volume: Volume,
    *,
    overwrite: bool = False,
    compress: bool = True,
    labels: bool = False,
    ome_version: OmeVersion = "0.5",
) -> None:
    """Write a volume to TIFF (.tif, .tiff, .ome.tif), HDF5 (.h5, .hdf5), PNG, or OME-Zarr (.zarr).

    All but PNG keep axes, voxel size and unit; PNG takes one slice of uint8 or uint16. Values are
    never changed: a type that a format does not know is widened to one that holds it exactly, or
    refused. The file or folder appears under its name only when it is complete.

    An OME-Zarr also gets a pyramid of coarser levels. A path 'image.ome.zarr/labels/name' adds a
    label image to an OME-Zarr that exists, in its version.

    Args:
        path: where to; the suffix chooses the format.
        volume: what to write, read a few slices at a time.
        overwrite: replace a file or a Zarr store that exists.
        compress: compress TIFF, HDF5 and OME-Zarr without loss.
        labels: the volume holds labels, of which OME-Zarr's coarser levels are no means.
        ome_version: of OME-Zarr.

    Raises:
        OutputError: another suffix, a path that exists or cannot be written, values that the
            format cannot hold, or labels that do not fit on their image.
    """
    path = Path(path)
    image = _zarr_paths.image_of(path)
    if image is not None:
        from matphase.images.formats import ome_zarr_writing

        ome_zarr_writing.save_label(path, image, volume, overwrite=overwrite, compress=compress)
        return
    suffix = path.suffix.lower()
    if suffix not in (*_TIFF, *_PNG, *_ZARR, ".h5", ".hdf5"):
        raise OutputError(
            f"{path} cannot be written: use one of the suffixes .tif, .tiff, .ome.tif, .h5, .hdf5, "
            ".ome.zarr, .png"
        )
    replaces = check_replaceable if suffix in _ZARR else None
    with atomic_write(path, overwrite=overwrite, replaces=replaces) as target:
        write(target, volume, compress=compress, labels=labels, ome_version=ome_version)


def write(
    target: Path,
    volume: Volume,
    *,
    compress: bool = True,
    labels: bool = False,
    ome_version: OmeVersion = "0.5",
) -> None:
    """Write a volume in place, for callers that rename complete files themselves.

    Raises:
        OSError: the file cannot be written.
        OutputError: values that the format cannot hold.
    """
    suffix = target.suffix.lower()
    if suffix in _TIFF:
        tiff.save(target, volume, compress=compress)
    elif suffix in _PNG:
        png.save(target, volume)
    elif suffix in _ZARR:
        from matphase.images.formats import ome_zarr_writing

        ome_zarr_writing.save(target, volume, labels=labels, compress=compress, version=ome_version)
    else:
        hdf5.save(target, volume, compress=compress)


def files_of(volume: Volume) -> list[Path]:
    """List the files, folders or patterns that a volume is read from; empty for a user's array."""
    if parts := getattr(volume.data, "parts", ()):  # made of other volumes
        return [file for part in parts for file in files_of(part)]
    data = volume.data.array if isinstance(volume.data, Arranged) else volume.data
    if isinstance(data, SliceFiles):
        whole = Path(volume.name)
        return [*([whole] if whole.is_dir() or has_magic(volume.name) else []), *data.paths]
    path, _ = hdf5.split_path(Path(volume.name))
    if isinstance(data, np.ndarray) or not path.exists():
        return []
    further = [one for one in getattr(data, "sources", ()) if one != path]
    return [path, *further]


def slice_files(volume: Volume) -> list[Path] | None:
    """List the files of a stack of one file per slice; None for other volumes."""
    data = volume.data
    if isinstance(data, Arranged) and data.kept[0] == 0:
        data = data.array
    return list(data.paths) if isinstance(data, SliceFiles) else None


def is_raw(path: str | PathLike[str]) -> bool:
    """Tell whether a path is a file of a kind that does not describe itself."""
    file = Path(path)
    return (
        file.is_file()
        and file.suffix.lower() not in _WITH_HEADER
        and not _zarr_paths.is_zipped(file)
        and not hdf5.is_hdf5(file)
    )


def _opened(
    source: str | PathLike[str], shape: Sequence[int] | None, dtype: Any, *, scaled: bool
) -> Stored:
    """Open what a path names; unless `scaled`, a missing scale is accepted."""
    if _ADDRESS.match(str(source)) and not Path(source).exists():
        raise FormatError(
            f"{source} is an address; only files on this machine are read, so download it first"
        )
    path = Path(source)
    if shape is not None or dtype is not None:
        return _raw(path, shape, dtype)
    file, inside = hdf5.split_path(path)
    if file.is_dir():
        if _zarr_paths.is_store(file):
            from matphase.images.formats import ome_zarr

            return ome_zarr.open_node(file, scaled=scaled)
        return _stack_of(slices_in(file), str(file))
    if not file.exists():
        check_link(file)
        if has_magic(str(path)):
            return _stack_of(_matches(path), str(path))
        raise _zarr_paths.missing(file)
    if _zarr_paths.is_zipped(file):
        from matphase.images.formats import ome_zarr

        return ome_zarr.open_node(path, scaled=scaled)
    if hdf5.is_hdf5(file):
        return hdf5.open_dataset(file, inside)
    if inside is not None:
        raise FormatError(f"{file} is a file, so there is no {path}; check the path")
    return _file(file)


def _file(file: Path) -> Stored:
    suffix = file.suffix.lower()
    if suffix in _TIFF:
        return tiff.open_file(file)
    if suffix in _PNG:
        return png.open_image(file)
    if suffix in _NPY:
        return raw.open_npy(file)
    if suffix in nrrd.SUFFIXES:
        return nrrd.open_file(file)
    if suffix in metaimage.SUFFIXES:
        return metaimage.open_file(file)
    if suffix in raw.SUFFIXES:
        raise FormatError(
            f"{file} is raw data, which does not say its size and type; give shape= and dtype="
        )
    if suffix == _zarr_paths.SUFFIX:
        raise FormatError(
            f"{file} is neither a folder of a Zarr store nor a ZIP file of one; check the file"
        )
    raise FormatError(f"{file} is of a kind that is not supported; give {_KINDS}")


def _raw(path: Path, shape: Sequence[int] | None, dtype: Any) -> Stored:
    """Open a file of raw data.

    Raises:
        InputError: the file describes itself, or shape or type are missing.
    """
    if shape is None or dtype is None:
        raise InputError(f"{path} needs shape= and dtype= together; give both")
    if path.exists() and not is_raw(path):
        raise InputError(
            f"shape= and dtype= are for raw data, but {path} says itself what it holds; leave "
            "them out"
        )
    return raw.open_raw(path, shape, dtype)


def _of_array(source: Any, axes: str | None, name: str) -> Volume:
    """Make a volume of an array, whose dimensions may have names, as those of xarray have."""
    array = array_like(source, name)
    names = _dimension_names(array)
    size, unit = None, None
    if hasattr(array, "coords") and hasattr(array, "dims"):
        size, unit = spacing_along(coordinates_of(array))
    return volume_of(Stored(array, name, names, size, unit), axes)


def _dimension_names(array: Any) -> tuple[str, ...] | None:
    """Names of the axes of an array of another library, where it has any."""
    package = type(array).__module__.partition(".")[0]
    if package == "zarr":
        from matphase.images.formats import ome_zarr

        return ome_zarr.dimension_names(array)
    if package == "h5py":
        return hdf5.recorded_axes(array, [array.parent])[0]
    dims = getattr(array, "dims", None)
    return tuple(map(str, dims)) if isinstance(dims, tuple) else None


def _stored(volume: Volume) -> Stored:
    return Stored(volume.data, volume.name, tuple(volume.axes), volume.voxel_size, volume.unit)


def _matches(pattern: Path) -> list[Path]:
    """List the files that a pattern matches, slice_2 before slice_10.

    Raises:
        FormatError: there are none, or a link leads nowhere.
    """
    found = map(Path, glob(str(pattern)))  # noqa: PTH207 - `Path.glob` takes no whole pattern
    paths = files_among(found)
    if not paths:
        raise FormatError(f"no file matches {pattern}; check the pattern")
    return in_natural_order(paths)


def _stack_of(paths: list[Path], name: str) -> Stored:
    check_one_kind(paths, name)
    if paths[0].suffix.lower() in _PNG:
        return png.open_slices(paths, name)
    return tiff.open_slices(paths, name)


def _are_paths(source: Any) -> bool:
    return (
        isinstance(source, list | tuple)
        and len(source) > 0
        and all(isinstance(one, str | PathLike) for one in source)
    )


def _files_text(paths: Sequence[str | PathLike[str]]) -> str:
    more = f" and {len(paths) - 1} more files" if len(paths) > 1 else ""
    return f"{Path(paths[0])}{more}"
