"""The paper's augmentation: leave out rows at the top and stretch the rest to full size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from matphase.support.errors import InputError


def row_removal(
    image: NDArray[np.floating[Any]], labels: NDArray[np.uint8], copies: int = 10
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Make `copies` of an image and its labels, copy i without its top i rows (appendix 6.3).

    What is left is resized to full size, the image bilinearly, the labels to the nearest pixel.
    Both are sampled at the same points, pixel centres at half integers, so that an edge in the
    image and the same edge in the labels stay together. Copy 0 is the original, unchanged.

    Args:
        image: grey values, shape (h, w), or (slices, h, w) with neighbours of the labelled slice.
        labels: phase indices or the ignore index, uint8, shape (h, w).
        copies: number of copies k, the original among them; the paper takes 10.

    Returns:
        Images as float32 of shape (copies, ..., h, w) and labels as uint8 of shape (copies, h, w).

    Raises:
        InputError: image and labels are not 2D of one shape, or there are not rows enough.
    """
    if image.ndim not in (2, 3) or image.shape[-2:] != labels.shape:
        raise InputError(
            f"an image of shape {image.shape} and labels of shape {labels.shape} are no pair; "
            "give both as (h, w)"
        )
    height = image.shape[-2]
    if not 1 <= copies <= height:
        raise InputError(
            f"{copies} copies cannot be made of an image with {height} rows, each losing one row "
            f"more; give 1 to {height} copies"
        )
    images = np.empty((copies, *image.shape), dtype=np.float32)
    stretched = np.empty((copies, *labels.shape), dtype=np.uint8)
    for removed in range(copies):
        images[removed] = _to_height(image[..., removed:, :].astype(np.float32), height, order=1)
        stretched[removed] = _to_height(labels[removed:], height, order=0)
    return images, stretched


def _to_height(rows: NDArray[Any], height: int, order: int) -> NDArray[Any]:
    """Stretch to `height` rows by the spline of `order` (0 nearest, 1 bilinear), values kept."""
    if rows.shape[-2] == height:
        return rows
    factors = (*(1,) * (rows.ndim - 2), height / rows.shape[-2], 1)
    # `grid_mode` puts pixel centres at half integers for both orders alike.
    resized: NDArray[Any] = zoom(rows, factors, order=order, mode="nearest", grid_mode=True)
    return resized
