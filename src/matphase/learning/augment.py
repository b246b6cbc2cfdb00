"""The paper's augmentation: remove rows at the top and stretch the rest to full size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from matphase.support.errors import InputError


def row_removal(
    image: NDArray[np.floating[Any]], labels: NDArray[np.uint8], copies: int = 10
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Make copies of an image and its labels, where copy i lacks the top i rows (appendix 6.3).

    The remaining rows are resized to full size: bilinear for the image, nearest neighbour for the
    labels. Both are sampled at the same points, with pixel centres at half integers, so that edges
    in image and labels still coincide. Copy 0 is the original.

    Args:
        image: grey values, shape (h, w), or (slices, h, w) with neighbours of the labelled slice.
        labels: phase indices or the ignore index, uint8, shape (h, w).
        copies: number of copies k, including the original; the paper uses 10.

    Returns:
        images as float32 of shape (copies, ..., h, w) and labels as uint8 of shape (copies, h, w).

    Raises:
        InputError: image and labels do not have the same height and width, or there are fewer rows
            than copies.
    """
    if image.ndim not in (2, 3) or image.shape[-2:] != labels.shape:
        raise InputError(
            f"image of shape {image.shape} and labels of shape {labels.shape} do not match; "
            "give both as (h, w)"
        )
    height = image.shape[-2]
    if not 1 <= copies <= height:
        raise InputError(
            f"cannot make {copies} copies of an image with {height} rows, since each copy loses "
            f"one row more; give 1 to {height} copies"
        )
    images = np.empty((copies, *image.shape), dtype=np.float32)
    stretched = np.empty((copies, *labels.shape), dtype=np.uint8)
    for removed in range(copies):
        images[removed] = _to_height(image[..., removed:, :].astype(np.float32), height, order=1)
        stretched[removed] = _to_height(labels[removed:], height, order=0)
    return images, stretched


def _to_height(rows: NDArray[Any], height: int, order: int) -> NDArray[Any]:
    """Stretch to `height` rows, by nearest neighbour (order 0) or bilinear (order 1)."""
    if rows.shape[-2] == height:
        return rows
    factors = (*(1,) * (rows.ndim - 2), height / rows.shape[-2], 1)
    # grid_mode: pixel centres at half integers for both orders
    resized: NDArray[Any] = zoom(rows, factors, order=order, mode="nearest", grid_mode=True)
    return resized
