"""OME-Zarr 0.4 (Zarr v2) and 0.5 (Zarr v3) in local folders: images, label images, plain arrays.

An image is read at its full resolution. Its voxel size is the product of the scales that the
metadata give for that level and for all levels; a length counts only with the unit of its axis.
Specification: https://ngff.openmicroscopy.org/0.5/ and /0.4/.
"""

import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray
from ome_zarr_models.common.coordinate_transformations import VectorScale
from ome_zarr_models.exceptions import ValidationWarning
from ome_zarr_models.v04.multiscales import Multiscale as Multiscale04
from ome_zarr_models.v05.multiscales import Multiscale as Multiscale05
from pydantic import ValidationError
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.errors import NodeNotFoundError
from zarr.storage import LocalStore

from matphase.images.formats._reading import kept_axes, reading, stored_index
from matphase.images.formats._zarr_paths import has_metadata, listed
from matphase.images.volume import Volume
from matphase.images.voxel_size import (
    VoxelSize,
    checked_voxel_size,
    converted,
    normalised_unit,
)
from matphase.support.errors import FormatError, InputError
from matphase.support.records import MAX_JSON

Multiscale: TypeAlias = Multiscale04 | Multiscale05

_BLOSC_HEADER = struct.Struct("<12xI")  # the last of its 16 bytes are the length of the chunk


def open_node(path: Path, axes: str | None, *, scaled: bool = True) -> Volume:
    """Open the image or the array at `path`, inside of a store or its root.

    Args:
        path: a Zarr group with OME metadata, or an array.
        axes: "yx" or "zyx" of a plain array, where its shape does not tell.
        scaled: require the scale that the specification asks for.

    Raises:
        FormatError: no or damaged metadata, no scale, an unknown version, or a level that is
            missing.
        InputError: several channels or times, or values that are no numbers.
    """
    node = node_at(path)
    if isinstance(node, zarr.Array):
        return _volume(path, path, node, kept_axes(node.shape), axes, None, None)
    multiscale = multiscale_of(path, node.attrs.asdict(), scaled=scaled)
    level = path / multiscale.datasets[0].path
    array = node_at(level) if level.is_dir() else None
    if not isinstance(array, zarr.Array):
        raise FormatError(f"{level} is missing, the array of {path}; copy or export it again")
    names = [str(axis.name) for axis in multiscale.axes]
    if array.ndim != len(names):
        raise FormatError(
            f"{level} has {array.ndim} axes but the metadata of {path} name {', '.join(names)}; "
            "export it again"
        )
    for name, length in zip(names, array.shape, strict=True):
        if name not in ("z", "y", "x") and length > 1:
            what = {"t": "times", "c": "channels"}.get(name, f"images along {name}")
            raise InputError(
                f"{path} holds {length} {what}; save one of them as an image of its own"
            )
    kept = tuple(place for place, name in enumerate(names) if name in ("z", "y", "x"))
    order = "".join(names[place] for place in kept)
    if order not in ("yx", "zyx"):
        raise InputError(f"{path} has the axes {', '.join(names)}; save it with z, y, x in order")
    return _volume(path, level, array, kept, order, *_voxel_size(multiscale, kept))


@dataclass(frozen=True, eq=False)
class _Stored:
    """Array of a Zarr node without its axes of length 1; opened anew for each reading."""

    path: Path
    kept: tuple[int, ...]
    stored_shape: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    store: type[LocalStore]

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Read a block, given by one window per axis; missing chunks have the fill value.

        Raises:
            FormatError: the array is gone, changed, or a chunk cannot be decoded.
        """
        array = node_at(self.path, self.store)
        if not isinstance(array, zarr.Array) or array.shape != self.stored_shape:
            raise FormatError(f"{self.path} has changed since it was opened; open it again")
        with reading(self.path):
            return np.asarray(array[stored_index(self.kept, len(self.stored_shape), windows)])


class _RegularFiles(LocalStore):
    """A store that refuses pipes and devices, which may never end, and huge metadata."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        path = self.root / key
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError(f"{key} is not a regular file")
        if _is_metadata(key) and path.is_file() and path.stat().st_size > MAX_JSON:
            raise ValueError(f"{key} is too large")
        return await super().get(key, prototype, byte_range)


