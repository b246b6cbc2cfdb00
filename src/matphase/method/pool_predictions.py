"""Predictions of the images of a pool, tile by tile, so that large slices fit into memory."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from matphase.images.tiles import Halo, Tile, plan_tiles
from matphase.learning.training_pool import Pool
from matphase.method.model import Model, halo_of
from matphase.method.passes import Passes
from matphase.method.results import GlobalStack
from matphase.method.segmenter import Segmenter
from matphase.support.progress import Reporter


def predict_pool(
    segmenter: Segmenter, pool: Pool, passes: Passes = Passes(), reporter: Reporter | None = None
) -> GlobalStack:
    """Predict all images of a pool by a segmenter; the result is kept on disk.

    Args:
        segmenter: trained.
        pool: images to predict.
        passes: `memory` is what a tile may take.
        reporter: receives progress, in images.

    Raises:
        InputError: no tile fits into the memory.
    """
    images, n_phases = pool.images, len(pool.phases)
    n, channels, height, width = images.shape
    found = GlobalStack.empty(n, n_phases, (height, width), pool.folder)
    halo = halo_of(segmenter.reach)
    each = 20 * n_phases + 4 * channels + 16
    for tile in pool_tiles((n, height, width), halo, segmenter.pass_bytes, each, passes.memory):
        z, rows, columns = tile.core
        seen = images[(z, slice(None), *tile.window[1:])]
        known = segmenter.predict(seen, passes, origin=tile.origin)
        found.put(z.start, known.window(*tile.inner), rows, columns)
        if rows.stop == height and columns.stop == width and reporter is not None:
            reporter.advance(z.stop - z.start)
    return found


def answer_pool(
    model: Model, pool: Pool, passes: Passes = Passes()
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Labels (height, width) and probabilities (phases, height, width) of each image by a model.

    Args:
        model: trained.
        pool: images to predict.
        passes: `memory` is what a tile may take.

    Raises:
        InputError: no tile fits into the memory.
    """
    shape = (1, *pool.shape)
    halo = replace(model.halo, slices=0)  # the images of a pool have their neighbours already
    cut = pool_tiles(shape, halo, model.pass_bytes, model.pixel_bytes(0), passes.memory)
    for number in range(len(pool)):
        labels = np.empty(shape, np.uint8)
        probabilities = np.empty((len(model.phases), *shape), np.float32)
        for tile in cut:
            seen = pool.images[(slice(number, number + 1), slice(None), *tile.window[1:])]
            maps = model.answer(seen, passes, origin=tile.origin, inner=tile.inner)
            labels[tile.core] = maps["labels"]
            probabilities[(slice(None), *tile.core)] = maps["probabilities"]
        yield labels[0], probabilities[:, 0]


def pool_tiles(
    shape: tuple[int, int, int],
    halo: Halo,
    pass_bytes: Callable[[int, int], int],
    pixel_bytes: int,
    memory: int,
) -> list[Tile]:
    """Tiles of a pool; in training no user sets the limit, so the message says what else to do."""
    return plan_tiles(
        shape,
        halo,
        pass_bytes,
        pixel_bytes,
        memory,
        name="the network",
        remedy="use a smaller ugsm.width, or smaller images: training needs",
    )
