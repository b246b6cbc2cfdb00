"""Volumes in a few lines of text, or in a notebook as a table with a picture."""

import io
from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matphase.images.arrays import Arranged
from matphase.images.voxel_size import voxel_size_text
from matphase.support.errors import MatPhaseError
from matphase.support.text import times

if TYPE_CHECKING:
    from matphase.images.volume import Volume

SIDE = 256
"""Longest side of the picture, in pixels."""


def text(volume: "Volume") -> str:
    """Describe a volume in a few lines, without reading a voxel."""
    rows = dict(_rows(volume))
    return (
        f"Volume {volume.name!r}\n"
        f"  {rows['shape']}, {rows['type']}, {rows['size']}\n"
        f"  {voxel_size_text(volume.voxel_size, volume.unit)}\n"
        f"  {rows['chunks']}, {rows['place']}"
    )


def html(volume: "Volume") -> str:
    """Describe a volume as a table beside a picture of its middle slice."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _rows(volume)
    )
    middle = volume.n_slices // 2
    try:
        png = b64encode(_thumbnail(volume, middle)).decode()
        picture = f'<img alt="slice {middle}" src="data:image/png;base64,{png}">'
    except MatPhaseError as error:
        picture = escape(str(error))
    return (
        f"<div><b>Volume</b> {escape(volume.name)}<br>{picture}<br>"
        f"slice {middle}<table>{rows}</table></div>"
    )


def _rows(volume: "Volume") -> list[tuple[str, str]]:
    size = voxel_size_text(volume.voxel_size, volume.unit).removeprefix("voxel size ")
    return [
        ("shape", f"{volume.axes} {times(volume.shape)}"),
        ("type", str(volume.dtype)),
        ("size", _bytes_text(volume.nbytes)),
        ("voxel size", size),
        ("chunks", f"chunks {times(volume.chunks)}" if volume.chunks else "no chunks"),
        ("place", _place(volume.data)),
    ]


def _place(data: Any) -> str:
    if isinstance(data, np.memmap):
        return "on disk"
    if isinstance(data, np.ndarray):
        return "in memory"
    if isinstance(data, Arranged):
        return _place(data.array)
    package = type(data).__module__.partition(".")[0]
    return "on disk" if package == "matphase" else f"read from a {package} array when needed"


def _thumbnail(volume: "Volume", z: int) -> bytes:
    """Draw a slice as a small PNG, between its 1st and 99th percentiles; of it few rows are read.

    The darkest and the brightest pixels are left out of the scale, so that a few do not hide the
    others.
    """
    from PIL import Image

    step = -(-max(volume.shape[-2:]) // SIDE)
    plane = (slice(None, None, step),) * 2
    grey = np.asarray(volume[plane if volume.ndim == 2 else (z, *plane)], np.float64)
    buffer = io.BytesIO()
    Image.fromarray(_eight_bit(grey)).save(buffer, format="PNG")
    return buffer.getvalue()


def _eight_bit(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    finite = grey[np.isfinite(grey)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 0.0)
    if low == high and finite.size:
        low, high = finite.min(), finite.max()
    scaled = np.nan_to_num((grey - low) / ((high - low) or 1), posinf=1, neginf=0)
    return np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def _bytes_text(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
