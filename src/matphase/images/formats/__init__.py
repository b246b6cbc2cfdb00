"""Open and save volumes; the format follows from a path's suffix or a folder's content."""

from collections.abc import Sequence
from glob import glob, has_magic
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from matphase.images.formats import _zarr_paths, hdf5, png, tiff
from matphase.images.formats._reading import SliceFiles, check_one_kind, in_natural_order, slices_in
from matphase.images.formats._zarr_paths import OmeVersion, check_replaceable
from matphase.images.formats._zarr_paths import has_metadata as is_zarr
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError, OutputError
from matphase.support.files import atomic_write

__all__ = ["OmeVersion", "check_replaceable", "files_of", "is_zarr", "open", "save", "write"]

_TIFF = (".tif", ".tiff")
_PNG = (".png",)
_ZARR = (_zarr_paths.SUFFIX,)
_KINDS = "a TIFF (.tif, .tiff), a PNG (.png), HDF5 (.h5, .hdf5, .nxs), or an OME-Zarr (.ome.zarr)"


def open(  # noqa: A001 - `matphase.open` reads like the built-in, and does the same for volumes
    source: Any,
    *,
    axes: str | None = None,
    voxel_size: float | Sequence[float | None] | None = None,
    unit: str | None = None,
    name: str = "array",
) -> Volume:
    """Open a slice or a stack from a file, a folder, several files, or an array.

    Voxels are read when asked for. Files are TIFF (BigTIFF, ImageJ and OME-TIFF included), PNG of
    8 or 16 bit, HDF5 as 'file.h5:/entry/data' (without a dataset where the file holds only one),
    or OME-Zarr (the finest level of an image, label images as 'image.ome.zarr/labels/name', plain
    Zarr arrays). A folder, a pattern such as 'scan/slice_*.tif' and a list of files are a stack of
    TIFF or PNG files of one slice each; those of a folder or a pattern are taken in the order of
    the numbers in their names, those of a list as they are listed.

    Voxel size and unit come from ImageJ and OME metadata or from HDF5 attributes
    (`matphase.images.formats.hdf5`); where the file does not record them, they are None. A stack of
    files often does not record its slice spacing, so that the entry of z is None.

    Args:
        source: path, pattern, list of paths, volume, or array: NumPy, zarr, Dask, xarray, h5py, or
            nested lists.
        axes: "yx" or "zyx". "zyx" reads a TIFF whose pages are called times or channels, or a
            single page, as a stack.
        voxel_size: one length, or one per axis in axes order, in place of the file's.
        unit: unit of `voxel_size`, such as "um" or "nm".
        name: what to call an array in messages; files are called by their path.

    Raises:
        FormatError: a file that is missing, damaged, or of a kind that is not supported, or an
            OME-Zarr image without the scale it should have, unless `voxel_size` is given.
        InputError: colour, several channels, a time series, or arguments that do not fit.
    """
    if axes not in (None, "yx", "zyx"):
        raise InputError(f"axes {axes!r} are not known; pass 'yx' for a slice, 'zyx' for a stack")
    if isinstance(source, Volume):
        volume = source
    elif isinstance(source, str | PathLike):
        volume = _opened(Path(source), axes, scaled=voxel_size is None)
    elif _are_paths(source):
        volume = _stack_of(list(map(Path, source)), _files_text(source))
    else:
        return Volume.from_array(source, axes, voxel_size, unit, name)
    if (axes or volume.axes) == volume.axes and voxel_size is None and unit is None:
        return volume
    if voxel_size is None and unit is None:
        voxel_size, unit = volume.voxel_size, volume.unit
    return Volume.from_array(volume.data, axes or volume.axes, voxel_size, unit, volume.name)


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
    if isinstance(volume.data, SliceFiles):
        whole = Path(volume.name)
        return [*([whole] if whole.is_dir() or has_magic(volume.name) else []), *volume.data.paths]
    path, _ = hdf5.split_path(Path(volume.name))
    return [] if isinstance(volume.data, np.ndarray) or not path.exists() else [path]


def _opened(path: Path, axes: str | None, *, scaled: bool) -> Volume:
    """Open a volume as the file describes it; unless `scaled`, a missing scale is accepted."""
    file, dataset = hdf5.split_path(path)
    if _zarr_paths.is_store(file) and file.is_dir():
        from matphase.images.formats import ome_zarr

        return ome_zarr.open_node(file, axes, scaled=scaled)
    if file.is_dir():
        return _stack_of(slices_in(file), str(file))
    if not file.exists():
        if has_magic(str(path)):
            return _stack_of(_matches(path), str(path))
        raise _zarr_paths.missing(file)
    suffix = file.suffix.lower()
    if suffix in _TIFF:
        return tiff.open_file(file, axes)
    if suffix in _PNG:
        return png.open_image(file)
    if suffix in hdf5.SUFFIXES:
        return hdf5.open_dataset(file, dataset, axes)
    raise FormatError(f"{file} is of a kind that is not supported; give {_KINDS}")


def _matches(pattern: Path) -> list[Path]:
    """List the files that a pattern matches, slice_2 before slice_10.

    Raises:
        FormatError: there are none.
    """
    found = map(Path, glob(str(pattern)))  # noqa: PTH207 - `Path.glob` takes no whole pattern
    paths = [path for path in found if path.is_file()]
    if not paths:
        raise FormatError(f"no file matches {pattern}; check the pattern")
    return in_natural_order(paths)


def _stack_of(paths: list[Path], name: str) -> Volume:
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
