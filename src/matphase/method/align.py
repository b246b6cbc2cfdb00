"""Label alignment: corrects labels that are misregistered with the image.

Labels from FIB-SEM and EDS are registered to a tomogram with errors of one or two pixels that vary
smoothly over a slice. The errors differ from slice to slice, so a network trained on many slices
still learns the true boundaries. The labels of each slice are then moved by a smooth displacement
field to match the network's probabilities (deformable registration, minimising the cross-entropy),
and training continues with the corrected labels.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from matphase.images.phases import IGNORE_INDEX
from matphase.images.tiles import Halo, tiles
from matphase.learning.weights import phase_fractions
from matphase.settings import AlignSettings
from matphase.support.progress import Reporter, Silent
from matphase.support.scratch import Stack, room_for

SAMPLES = 4
"""Number of dropout samples, enough to locate boundaries."""
STEPS = 60
"""Optimiser steps for each slice and each part of the displacement (affine, dense)."""
MIN_DISPLACEMENT = 0.1
"""Mean displacement of a slice, in pixels, below which its labels stay unchanged: they already fit,
and moving a few pixels only adds noise to the training."""
TILE_SIDE, TILE_HALO = 1024, 64
"""Side and halo, in pixels, of the tiles in which a large slice is aligned."""
QUANTILE_PIXELS = 2**16
"""Maximum number of pixels per slice from which quantiles of displacements are computed."""
_LEARNING_RATE = 0.15
"""Learning rate of the optimiser, in pixels per step."""
_BLUR_SIDE = 9
"""Side in pixels, odd, of the mean filter used when the affine part is first fitted."""
_MIN_PROBABILITY = 1e-4
"""Lower limit of probabilities, so that one confident mistake does not move a boundary far."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Aligned labels and their displacements.

    Attributes:
        labels: (n, height, width) uint8, aligned phase indices; `IGNORE_INDEX` where the label
            came from outside the slice, or was ignored.
        fields: (n, 2, height, width) float32, displacement in pixels along y and x: the label at
            a pixel was taken from the pixel plus the field.
    """

    labels: Stack
    fields: Stack

    def summary(
        self,
        before: Stack,
        names: tuple[str, ...],
        pixel: tuple[float, float] | None = None,
        unit: str | None = None,
    ) -> dict[str, Any]:
        """Summary of the displacements and of the changed volume fractions, for JSON.

        Args:
            before: (n, height, width) phase indices before alignment.
            names: names of the phases.
            pixel: pixel size along y and x; if given, displacements are also reported in `unit`.
            unit: unit of `pixel`.
        """
        n = len(names)
        moved = _LengthStatistics()
        measured = _LengthStatistics()
        counts = np.zeros((2, n), np.int64)
        changed, pixels = 0, 0
        for number in range(len(self.labels)):
            y, x = self.fields[number]
            moved.add(np.hypot(y, x))
            if pixel is not None:
                measured.add(np.hypot(y * pixel[0], x * pixel[1]))
            planes = before[number], self.labels[number]
            for count, plane in zip(counts, planes, strict=True):
                count += np.bincount(plane.ravel(), minlength=256)[:n]
            changed += int(np.count_nonzero(planes[0] != planes[1]))
            pixels += planes[0].size
        fractions = [
            dict(zip(names, phase_fractions(count).tolist(), strict=True)) for count in counts
        ]
        in_units = {}
        if pixel is not None:
            in_units = {
                "mean_displacement": measured.mean,
                "displacement_95_percent": measured.quantile(0.95),
                "unit": unit,
            }
        return {
            "mean_displacement_px": moved.mean,
            "displacement_95_percent_px": moved.quantile(0.95),
            **in_units,
            "labels_changed": changed / pixels,
            "volume_fractions_before": fractions[0],
            "volume_fractions_after": fractions[1],
        }


class _LengthStatistics:
    """Mean of all lengths, and quantiles estimated from a sample of each slice."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0
        self._sample: list[NDArray[np.float32]] = []

    def add(self, lengths: NDArray[np.float32]) -> None:
        self._sum += float(lengths.sum(dtype=np.float64))
        self._count += lengths.size
        step = -(-lengths.size // QUANTILE_PIXELS)
        self._sample.append(lengths.ravel()[::step])

    @property
    def mean(self) -> float:
        return self._sum / self._count

    def quantile(self, share: float) -> float:
        return float(np.quantile(np.concatenate(self._sample), share))


def align(
    probabilities: Iterable[NDArray[np.float32]],
    labels: Stack,
    settings: AlignSettings,
    reporter: Reporter | None = None,
    folder: Path | None = None,
    outside: Stack | None = None,
) -> Alignment:
    """Move the labels of each slice to match the predicted probabilities.

    Labels that would move by less than `MIN_DISPLACEMENT` on average stay unchanged.

    Args:
        probabilities: (phases, height, width) of each slice, predicted by a network that was
            trained on many slices.
        labels: (n, height, width) phase indices; `IGNORE_INDEX` pixels are not used.
        settings: grid of the field, and the penalties on its roughness and size.
        reporter: receives progress, in slices.
        folder: folder for the results, which are kept on disk.
        outside: (n, height, width) pixels outside of the sample, where no label moves to.
    """
    reporter = reporter or Silent()
    n, height, width = labels.shape
    moved = room_for((n, height, width), np.uint8, folder)
    fields = room_for((n, 2, height, width), np.float32, folder)
    for number, shown in enumerate(probabilities):
        known = labels[number]
        field = _field_by_tiles(shown, known, settings)
        if np.hypot(*field).mean() < MIN_DISPLACEMENT:
            field = np.zeros_like(field)
        warped = _warp_labels(known, field)
        if outside is not None:
            warped[outside[number]] = IGNORE_INDEX
        moved[number] = warped
        fields[number] = field
        reporter.advance()
    return Alignment(moved, fields)


def _field_by_tiles(
    shown: NDArray[np.float32], known: NDArray[np.uint8], settings: AlignSettings
) -> NDArray[np.float32]:
    """Displacement field (2, height, width) of one slice, computed tile by tile if it is large.

    This is possible because distant nodes of a field do not influence each other. The affine part
    is common to all tiles.
    """
    height, width = known.shape
    start = _affine_start(shown, known) if settings.affine else torch.zeros(1, 2, height, width)
    field = np.empty((2, height, width), np.float32)
    # equal tiles: a thin one would see too few boundaries
    core = (1, *(-(-side // -(-side // TILE_SIDE)) for side in (height, width)))
    for tile in tiles((1, height, width), core, Halo(TILE_HALO)):
        rows, columns = tile.window[1:]
        part = _displacement(
            shown[:, rows, columns], known[rows, columns], start[..., rows, columns], settings
        )
        field[(slice(None), *tile.core[1:])] = part[(slice(None), *tile.inner)]
    return field


def _affine_start(probabilities: NDArray[np.float32], labels: NDArray[np.uint8]) -> Tensor:
    """Affine displacement field (1, 2, height, width) of a whole slice.

    Large slices are averaged to the size of a tile first, which is enough for six parameters.
    """
    nll, known = _nll_and_known(probabilities, labels)
    factor = -(-max(labels.shape) // TILE_SIDE)
    nll, known = (F.avg_pool2d(part, factor, ceil_mode=True) for part in (nll, known))
    height, width = nll.shape[-2:]
    field = torch.zeros(1, 2, height, width)
    # blurred first, so that boundaries which are far apart still attract each other
    wide = F.avg_pool2d(nll, _BLUR_SIDE, stride=1, padding=_BLUR_SIDE // 2, count_include_pad=False)
    for shown in (wide, nll):
        six = torch.zeros(1, 2, 3)
        field = _fit_field(six, lambda six: _affine_field(six, height, width), field, shown, known)
    if factor == 1:
        return field
    return F.interpolate(factor * field, size=labels.shape, mode="bilinear", align_corners=True)


def _nll_and_known(
    probabilities: NDArray[np.float32], labels: NDArray[np.uint8]
) -> tuple[Tensor, Tensor]:
    """Negative log-probabilities (phases, ...), and one-hot labels (1, phases, ...)."""
    shown = torch.from_numpy(np.ascontiguousarray(probabilities))
    nll = -shown.float().clamp_min(_MIN_PROBABILITY).log()
    # ignored pixels belong to no phase, so they do not contribute to the cost
    phases = torch.from_numpy(labels.astype(np.int64))
    known = torch.stack([(phases == index).float() for index in range(len(shown))])[None]
    return nll, known


def _displacement(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.uint8],
    start: Tensor,
    settings: AlignSettings,
) -> NDArray[np.float32]:
    """Displacement field (2, height, width) of one tile, along y and x, that begins at `start`."""
    nll, known = _nll_and_known(probabilities, labels)
    height, width = labels.shape

    def penalty(nodes: Tensor) -> Tensor:
        rough = (nodes.diff(dim=2) ** 2).mean() + (nodes.diff(dim=3) ** 2).mean()
        return settings.smoothness * rough + settings.size * (nodes**2).mean()

    nodes = torch.zeros(1, 2, height // settings.grid + 2, width // settings.grid + 2)
    moved = _fit_field(
        nodes, lambda nodes: _dense_field(nodes, height, width), start, nll, known, penalty
    )
    result: NDArray[np.float32] = moved[0].numpy()
    return result


def _fit_field(
    parameters: Tensor,
    field_of: Callable[[Tensor], Tensor],
    start: Tensor,
    nll: Tensor,
    known: Tensor,
    penalty: Callable[[Tensor], Tensor] = lambda _: torch.zeros(()),
) -> Tensor:
    """Fit the field (1, 2, height, width) that minimises the cross-entropy of the moved labels.

    Args:
        parameters: initial parameters of the field.
        field_of: computes from the parameters the field that is added to `start`.
        start: (1, 2, height, width) initial field.
        nll: (phases, height, width) negative logarithm of the predicted probabilities.
        known: (1, phases, height, width) labels, one-hot.
        penalty: penalty on the parameters.
    """
    parameters.requires_grad_()
    optimiser = torch.optim.Adam([parameters], lr=_LEARNING_RATE)
    for _ in range(STEPS):
        where = _sampling_grid(start + field_of(parameters))
        warped = F.grid_sample(known, where, padding_mode="border", align_corners=True)[0]
        cost = (warped * nll).sum() / warped.sum().clamp_min(1)
        (parameters.grad,) = torch.autograd.grad(cost + penalty(parameters), parameters)
        optimiser.step()
    with torch.no_grad():
        return start + field_of(parameters)


def _affine_field(six: Tensor, height: int, width: int) -> Tensor:
    """Affine displacement field (1, 2, height, width).

    Args:
        six: (1, 2, 3) parameters in pixels, along y and x: shift of the centre, and further
            displacement at the lower and at the right border.
        height: of the slice in pixels.
        width: of the slice in pixels.
    """
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    shift, down, right = (part[..., None, None] for part in six.unbind(-1))
    return shift + down * rows + right * columns


def _dense_field(nodes: Tensor, height: int, width: int) -> Tensor:
    """Field at every pixel, interpolated from its nodes."""
    return F.interpolate(nodes, size=(height, width), mode="bicubic", align_corners=True)


def _sampling_grid(field: Tensor) -> Tensor:
    """Source of each pixel's label in the form of `grid_sample`: x first, borders at -1 and 1."""
    height, width = field.shape[-2:]
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    x = columns + field[:, 1] * 2 / max(1, width - 1)
    y = rows[:, None] + field[:, 0] * 2 / max(1, height - 1)
    return torch.stack([x, y], dim=-1)


def _warp_labels(labels: NDArray[np.uint8], field: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Labels moved by a field, by nearest-neighbour interpolation."""
    height, width = labels.shape
    rows = np.rint(np.arange(height)[:, None] + field[0]).astype(np.int64)
    columns = np.rint(np.arange(width) + field[1]).astype(np.int64)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found = labels[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.where(inside, found, np.uint8(IGNORE_INDEX))
