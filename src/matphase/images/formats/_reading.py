"""Functions for all readers: clear errors for damaged files, and stacks with one file per slice."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matphase.images.volume import Volume
from matphase.images.voxel_size import VoxelSize
from matphase.support.errors import FormatError, MatPhaseError

IMAGE_SUFFIXES = (".tif", ".tiff", ".png")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any error of a decoder into a `FormatError`.

    Damage can appear anywhere in a file, so decoders raise exceptions of many types.

    Raises:
        FormatError: in place of any error but MatPhase's own and lack of memory, and for a pipe or
            a device, which may never end.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise FormatError(f"{path} is not a regular file; give a file")
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
    """Metadata of an image file, read before its pixels.

    Attributes:
        shape: (y, x).
        dtype: type of the pixels.
        voxel_size: (z, y, x) in `unit`, z being the slice spacing, or None.
        unit: unit of length, or None.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    voxel_size: VoxelSize | None = None
    unit: str | None = None


class WindowReader(Protocol):
    """A function that reads a window of an image file."""

    def __call__(
        self, path: Path, rows: slice, columns: slice, /
    ) -> tuple[tuple[int, int], NDArray[Any]]:
        """Give the shape of the whole image, and the window (y, x)."""


@dataclass(frozen=True, eq=False)
class SliceFiles:
    """Array (z, y, x) with one file per slice; a file is open only while it is read."""

    paths: tuple[Path, ...]
    header: Header
    read: WindowReader

    @property
    def shape(self) -> tuple[int, ...]:
        """(z, y, x)."""
        return (len(self.paths), *self.header.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in the byte order of this machine."""
        return self.header.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of one slice."""
        return (1, *self.header.shape)

    def __getitem__(self, windows: tuple[slice, slice, slice]) -> NDArray[Any]:
        """Read a block, given by one window per axis.

        Raises:
            FormatError: a file is gone, damaged, or has changed since it was opened.
        """
        z, rows, columns = windows
        parts = (self._window(path, rows, columns) for path in self.paths[z])
        return stacked(parts, windows, self.dtype)

    def _window(self, path: Path, rows: slice, columns: slice) -> NDArray[Any]:
        shape, window = self.read(path, rows, columns)
        if (shape, window.dtype) != (self.header.shape, self.header.dtype):
            raise FormatError(f"{path} has changed since it was opened; open the stack again")
        return window


def stacked(
    parts: Iterable[NDArray[Any]], windows: tuple[slice, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Join the parts (y, x) of the slices of a block, one by one, to an array (z, y, x)."""
    block = np.empty(tuple(window.stop - window.start for window in windows), dtype)
    for plane, part in zip(block, parts, strict=True):
        plane[...] = part
    return block


def kept_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Choose the axes of a volume in an array: all of up to three, else those longer than 1."""
    if len(shape) <= 3:
        return tuple(range(len(shape)))
    return tuple(axis for axis, length in enumerate(shape) if length != 1)


def stored_index(
    kept: tuple[int, ...], ndim: int, windows: tuple[slice, ...]
) -> tuple[int | slice, ...]:
    """Index an array of `ndim` axes, of which a volume has the `kept` ones."""
    index: list[int | slice] = [0] * ndim
    for axis, window in zip(kept, windows, strict=True):
        index[axis] = window
    return tuple(index)


def stack_of(
    paths: list[Path],
    name: str,
    read_header: Callable[[Path], Header],
    read: WindowReader,
) -> Volume:
    """Open files of one slice each as a stack; the pixel size is that of the first.

    Args:
        paths: the files in order.
        name: what to call the stack in messages.
        read_header: reads the metadata of a file.
        read: reads a window of a file.

    Raises:
        FormatError: a file that cannot be read, or that differs from the first in shape or type.
    """
    first = read_header(paths[0])
    for path in paths[1:]:
        header = read_header(path)
        if (header.shape, header.dtype) != (first.shape, first.dtype):
            raise FormatError(
                f"{path} holds {_kind(header)} but {paths[0].name} {_kind(first)}; "
                "give only the slices of one stack"
            )
    files = SliceFiles(tuple(paths), first, read)
    return Volume.from_array(files, "zyx", first.voxel_size, first.unit, name)


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
    check_one_kind(paths, f"folder {folder}")
    return in_natural_order(paths)


def check_one_kind(paths: list[Path], name: str) -> None:
    """Check that files are images of one suffix.

    Args:
        paths: the files.
        name: what to call them together.

    Raises:
        FormatError: they are not.
    """
    suffixes = sorted({path.suffix.lower() for path in paths})
    if len(suffixes) > 1:
        raise FormatError(f"{name} mixes {' and '.join(suffixes)} files; keep one kind, the slices")
    if suffixes[0] not in IMAGE_SUFFIXES:
        raise FormatError(
            f"{name}: {paths[0].name} is not an image of a slice; give "
            f"{', '.join(IMAGE_SUFFIXES)} files, or open one file alone"
        )


def in_natural_order(paths: list[Path]) -> list[Path]:
    """Sort paths by the numbers in them: slice_2 before slice_10."""
    return sorted(paths, key=lambda path: ([_natural(part) for part in path.parts], str(path)))


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
