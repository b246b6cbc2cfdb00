"""A window of a TIFF page: only the strips or tiles that it touches are decoded."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

_JPEG = (6, 7, 33007, 34892)  # compressions whose segments share tables


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int, int, int, int]:
    """Shape of a tile or strip: planes, depth, rows, columns, samples beside each other."""
    if page.is_tiled:
        sides = page.tiledepth, page.tilelength, page.tilewidth
    else:
        sides = 1, min(page.rowsperstrip, page.imagelength), page.imagewidth
    return (1, *sides, page.shaped[4])


def read_window(page: tifffile.TiffPage, window: tuple[slice, ...]) -> NDArray[Any]:
    """Read a window of a page, in the byte order of this machine.

    Args:
        page: of any kind.
        window: along planes of samples, depth, rows, columns, samples beside each other: the axes
            of `page.shaped`. Most pages have only rows and columns.

    Raises:
        Exception: of any type, where the page is damaged.
    """
    dtype = np.dtype(page.dtype)
    if page.is_memmappable:
        stored = dtype.newbyteorder(page.parent.byteorder)
        whole = page.parent.filehandle.memmap_array(stored, page.shaped, page.dataoffsets[0])
        return np.array(whole[window], dtype)
    touched = _touched(page, window)
    if page.is_contiguous or page.jpegheader or len(touched) == len(page.dataoffsets):
        return page.asarray().reshape(page.shaped)[window].astype(dtype, copy=False)
    block = np.empty([part.stop - part.start for part in window], dtype)

    def place(read: tuple[bytes | None, int]) -> None:
        """Decode a segment, and copy the part of it that lies in the window."""
        options = {"jpegtables": page.jpegtables} if page.compression in _JPEG else {}
        segment, start, sides = page.decode(*read, _fullsize=False, **options)
        inside = [
            slice(max(part.start, first), min(part.stop, first + side, whole))
            for part, first, side, whole in zip(
                window[:4], start[:4], (1, *sides[:3]), page.shaped[:4], strict=True
            )
        ]
        part: Any = page.nodata  # of a segment that was never written
        if segment is not None:
            within = (
                slice(cut.start - first, cut.stop - first)
                for cut, first in zip(inside[1:], start[1:4], strict=True)
            )
            part = segment[(*within, window[4])]
        at = (
            slice(cut.start - all_of.start, cut.stop - all_of.start)
            for cut, all_of in zip(inside, window[:4], strict=True)
        )
        block[tuple(at)] = part

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
        return block
    page.decode  # noqa: B018 - made once, before threads share it
    with ThreadPoolExecutor(workers) as executor:
        for group in segments:
            for _ in executor.map(place, group):
                pass
    return block


def _touched(page: tifffile.TiffPage, window: tuple[slice, ...]) -> list[int]:
    """Numbers of the strips or tiles that a window touches."""
    sides = segment_shape(page)[:4]
    counts = [-(-whole // side) for whole, side in zip(page.shaped[:4], sides, strict=True)]
    runs = (
        range(part.start // side, -(-part.stop // side))
        for part, side in zip(window[:4], sides, strict=True)
    )
    return [int(np.ravel_multi_index(one, counts)) for one in itertools.product(*runs)]
