"""What every reader needs: damage told in one sentence, and folders of slices."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.volume import Volume, VoxelSize
from matphase.support.errors import FormatError, MatPhaseError

IMAGE_SUFFIXES = (".tif", ".tiff", ".png")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises on a file it cannot read into a `FormatError`.

    Decoders meet damage at any depth, so their exceptions are of many types.

    Raises:
        FormatError: in place of any error but ours and lack of memory.
    """
    try:
        yield
    except (MatPhaseError, MemoryError):
        raise
    except OSError as error:
        reason = error.strerror or _one_line(error)
        raise FormatError(f"{path} cannot be read: {reason}; check the file") from error
    except Exception as error:
        raise FormatError(
            f"{path} is damaged or of an unknown kind: {_one_line(error)}; copy or export it again"
        ) from error


@dataclass(frozen=True)
class Header:
    """What an image file says about itself before its pixels are read.

    Attributes:
        shape: (y, x).
        dtype: type of the pixels.
        voxel_size: (z, y, x) in `unit`, z being the distance to the next slice, or None.
        unit: unit of length, or None.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    voxel_size: VoxelSize | None = None
    unit: str | None = None


@dataclass(frozen=True, eq=False)
class FolderSource:
    """A stack of slices, one file each."""

    paths: tuple[Path, ...]
    header: Header
    read: Callable[[Path], NDArray[Any]]

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x)."""
        return (len(self.paths), *self.header.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""
        return self.header.dtype

    @property
    def chunk_depth(self) -> int:
        """1: a file holds one slice."""
        return 1

    def read_block(self, z: slice, rows: slice, columns: slice) -> NDArray[Any]:
        """Read a block of the files `z`, each of which is decoded whole.

        Raises:
            FormatError: a file is gone, damaged, or another since the folder was opened.
        """
        planes = map(self._plane, range(z.start, z.stop))
        return cut(planes, z, rows, columns, self.dtype)

    def _plane(self, z: int) -> NDArray[Any]:
        plane = self.read(self.paths[z])
        if (plane.shape, plane.dtype) != (self.header.shape, self.header.dtype):
            raise FormatError(
                f"{self.paths[z]} has changed since {self.paths[z].parent} was opened"
            )
        return plane


def cut(
    planes: Iterable[NDArray[Any]], z: slice, rows: slice, columns: slice, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Gather a block (dz, dy, dx) of the slices (y, x) of window `z`, one in memory at a time."""
    shape = tuple(window.stop - window.start for window in (z, rows, columns))
    block = np.empty(shape, dtype)
    for part, plane in zip(block, planes, strict=True):
        part[...] = plane[rows, columns]
    return block


def kept_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of a volume in an array of any number of them: all of up to three, else the longer."""
    if len(shape) <= 3:
        return tuple(range(len(shape)))
    return tuple(axis for axis, length in enumerate(shape) if length != 1)


def stored_index(
    kept: tuple[int, ...], ndim: int, z: slice, rows: slice, columns: slice
) -> tuple[int | slice, ...]:
    """Where a block lies in an array of `ndim` axes, of which a volume has the `kept` ones."""
    index: list[int | slice] = [0] * ndim
    for axis, window in zip(kept[::-1], (columns, rows, z), strict=False):
        index[axis] = window
    return tuple(index)


def stack_of(
    folder: Path,
    paths: list[Path],
    read_header: Callable[[Path], Header],
    read: Callable[[Path], NDArray[Any]],
) -> Volume:
    """Join the slices in `paths` to one stack; the pixel size is that of the first.

    Raises:
        FormatError: a file that cannot be read, or that differs from the first in shape or type.
    """
    first = read_header(paths[0])
    for path in paths[1:]:
        header = read_header(path)
        if (header.shape, header.dtype) != (first.shape, first.dtype):
            raise FormatError(
                f"{path} holds {_kind(header)} but {paths[0].name} {_kind(first)}; "
                "keep in one folder only the slices of one stack"
            )
    return Volume.from_source(
        FolderSource(tuple(paths), first, read), "zyx", first.voxel_size, first.unit, str(folder)
    )


def slices_in(folder: Path) -> list[Path]:
    """List the images of a folder, slice_2 before slice_10, without hidden and other files.

    Raises:
        FormatError: no image in it, images of several kinds, or a folder that cannot be read.
    """
    with reading(folder):
        paths = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
        ]
    if not paths:
        raise FormatError(
            f"folder {folder} holds no images; give one with {', '.join(IMAGE_SUFFIXES)} files"
        )
    suffixes = sorted({path.suffix.lower() for path in paths})
    if len(suffixes) > 1:
        raise FormatError(
            f"folder {folder} mixes {' and '.join(suffixes)} files; keep one kind, the slices"
        )
    return sorted(paths, key=lambda path: (_natural(path.name), path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Make a sort key in which numbers count as numbers."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part.lower())
        for part in re.split(r"(\d+)", name)
    ]


def _kind(header: Header) -> str:
    return f"{header.shape[0]} x {header.shape[1]} px of {header.dtype}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
