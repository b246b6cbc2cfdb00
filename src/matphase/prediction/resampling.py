"""Prediction at the model's voxel size, brought back to the volume's own grid."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from matphase.images.resample import Factors, Resampling
from matphase.images.tiles import Halo, Maps, Window
from matphase.prediction.maps import KINDS

_SOURCES = {"labels": "probabilities", "global_labels": "global_probabilities"}
"""Maps of phases, and the probabilities whose interpolation decides them."""


def maps_brought_back(
    maps: Maps, outside: NDArray[np.bool_] | None, core: Window, resampling: Resampling
) -> Maps:
    """Maps of a part of the volume, from maps of the resampled volume.

    Numbers are interpolated linearly. Labels are the phase of the highest interpolated probability;
    for samples, which have none, that of the highest interpolated share. Masks are true where their
    interpolated value is at least 1/2.

    Args:
        maps: maps of the tile that the part needs, with phase indices.
        outside: (z, y, x) voxels of the tile that are outside of the sample; None if there are
            none.
        core: (z, rows, columns) of the volume.
        resampling: how the volume was resampled.
    """
    inside = None if outside is None else ~outside
    n_phases = len(maps["probabilities"])
    found: Maps = {}
    for name, array in maps.items():
        kind = KINDS[name]
        if kind.content == "number":
            found[name] = resampling.brought_back(array, inside, core)
        elif kind.content == "mask":
            found[name] = resampling.brought_back(array, inside, core) >= 0.5
        elif name not in _SOURCES:
            found[name] = np.stack(
                [_most_common(one, n_phases, inside, core, resampling) for one in array]
            )
    for name, source in _SOURCES.items():
        found[name] = found[source].argmax(axis=0).astype(np.uint8)
    return found


def _most_common(
    labels: NDArray[np.uint8],
    n_phases: int,
    inside: NDArray[np.bool_] | None,
    core: Window,
    resampling: Resampling,
) -> NDArray[np.uint8]:
    """Phase with the largest share around each voxel; labels (z, y, x)."""
    best, phase = None, None
    for index in range(n_phases):
        share = resampling.brought_back(labels == index, inside, core)
        if best is None or phase is None:
            best, phase = share, np.zeros(share.shape, np.uint8)
        else:
            more = share > best
            best[more], phase[more] = share[more], index
    assert phase is not None
    return phase


# --- memory, counted by voxels of the volume ------------------------------------------------------


def own_halo(halo: Halo, factors: Factors) -> Halo:
    """Halo in voxels of the volume, from one in voxels of the resampled volume."""
    slices = math.ceil((halo.slices + 1) / factors[0])
    if halo.radius is None:
        return Halo(None, slices=slices)
    least = min(factors[1:])
    return Halo(math.ceil((halo.radius + halo.multiple + 1) / least), 1, slices)


def own_pass_bytes(
    pass_bytes: Callable[[int, int], int], factors: Factors
) -> Callable[[int, int], int]:
    """Memory of one pass over a slice of (height, width) voxels of the volume."""

    def needed(height: int, width: int) -> int:
        return pass_bytes(math.ceil(height * factors[1]), math.ceil(width * factors[2]))

    return needed


def own_pixel_bytes(pixel_bytes: int, n_phases: int, samples: int, factors: Factors) -> int:
    """Memory per pixel of a window and slice of the volume.

    Besides what a resampled pixel takes, the part of the volume that is read takes 12 bytes, and a
    map that is brought back up to 20 bytes; a thin block sees up to two resampled slices more.
    """
    z, y, x = factors
    slices = z if z == 1 else z + 2
    return math.ceil(pixel_bytes * slices * y * x + 12 + 20 + 8 * n_phases + 4 * samples)