class _WholeChunks(_RegularFiles):
    """A store that also refuses truncated Blosc chunks, since Blosc reads beyond their end."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        value = await super().get(key, prototype, byte_range)
        if value is not None and byte_range is None and not _is_metadata(key):
            head = value.as_numpy_array()[: _BLOSC_HEADER.size].tobytes()
            if len(head) < _BLOSC_HEADER.size or _BLOSC_HEADER.unpack(head)[0] > len(value):
                raise ValueError(f"chunk {key} is truncated")
        return value


def _is_metadata(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name.startswith(".z") or name == "zarr.json"


def node_at(path: Path, store: type[LocalStore] = _RegularFiles) -> zarr.Array[Any] | zarr.Group:
    """Open the array or group at `path`, of either Zarr format."""
    with reading(path):
        try:
            return zarr.open(store(path, read_only=True), mode="r")
        except NodeNotFoundError as error:
            raise FormatError(
                f"{path} holds no Zarr metadata (zarr.json, .zgroup or .zarray); copy or export it "
                "again"
            ) from error


def _volume(
    name: Path,
    path: Path,
    array: zarr.Array[Any],
    kept: tuple[int, ...],
    axes: str | None,
    voxel_size: VoxelSize | None,
    unit: str | None,
) -> Volume:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} holds {array.dtype} values; give an array of numbers")
    if len(kept) not in (2, 3):
        raise InputError(
            f"{path} has shape {array.shape}; give one slice (y, x) or one stack (z, y, x)"
        )
    codecs = [type(one).__name__ for one in array.compressors]
    blosc = codecs in (["Blosc"], ["BloscCodec"]) and array.shards is None
    source = _Stored(
        path,
        kept,
        array.shape,
        tuple(array.shape[axis] for axis in kept),
        array.dtype.newbyteorder("="),
        tuple(array.chunks[axis] for axis in kept),
        _WholeChunks if blosc else _RegularFiles,
    )
    return Volume.from_array(source, axes, voxel_size, unit, str(name))


def multiscale_of(path: Path, attributes: Mapping[str, Any], *, scaled: bool = True) -> Multiscale:
    """Read the metadata of the image in a group: its levels, axes and scales.

    Args:
        path: of the group.
        attributes: of the group.
        scaled: refuse an image without scales; else they are taken to be 1.

    Raises:
        FormatError: there are none, or they do not follow a version that is known here.
    """
    ome = attributes.get("ome")
    content = ome if isinstance(ome, Mapping) else attributes
    images = content.get("multiscales")
    inside = [one for one in sorted(path.iterdir()) if has_metadata(one)]
    choose = f"choose one of {listed(inside)}" if inside else "export it again"
    if not (isinstance(images, list) and images and isinstance(images[0], Mapping)):
        raise FormatError(f"{path} holds no OME-Zarr image (multiscales); {choose}")
    version = content.get("version") if ome is content else images[0].get("version") or "0.4"
    if version not in ("0.4", "0.5"):
        raise FormatError(f"{path} is OME-Zarr {version}; only 0.4 and 0.5 can be read; {choose}")
    model = Multiscale05 if version == "0.5" else Multiscale04
    image = dict(images[0])
    if _without_scale(image):
        if scaled:
            raise FormatError(
                f"{path} has no scale, so its voxel size is not known; give voxel_size= and unit=, "
                f"or {choose}"
            )
        ones = {"type": "scale", "scale": [1.0] * len(image["axes"])}
        image["datasets"] = [
            {**dataset, "coordinateTransformations": [ones]} for dataset in image["datasets"]
        ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ValidationWarning)  # what it could put right itself
            return model.model_validate(image)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FormatError(
            f"{path} has metadata that are not OME-Zarr {version} ({where}: {first['msg']}); "
            f"{choose}"
        ) from error


def _without_scale(image: Mapping[str, Any]) -> bool:
    """Tell whether any level of an image lacks its scale."""
    datasets, axes = image.get("datasets"), image.get("axes")
    if not (isinstance(datasets, list) and isinstance(axes, list)):
        return False  # the model below finds what is wrong
    if not all(isinstance(dataset, Mapping) for dataset in datasets):
        return False
    lists = [dataset.get("coordinateTransformations") or [] for dataset in datasets]
    return all(isinstance(transforms, list) for transforms in lists) and not all(
        any(isinstance(one, Mapping) and one.get("type") == "scale" for one in transforms)
        for transforms in lists
    )


def _voxel_size(
    multiscale: Multiscale, kept: tuple[int, ...]
) -> tuple[VoxelSize | None, str | None]:
    """Read the voxel size of the kept axes in the unit of x; (None, None) if it is not valid."""
    scale = np.ones(len(multiscale.axes))
    for transforms in (
        multiscale.datasets[0].coordinateTransformations,
        multiscale.coordinateTransformations or (),
    ):
        for transform in transforms:
            if isinstance(transform, VectorScale):
                scale *= transform.scale
            elif transform.type == "scale":  # in an array of its own, which nobody writes
                return None, None
    units = [normalised_unit(str(multiscale.axes[axis].unit or "")) for axis in kept]
    unit = units[-1]
    lengths = [
        None if own is None or unit is None else converted(float(scale[axis]), own, unit)
        for axis, own in zip(kept, units, strict=True)
    ]
    try:
        return checked_voxel_size(lengths, unit, "zyx"[-len(kept) :], "the image")
    except InputError:
        return None, None
