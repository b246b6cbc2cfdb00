"""PNG: grey slices and labels of up to 16 bit. The format has no place for a voxel size.

Of a palette the indices are read, which are the labels; only where it is a ramp of greys, their
greys are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The class itself and not `Image.open`: it reads PNG and nothing else, whatever the suffix says,
# and knows no limit on the number of pixels, which a large slice would reach.
from PIL.PngImagePlugin import PngImageFile

from matphase.images.formats._axes import Stored
from matphase.images.formats._reading import Header, reading, stack_of
from matphase.images.formats._tones import grey_ramp
from matphase.images.volume import Volume
from matphase.support.errors import FormatError, InputError, OutputError

# Pillow's modes of one channel; grey of 2 and 4 bit becomes 8 bit.
_DTYPES = {
    "1": np.dtype(bool),
    "L": np.dtype(np.uint8),
    "P": np.dtype(np.uint8),
    "I;16": np.dtype(np.uint16),
}


def open_image(path: Path) -> Stored:
    """Open one PNG as a slice.

    Raises:
        FormatError: a file that is damaged or no PNG.
        InputError: a picture in colour, or with transparency.
    """
    header = _read_header(path)
    return Stored(_Image(path, header.shape, header.dtype), str(path), ("y", "x"))


def open_slices(paths: list[Path], name: str) -> Stored:
    """Open PNG slices as a stack; see `stack_of` for what it raises."""
    return stack_of(paths, name, _read_header, _read)


def save(path: Path, volume: Volume) -> None:
    """Write a 2D volume of uint8 or uint16; its voxel size is not kept.

    Raises:
        OutputError: a stack, or values of another type.
    """
    if volume.ndim == 3:
        raise OutputError(f"{path.name}: a PNG holds one slice; save a stack as .tif or .h5")
    if volume.dtype not in (np.uint8, np.uint16):
        raise OutputError(
            f"{path.name}: a PNG holds uint8 or uint16, not {volume.dtype}; save it as .tif or .h5"
        )
    Image.fromarray(volume.slice(0)).save(path, format="PNG")


@dataclass(frozen=True, eq=False)
class _Image:
    """Array (y, x) of a PNG file, which is decoded whole."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    @property
    def chunks(self) -> tuple[int, int]:
        """Shape of the whole image."""
        return self.shape

    def __getitem__(self, windows: tuple[slice, slice]) -> NDArray[Any]:
        """Read a block, given by one window per axis.

        Raises:
            FormatError: the file is gone, damaged, or has changed since it was opened.
        """
        shape, window = _read(self.path, *windows)
        if (shape, window.dtype) != (self.shape, self.dtype):
            raise FormatError(f"{self.path} has changed since it was opened; open it again")
        return window


def _read_header(path: Path) -> Header:
    with _opened(path) as image:
        if image.mode not in _DTYPES:
            raise InputError(f"{path} is a picture in {_colors(image.mode)}; convert it to grey")
        return Header((image.height, image.width), _DTYPES[image.mode])


def _read(path: Path, rows: slice, columns: slice) -> tuple[tuple[int, int], NDArray[Any]]:
    with _opened(path) as image:
        whole = np.array(image, _DTYPES.get(image.mode))
        if image.mode == "1":
            whole = whole.view(np.uint8) != 0  # Pillow stores 255 for True
        if image.mode == "P":
            palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            greys = grey_ramp(palette.T)
            whole = whole if greys is None else greys[whole]
    return (whole.shape[0], whole.shape[1]), whole[rows, columns]


@contextmanager
def _opened(path: Path) -> Iterator[PngImageFile]:
    with reading(path):
        try:
            image = PngImageFile(path)
        except SyntaxError as error:  # what Pillow raises for another format
            raise FormatError(f"{path} is not a PNG file, or damaged; export it again") from error
        with image:
            yield image


def _colors(mode: str) -> str:
    return {"LA": "grey with transparency"}.get(mode, f"colour ({mode})")
