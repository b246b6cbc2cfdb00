"""Functions for all readers: clear errors for damaged files, and stacks with one file per slice."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from matphase.images.formats._axes import Stored
from matphase.images.formats._order import in_natural_order
from matphase.images.voxel_size import VoxelSize
from matphase.support.errors import FormatError, MatPhaseError
from matphase.support.files import is_special

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
        check_regular(path)
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


@dataclass(frozen=True, eq=False)
class MappedFile:
    """Array of values that lie uncompressed in a file, one after the other.

    The file is mapped only while a part of it is copied.
    """

    path: Path
    offset: int
    stored: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"] = "C"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in the byte order of this machine."""
        return self.stored.newbyteorder("=")

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Copy a block, given by one window per axis.

        Raises:
            FormatError: the file is gone or has become shorter.
        """
        with reading(self.path):
            mapped: NDArray[Any] = np.memmap(
                self.path, self.stored, "r", self.offset, self.shape, self.order
            )
            return np.array(mapped[windows], self.dtype, order="C")


def data_file(path: Path, named: Any) -> Path:
    """The file of the values that a header names.

    Args:
        path: file of the header.
        named: what it says: one name, relative to the folder of the header.

    Raises:
        FormatError: it names several files, or one that is missing.
    """
    if not isinstance(named, str) or named.startswith("LIST") or "%" in named:
        raise FormatError(f"{path} names several data files; save it as one")
    file = path.parent / named
    if not file.is_file():
        raise FormatError(f"{path} names the data file {file}, which is missing; copy it, too")
    return file


def mapped(
    path: Path,
    offset: int | None,
    stored: np.dtype[Any],
    shape: tuple[int, ...],
    order: Literal["C", "F"] = "C",
) -> MappedFile:
    """Values that lie uncompressed in a file; None as offset: at its end.

    Raises:
        FormatError: the file is too short for them.
    """
    size, needed = path.stat().st_size, math.prod(shape) * stored.itemsize
    start = size - needed if offset is None else offset
    if start < 0 or size < start + needed:
        raise FormatError(f"{path} is truncated; copy or export it again")
    return MappedFile(path, start, stored, shape, order)


def check_regular(path: Path) -> None:
    """Refuse a pipe or a device, which may never end, before anything opens it.

    Raises:
        FormatError: it is one.
    """
    if is_special(path):
        raise FormatError(f"{path} is not a regular file; give a file")


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


def stack_of(
    paths: list[Path],
    name: str,
    read_header: Callable[[Path], Header],
    read: WindowReader,
) -> Stored:
    """Open files of one slice each as a stack; the pixel size is that of the first.

    Args:
        paths: the files in order.
        name: what to call the stack in messages.
        read_header: reads the metadata of a file.
        read: reads a window of a file.

    Raises:
        FormatError: a file that cannot be read, or that differs from the first in shape or type.
    """
    for path in paths:
        check_link(path)
    first = read_header(paths[0])
    for path in paths[1:]:
        header = read_header(path)
        if (header.shape, header.dtype) != (first.shape, first.dtype):
            raise FormatError(
                f"{path} holds {_kind(header)} but {paths[0].name} {_kind(first)}; "
                "give only the slices of one stack"
            )
    files = SliceFiles(tuple(paths), first, read)
    return Stored(files, name, ("z", "y", "x"), first.voxel_size, first.unit)


def slices_in(folder: Path) -> list[Path]:
    """List the images of a folder in natural order, without hidden and other files.

    Raises:
        FormatError: no image in it, images of several kinds, a broken link, or a folder that
            cannot be read.
    """
    with reading(folder):
        paths = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        ]
    paths = files_among(paths)
    if not paths:
        raise FormatError(
            f"folder {folder} holds no images; give one with {', '.join(IMAGE_SUFFIXES)} files"
        )
    check_one_kind(paths, f"folder {folder}")
    return in_natural_order(paths)


def files_among(paths: Iterable[Path]) -> list[Path]:
    """Leave out folders; a link that leads nowhere is refused, as it may have been a slice.

    Raises:
        FormatError: it names the link and where it leads.
    """
    files = []
    for path in paths:
        check_link(path)
        if path.is_file():
            files.append(path)
    return files


def check_link(path: Path) -> None:
    """Refuse a link that leads nowhere.

    Raises:
        FormatError: it names the link and where it leads.
    """
    if path.is_symlink() and not path.exists():
        raise FormatError(
            f"{path} is a link to {path.readlink()}, which is missing; fetch that file, or remove "
            "the link"
        )


def check_one_kind(paths: list[Path], name: str) -> None:
    """Check that files are images of one kind: TIFF or PNG.

    Args:
        paths: the files.
        name: what to call them together.

    Raises:
        FormatError: they are not, or there is a name twice, as in a.tif and a.tiff.
    """
    for path in paths:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise FormatError(
                f"{name}: {path.name} is not an image of a slice; give "
                f"{', '.join(IMAGE_SUFFIXES)} files, or open one file alone"
            )
    suffixes = sorted({path.suffix.lower() for path in paths})
    if ".png" in suffixes and len(suffixes) > 1:
        raise FormatError(f"{name} mixes {' and '.join(suffixes)} files; keep one kind, the slices")
    if len({path.suffix for path in paths}) > 1:
        first: dict[Path, Path] = {}
        for path in paths:
            if (other := first.setdefault(path.with_suffix(""), path)) != path:
                raise FormatError(
                    f"{name} has both {other.name} and {path.name}; keep one of them, the slice"
                )


def _kind(header: Header) -> str:
    return f"{header.shape[0]} x {header.shape[1]} px of {header.dtype}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
