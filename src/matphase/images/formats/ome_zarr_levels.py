"""OME-Zarr images written by several processes: level 0 in blocks, coarser levels at the end."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from matphase.images.formats._pyramid import level_shapes
from matphase.images.formats.ome_zarr_writing import create_levels, fill_coarser
from matphase.images.volume import Volume

CHUNK_VOXELS = 2**19
_SIDES = (128, 256, 512)
"""Of chunks in y and x; thin chunks are wide, so that each has about `CHUNK_VOXELS`."""


def create_image(
    path: Path,
    like: Volume,
    dtype: np.dtype[Any],
    *,
    chunks: tuple[int, ...],
    labels: bool,
    pyramid: bool,
) -> None:
    """Create an OME-Zarr 0.5 image in place, with all levels and metadata, but without voxels.

    Args:
        path: the folder, which is made.
        like: volume of the same shape, axes and voxel size.
        dtype: type of the voxels.
        chunks: of level 0, as `chunks_within` gives them.
        labels: the voxels are labels, of which coarser levels are no means.
        pyramid: create coarser levels, too; `fill_pyramid` has to follow.
    """
    shapes = level_shapes(like.shape, None if pyramid else 1)
    fitting = [tuple(min(pair) for pair in zip(chunks, shape, strict=True)) for shape in shapes]
    label: dict[str, Any] | None = {} if labels else None
    create_levels(path, like, dtype, shapes, fitting, label, compress=True, version="0.5")


def level(path: Path, number: int = 0, *, mode: Any = "r") -> zarr.Array[Any]:
    """Open one level of an image; level 0 is the finest."""
    return zarr.open_array(LocalStore(path / str(number), read_only=mode == "r"), mode=mode)


def fill_pyramid(path: Path, *, labels: bool) -> None:
    """Compute the coarser levels of an image from its level 0, a chunk at a time."""
    numbers = sorted(int(one.name) for one in path.iterdir() if one.name.isdigit())
    fill_coarser([level(path, number, mode="r+") for number in numbers], labels=labels)


def chunks_within(shape: tuple[int, ...], block: tuple[int, ...]) -> tuple[int, ...]:
    """Choose chunks that each lie in one block only, so that each has one writer.

    Args:
        shape: (z, y, x) or (y, x) of the volume.
        block: shape of the blocks, which begin at multiples of it, with as many axes.
    """
    *depth, height, width = block
    side = next((one for one in _SIDES if one * one * (depth or [1])[0] >= CHUNK_VOXELS // 2), 512)
    sides = zip((height, width), shape[-2:], strict=True)
    return (*depth, *(_divisor(length, whole, side) for length, whole in sides))


def _divisor(length: int, whole: int, most: int) -> int:
    """Give the largest chunk length up to `most` that divides `length`."""
    if length >= whole:
        return min(most, whole)
    return next(
        (one for one in range(min(most, length), most // 4, -1) if length % one == 0), length
    )
