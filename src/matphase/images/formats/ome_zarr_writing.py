"""Writer of OME-Zarr images and label images: level 0 slab by slab, then the coarser levels."""

import itertools
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.errors import NodeNotFoundError
from zarr.storage import LocalStore

from matphase.images.formats._axes import volume_of
from matphase.images.formats._pyramid import (
    coarser,
    factors_of,
    level_shapes,
    window_above,
    windows,
)
from matphase.images.formats._zarr_paths import OmeVersion, check_replaceable
from matphase.images.formats.ome_zarr import multiscale_of, node_at, open_node
from matphase.images.volume import SLAB_BYTES, Volume
from matphase.support.errors import InputError, OutputError
from matphase.support.files import atomic_write, reason

# UDUNITS-2 names, which the specification asks for.
_UNITS = {
    "m": "meter",
    "cm": "centimeter",
    "mm": "millimeter",
    "um": "micrometer",
    "nm": "nanometer",
}

# Blosc compresses floats better, but does not notice damaged chunks.
_COMPRESSORS: dict[int, dict[str, Any]] = {
    2: {"id": "zstd", "level": 3, "checksum": True},
    3: {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
}

_CHUNKS = {2: (512, 512), 3: (32, 128, 128)}


def save(path: Path, volume: Volume, *, labels: bool, compress: bool, version: OmeVersion) -> None:
    """Write an image with its pyramid in place, slab by slab.

    Args:
        path: the folder, which is made.
        volume: grey values or labels; bool labels are stored as uint8 0 and 1.
        labels: coarser levels are made of labels, not of means, and the metadata say so.
        compress: compress without loss.
        version: of OME-Zarr.

    Raises:
        OSError: the disk is full, or fails otherwise.
        OutputError: labels that are not integers.
    """
    _write(path, volume, level_shapes(volume.shape), {} if labels else None, compress, version)


def save_label(
    path: Path, image_path: Path, volume: Volume, *, overwrite: bool, compress: bool
) -> None:
    """Write a label image into the `labels` group of an image; it is listed there when complete.

    It has the version and the number of levels of its image, and the image's voxel size where its
    own is not known.

    Raises:
        OutputError: no image there, another shape, an existing label image, labels that are
            not integers, or a disk that is full.
    """
    try:
        image = volume_of(open_node(image_path))
        node = node_at(image_path)
    except InputError as error:
        raise OutputError(f"{path} needs an image that it belongs to: {error}") from error
    if isinstance(node, zarr.Array):
        raise OutputError(f"{image_path} is a plain array, which has no labels; choose a new name")
    if image.shape != volume.shape:
        raise OutputError(
            f"labels of shape {volume.shape} do not fit {image_path} of shape {image.shape}; "
            "save them under a name of their own"
        )
    if volume.voxel_size is None:
        volume = Volume.from_array(
            volume.data, volume.axes, image.voxel_size, image.unit, volume.name
        )
    attributes = node.attrs.asdict()
    shapes = level_shapes(volume.shape, len(multiscale_of(image_path, attributes).datasets))
    version: OmeVersion = "0.4" if node.metadata.zarr_format == 2 else "0.5"
    source = {"source": {"image": "../../"}}
    try:
        with atomic_write(
            path, overwrite=overwrite, replaces=check_replaceable, inside_store=True
        ) as target:
            _write(target, volume, shapes, source, compress, version)
        _list_label(path, version)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _write(
    path: Path,
    volume: Volume,
    shapes: list[tuple[int, ...]],
    label: dict[str, Any] | None,
    compress: bool,
    version: OmeVersion,
) -> None:
    """Write an image of levels of `shapes`; `label` holds the metadata of a label image."""
    dtype = volume.dtype
    if label is not None:
        if dtype.kind == "f":
            raise OutputError(
                f"{path.name}: labels must be integers, got {dtype}; save it as an image"
            )
        dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    chunks = [_chunks(shape, dtype) for shape in shapes]
    levels = create_levels(path, volume, dtype, shapes, chunks, label, compress, version)
    _fill(levels[0], volume)
    fill_coarser(levels, labels=label is not None)


def create_levels(
    path: Path,
    like: Volume,
    dtype: np.dtype[Any],
    shapes: list[tuple[int, ...]],
    chunks: list[tuple[int, ...]],
    label: dict[str, Any] | None,
    compress: bool,
    version: OmeVersion,
) -> list[zarr.Array[Any]]:
    """Create an image without voxels: its metadata, and an array for each of `shapes`.

    `label` holds the metadata of a label image; None for grey values.
    """
    zarr_format: Literal[2, 3] = 2 if version == "0.4" else 3
    group = zarr.create_group(
        LocalStore(path),
        zarr_format=zarr_format,
        attributes=_attributes(like, path.name, shapes, label, version),
    )
    return [
        group.create_array(
            str(number),
            shape=shape,
            dtype=dtype,
            chunks=chunk,
            fill_value=0,
            compressors=_COMPRESSORS[zarr_format] if compress else None,
            dimension_names=tuple(like.axes) if zarr_format == 3 else None,
            chunk_key_encoding={
                "name": "default" if zarr_format == 3 else "v2",
                "separator": "/",
            },
        )
        for number, (shape, chunk) in enumerate(zip(shapes, chunks, strict=True))
    ]


def fill_coarser(levels: list[zarr.Array[Any]], *, labels: bool) -> None:
    """Compute the coarser levels of an image from the first one, a chunk at a time."""
    for above, level in itertools.pairwise(levels):
        # slabs twice as thick as those of the volume may be too large
        for window in windows(level.shape, level.chunks):
            part = np.asarray(above[window_above(window, above.shape)])
            level[window] = coarser(part, above.shape, labels=labels)


def _fill(level: zarr.Array[Any], volume: Volume) -> None:
    """Write the volume itself, a slab of whole chunks at a time."""
    rows, columns = (slice(0, side) for side in volume.shape[-2:])
    if volume.ndim == 2:
        level[...] = volume.slice(0)
        return
    depth = level.chunks[0]
    for start in range(0, volume.n_slices, depth):
        z = slice(start, min(start + depth, volume.n_slices))
        level[z] = volume.block(z, rows, columns)


def _attributes(
    volume: Volume,
    name: str,
    shapes: list[tuple[int, ...]],
    label: dict[str, Any] | None,
    version: OmeVersion,
) -> dict[str, Any]:
    """Make the metadata of an image, as its group stores them."""
    size = volume.voxel_size or (None,) * volume.ndim
    lengths = [1.0 if length is None else length for length in size]
    axes = [{"name": axis, "type": "space"} for axis in volume.axes]
    for axis, length in zip(axes, size, strict=True):
        if length is not None and volume.unit is not None:
            axis["unit"] = _UNITS[volume.unit]
    datasets = []
    for number, factors in enumerate(factors_of(shapes)):
        pairs = list(zip(lengths, factors, strict=True))
        transforms: list[dict[str, Any]] = [
            {"type": "scale", "scale": [length * factor for length, factor in pairs]}
        ]
        if label is None and number > 0:
            # a mean lies in the middle of its voxels, of which the first is at 0
            shift = [length * (factor - 1) / 2 for length, factor in pairs]
            transforms.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    image = {
        "name": name,
        "axes": axes,
        "datasets": datasets,
        "type": "mean" if label is None else "nearest",
    }
    if version == "0.5":
        content = {"version": version, "multiscales": [image]}
        return {"ome": content if label is None else {**content, "image-label": label}}
    content = {"multiscales": [{"version": version, **image}]}
    return content if label is None else {**content, "image-label": {"version": version, **label}}


def _chunks(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Choose chunks of about half a million voxels; a layer of them fits into a slab."""
    depth, *others = (min(a, b) for a, b in zip(_CHUNKS[len(shape)], shape, strict=True))
    if len(shape) == 3:
        layer = shape[1] * shape[2] * dtype.itemsize
        while depth > 1 and depth * layer > SLAB_BYTES:
            depth //= 2
    return (depth, *others)


def _list_label(path: Path, version: OmeVersion) -> None:
    """Add a label image to the list of its group, which is replaced in one step."""
    try:
        group = zarr.open_group(LocalStore(path.parent), mode="r+", use_consolidated=False)
    except NodeNotFoundError:
        zarr_format: Literal[2, 3] = 2 if version == "0.4" else 3
        group = zarr.create_group(LocalStore(path.parent), zarr_format=zarr_format)
    attributes = group.attrs.asdict()
    ome: Any = attributes.get("ome", {}) if version == "0.5" else attributes
    labels = [name for name in ome.get("labels", []) if name != path.name] + [path.name]
    if version == "0.5":
        group.update_attributes({"ome": {**ome, "version": version, "labels": labels}})
    else:
        group.update_attributes({"labels": labels})
