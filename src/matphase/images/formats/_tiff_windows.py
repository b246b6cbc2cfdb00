"""A window of a TIFF page: only the strips or tiles that it touches are decoded."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

_JPEG = (6, 7, 33007, 34892)  # compressions whose segments share tables


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    """Rows and columns of a tile, or of a strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def read_window(page: tifffile.TiffPage, rows: slice, columns: slice) -> NDArray[Any]:
    """Read a window (y, x) of a page of one grey channel, in the byte order of this machine.

    Raises:
        ValueError: a page of several planes or channels; a decoder may raise other errors.
    """
    if page.imagedepth != 1 or page.samplesperpixel != 1:
        raise ValueError("a page has several planes or channels")
    shape = page.imagelength, page.imagewidth
    dtype = np.dtype(page.dtype)
    if page.is_memmappable:
        stored = dtype.newbyteorder(page.parent.byteorder)
        whole = page.parent.filehandle.memmap_array(stored, shape, page.dataoffsets[0])
        return np.array(whole[rows, columns], dtype)
    touched = _touched(page, rows, columns)
    if page.is_contiguous or page.jpegheader or len(touched) == len(page.dataoffsets):
        return page.asarray().reshape(shape)[rows, columns].astype(dtype, copy=False)
    window = np.empty((rows.stop - rows.start, columns.stop - columns.start), dtype)

    def place(read: tuple[bytes | None, int]) -> None:
        """Decode a segment, and copy the part of it that lies in the window."""
        options = {"jpegtables": page.jpegtables} if page.compression in _JPEG else {}
        segment, (_, _, top, left, _), (_, height, width, _) = page.decode(
            *read, _fullsize=False, **options
        )
        y = slice(max(rows.start, top), min(rows.stop, top + height, shape[0]))
        x = slice(max(columns.start, left), min(columns.stop, left + width, shape[1]))
        part: Any = page.nodata  # of a segment that was never written
        if segment is not None:
            part = segment[0, y.start - top : y.stop - top, x.start - left : x.stop - left, 0]
        window[
            y.start - rows.start : y.stop - rows.start,
            x.start - columns.start : x.stop - columns.start,
        ] = part

    segments: Any = page.parent.filehandle.read_segments(
        [page.dataoffsets[one] for one in touched],
        [page.databytecounts[one] for one in touched],
        touched,
        flat=False,
    )
    workers = min(page.maxworkers, len(touched))
    if workers < 2:
        for group in segments:
            for one in group:
                place(one)
        return window
    page.decode  # noqa: B018 - made once, before threads share it
    with ThreadPoolExecutor(workers) as executor:
        for group in segments:
            for _ in executor.map(place, group):
                pass
    return window


def _touched(page: tifffile.TiffPage, rows: slice, columns: slice) -> list[int]:
    """Numbers of the strips or tiles that a window touches."""
    height, width = segment_shape(page)
    across = -(-page.imagewidth // width)
    return [
        y * across + x
        for y in range(rows.start // height, -(-rows.stop // height))
        for x in range(columns.start // width, -(-columns.stop // width))
    ]
