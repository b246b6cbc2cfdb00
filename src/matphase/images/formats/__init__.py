"""Open and save volumes; the suffix of a path, or what a folder holds, chooses the format."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from matphase.images.formats import _zarr_paths, hdf5, png, tiff
from matphase.images.formats._reading import slices_in
from matphase.images.formats._zarr_paths import OmeVersion
from matphase.images.formats._zarr_paths import has_metadata as is_zarr
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError, OutputError
from matphase.support.files import atomic_write

__all__ = ["OmeVersion", "is_zarr", "open", "save", "write"]

_TIFF = (".tif", ".tiff")
_PNG = (".png",)
_ZARR = (_zarr_paths.SUFFIX,)
_KINDS = "a TIFF (.tif, .tiff), a PNG (.png), HDF5 (.h5, .hdf5, .nxs), or an OME-Zarr (.ome.zarr)"


def open(  # noqa: A001 - `matphase.open` reads like the built-in, and does the same for volumes
    path: str | PathLike[str],
    *,
    axes: str | None = None,
    voxel_size: float | Sequence[float | None] | None = None,
    unit: str | None = None,
) -> Volume:
    """Open a slice or a stack from a file or a folder; pixels are read when asked for.

    TIFF (BigTIFF, ImageJ and OME-TIFF included), PNG of 8 or 16 bit, HDF5 as
    'file.h5:/entry/data' (without a dataset where the file holds only one), OME-Zarr (the finest
    level of an image, label images as 'image.ome.zarr/labels/name', plain Zarr arrays), or a
    folder of TIFF or PNG slices in the order of the numbers in their names. Voxel size and unit
    come from ImageJ and OME metadata or from HDF5 attributes (`matphase.images.formats.hdf5`);
    where the file says nothing, they are None. In a folder of slices their distance is mostly not
    recorded, so its entry in `voxel_size` is None.

    Args:
        path: file, folder, 'file.h5:/dataset', or 'image.ome.zarr/labels/name'.
        axes: "yx" or "zyx". "zyx" reads a TIFF whose pages are called times or channels, or a
            single page, as a stack.
        voxel_size: one length, or one per axis in axes order, in place of the file's.
        unit: unit of `voxel_size`, such as "um" or "nm".

    Raises:
        FormatError: a file that is missing, damaged, or of a kind that is not read here, or an
            OME-Zarr image without the scale it should have, unless `voxel_size` is given.
        InputError: colour, several channels, a time series, or arguments that do not fit.
    """
    if axes not in (None, "yx", "zyx"):
        raise InputError(f"axes {axes!r} are not known; pass 'yx' for a slice, 'zyx' for a stack")
    volume = _opened(Path(path), axes, scaled=voxel_size is None)
    if (axes or volume.axes) == volume.axes and voxel_size is None and unit is None:
        return volume
    if voxel_size is None and unit is None:
        voxel_size, unit = volume.voxel_size, volume.unit
    return Volume.from_source(volume.data, axes or volume.axes, voxel_size, unit, volume.name)


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

        _zarr_paths.check_replaceable(path)
        ome_zarr_writing.save_label(path, image, volume, overwrite=overwrite, compress=compress)
        return
    suffix = path.suffix.lower()
    if suffix not in (*_TIFF, *_PNG, *_ZARR, ".h5", ".hdf5"):
        raise OutputError(
            f"{path} cannot be written: use one of the suffixes .tif, .tiff, .ome.tif, .h5, .hdf5, "
            ".ome.zarr, .png"
        )
    if suffix in _ZARR:
        _zarr_paths.check_replaceable(path)
    with atomic_write(path, overwrite=overwrite) as target:
        write(target, volume, compress=compress, labels=labels, ome_version=ome_version)


def write(
    target: Path,
    volume: Volume,
    *,
    compress: bool = True,
    labels: bool = False,
    ome_version: OmeVersion = "0.5",
) -> None:
    """Write a volume in place, for callers that see to it themselves that files become whole.

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


def _opened(path: Path, axes: str | None, *, scaled: bool) -> Volume:
    """Open a volume as the file describes it; unless `scaled`, its voxel size is of no concern."""
    file, dataset = hdf5.split_path(path)
    if _zarr_paths.is_store(file) and file.is_dir():
        from matphase.images.formats import ome_zarr

        return ome_zarr.open_node(file, axes, scaled=scaled)
    if file.is_dir():
        paths = slices_in(file)
        if paths[0].suffix.lower() in _PNG:
            return png.open_folder(file, paths)
        return tiff.open_folder(file, paths)
    if not file.exists():
        raise _zarr_paths.missing(file)
    suffix = file.suffix.lower()
    if suffix in _TIFF:
        return tiff.open_file(file, axes)
    if suffix in _PNG:
        return png.open_image(file)
    if suffix in hdf5.SUFFIXES:
        return hdf5.open_dataset(file, dataset, axes)
    raise FormatError(f"{file} is of a kind that is not read here; give {_KINDS}")
