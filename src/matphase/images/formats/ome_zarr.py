"""OME-Zarr 0.4 (Zarr v2) and 0.5 (Zarr v3), in local folders and ZIP files.

Images, label images and plain arrays are read.

An image is read at its full resolution. Its voxel size is the product of the scales that the
metadata give for that level and for all levels; a length counts only with the unit of its axis.
The axes of a plain array are its dimension names (Zarr v3) or xarray's `_ARRAY_DIMENSIONS`, and
its voxel size comes from regular coordinates beside it, as xarray writes them.
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
from zarr.storage import LocalStore, ZipStore

from matphase.images.formats._axes import Stored, names_in
from matphase.images.formats._reading import reading
from matphase.images.formats._zarr_paths import children, has_metadata, listed, zip_of
from matphase.images.voxel_size import converted, normalised_unit, spacing_along
from matphase.support.errors import FormatError, InputError
from matphase.support.files import is_special
from matphase.support.records import MAX_JSON

Multiscale: TypeAlias = Multiscale04 | Multiscale05

_BLOSC_HEADER = struct.Struct("<12xI")  # the last of its 16 bytes are the length of the chunk


def open_node(path: Path, *, scaled: bool = True) -> Stored:
    """Open the image or the array at `path`, inside of a store or its root.

    Args:
        path: a Zarr group with OME metadata, or an array.
        scaled: require the scale that the specification asks for.

    Raises:
        FormatError: no or damaged metadata, no scale, an unknown version, or a level that is
            missing.
        InputError: values that are no numbers.
    """
    node = node_at(path)
    if isinstance(node, zarr.Array):
        names = dimension_names(node)
        size, unit = spacing_along(_coordinates(path, names))
        return _stored(path, path, node, names, size, unit)
    multiscale = multiscale_of(path, node.attrs.asdict(), scaled=scaled)
    level = path / multiscale.datasets[0].path
    array = node_at(level) if level.is_dir() or has_metadata(level) else None
    if not isinstance(array, zarr.Array):
        raise FormatError(f"{level} is missing, the array of {path}; copy or export it again")
    names = tuple(str(axis.name) for axis in multiscale.axes)
    if array.ndim != len(names):
        raise FormatError(
            f"{level} has {array.ndim} axes but the metadata of {path} name {', '.join(names)}; "
            "export it again"
        )
    return _stored(path, level, array, names, *_voxel_size(multiscale))


def dimension_names(array: zarr.Array[Any]) -> tuple[str, ...] | None:
    """Read the names of the axes of an array; None where it has none, or not one for each."""
    names: Any = getattr(array.metadata, "dimension_names", None)
    if names is None:
        names = array.attrs.asdict().get("_ARRAY_DIMENSIONS")
    found = None if names is None else names_in(names)
    return found if found is not None and len(found) == array.ndim else None


def _coordinates(
    path: Path, names: tuple[str, ...] | None
) -> list[tuple[NDArray[Any], str] | None]:
    """Coordinates along the axes of the array at `path`: the arrays of their names beside it."""
    found: list[tuple[NDArray[Any], str] | None] = []
    for name in names or ():
        beside = path.parent / name if name else path
        node = node_at(beside) if beside != path and has_metadata(beside) else None
        if isinstance(node, zarr.Array) and node.ndim == 1 and node.size > 1:
            found.append((np.asarray(node[...]), str(node.attrs.asdict().get("units", ""))))
        else:
            found.append(None)
    return found


@dataclass(frozen=True, eq=False)
class _Array:
    """Array of a Zarr node; opened anew for each reading."""

    path: Path
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
        if not isinstance(array, zarr.Array) or array.shape != self.shape:
            raise FormatError(f"{self.path} has changed since it was opened; open it again")
        with reading(self.path):
            return np.asarray(array[windows])


class _RegularFiles(LocalStore):
    """A store that refuses pipes and devices, which may never end, and huge metadata."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        path = self.root / key
        if is_special(path):
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
    """Open the array or group at `path`, of either Zarr format, in a folder or a ZIP file."""
    with reading(path):
        inside = zip_of(path)
        try:
            if inside is None:
                return zarr.open(store(path, read_only=True), mode="r")
            return zarr.open(ZipStore(inside[0], read_only=True), path=inside[1], mode="r")
        except NodeNotFoundError as error:
            raise FormatError(
                f"{path} holds no Zarr metadata (zarr.json, .zgroup or .zarray); copy or export it "
                "again"
            ) from error


def _stored(
    name: Path,
    path: Path,
    array: zarr.Array[Any],
    axes: tuple[str, ...] | None,
    size: tuple[float | None, ...] | None,
    unit: str | None,
) -> Stored:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path} holds {array.dtype} values; give an array of numbers")
    if array.ndim < 2:
        raise InputError(
            f"{path} has shape {array.shape}; give one slice (y, x) or one stack (z, y, x)"
        )
    codecs = [type(one).__name__ for one in array.compressors]
    blosc = codecs in (["Blosc"], ["BloscCodec"]) and array.shards is None
    source = _Array(
        path,
        array.shape,
        array.dtype.newbyteorder("="),
        array.chunks,
        _WholeChunks if blosc else _RegularFiles,
    )
    return Stored(source, str(name), axes, size, unit)


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
    inside = children(path)
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


def _voxel_size(multiscale: Multiscale) -> tuple[tuple[float | None, ...] | None, str | None]:
    """Read the length along each axis in the unit of x; None where it is not recorded."""
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
    units = {str(axis.name): normalised_unit(str(axis.unit or "")) for axis in multiscale.axes}
    unit = units.get("x", list(units.values())[-1])
    return tuple(
        None if own is None or unit is None else converted(float(length), own, unit)
        for length, own in zip(scale, units.values(), strict=True)
    ), unit
