"""Label alignment: moves labels that are misregistered with the image to where it shows them.

Labels from FIB-SEM and EDS are registered to a tomogram with errors of a pixel or two that vary
smoothly over a slice. They differ from slice to slice, so a network that learns from many slices
learns where boundaries really are; each slice's labels are then moved, by a smooth displacement
field, to where the network sees their phases (deformable registration of a segmentation to
probabilities, by cross-entropy). The network goes on learning from labels that fit better.
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
"""So many dropout samples show well enough where a boundary is."""
STEPS = 60
"""Steps of the optimiser for each slice, and for each part of the displacement."""
STAYS = 0.1
"""Mean displacement in pixels of a slice under which its labels stay as they are: they are as good
already, and to move a few of them only makes another training, by chance a worse one."""
PART, PART_HALO = 1024, 64
"""Sides in pixels of the parts in which a large slice is aligned, and what they see around them."""
SAMPLED = 2**16
"""Pixels of a slice that quantiles of displacements look at."""
_RATE = 0.15
"""Its learning rate, in pixels a step."""
_BLUR = 9
"""Side of the mean, in pixels, through which the affine part sees first; odd."""
_LEAST = 1e-4
"""Probabilities are not taken below this, so that one sure mistake moves no boundary far."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Labels that were moved.

    Attributes:
        labels: (n, height, width) uint8, aligned; `IGNORE_INDEX` where what was moved there lay
            outside of the slice, or was ignored.
        fields: (n, 2, height, width) float32 in pixels, along y and x: the label at a pixel was
            before at the pixel plus the field.
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
        """How far labels moved, and what that did to the phases; ready for JSON.

        Args:
            before: (n, height, width), the labels as they were.
            names: of the phases.
            pixel: its lengths along y and x, where they are known; then displacements are given
                in `unit`, too.
            unit: of `pixel`.
        """
        n = len(names)
        moved = _Lengths()
        measured = _Lengths()
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


class _Lengths:
    """Mean and quantiles of many lengths; the quantiles of a sample of each slice."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0
        self._sample: list[NDArray[np.float32]] = []

    def add(self, lengths: NDArray[np.float32]) -> None:
        self._sum += float(lengths.sum(dtype=np.float64))
        self._count += lengths.size
        step = -(-lengths.size // SAMPLED)
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
) -> Alignment:
    """Move the labels of each slice to where the probabilities show their phases.

    A slice whose labels would move by less than `STAYS` on average keeps them.

    Args:
        probabilities: (phases, height, width) of each slice, by a network that has learned from
            many slices.
        labels: (n, height, width) phase indices; `IGNORE_INDEX` pixels take no part.
        settings: nodes of the field, and the penalties of its roughness and its size.
        reporter: advanced by one for each slice.
        folder: for the results, which are kept on disk.
    """
    reporter = reporter or Silent()
    n, height, width = labels.shape
    moved = room_for((n, height, width), np.uint8, folder)
    fields = room_for((n, 2, height, width), np.float32, folder)
    for number, shown in enumerate(probabilities):
        known = labels[number]
        field = _by_parts(shown, known, settings)
        if np.hypot(*field).mean() < STAYS:
            field = np.zeros_like(field)
        moved[number] = _nearest(known, field)
        fields[number] = field
        reporter.advance()
    return Alignment(moved, fields)


def _by_parts(
    shown: NDArray[np.float32], known: NDArray[np.uint8], settings: AlignSettings
) -> NDArray[np.float32]:
    """The field (2, height, width) of a slice; of a large one from overlapping parts.

    A field is local: where its nodes are far apart they do not know of each other.
    """
    height, width = known.shape
    field = np.empty((2, height, width), np.float32)
    for tile in tiles((1, height, width), (1, PART, PART), Halo(PART_HALO)):
        rows, columns = tile.window[1:]
        part = _displacement(
            torch.from_numpy(np.ascontiguousarray(shown[:, rows, columns])),
            known[rows, columns],
            settings,
        )
        field[(slice(None), *tile.core[1:])] = part[(slice(None), *tile.inner)]
    return field


def _displacement(
    probabilities: Tensor, labels: NDArray[np.uint8], settings: AlignSettings
) -> NDArray[np.float32]:
    """The field (2, height, width) of one slice, along y and x."""
    n_phases, height, width = probabilities.shape
    surprise = -probabilities.float().clamp_min(_LEAST).log()
    # an ignored pixel is of no phase: it costs nothing, wherever it is moved
    phases = torch.from_numpy(labels.astype(np.int64))
    known = torch.stack([(phases == index).float() for index in range(n_phases)])[None]
    field = torch.zeros(1, 2, height, width)
    if settings.affine:
        # seen through a blur, boundaries attract those that lie farther off
        wide = F.avg_pool2d(surprise, _BLUR, stride=1, padding=_BLUR // 2, count_include_pad=False)
        for shown in (wide, surprise):
            six = torch.zeros(1, 2, 3)
            field = _fitted(six, lambda six: _affine(six, height, width), field, shown, known)

    def penalty(nodes: Tensor) -> Tensor:
        rough = (nodes.diff(dim=2) ** 2).mean() + (nodes.diff(dim=3) ** 2).mean()
        return settings.smoothness * rough + settings.size * (nodes**2).mean()

    nodes = torch.zeros(1, 2, height // settings.grid + 2, width // settings.grid + 2)
    moved = _fitted(
        nodes, lambda nodes: _dense(nodes, height, width), field, surprise, known, penalty
    )
    result: NDArray[np.float32] = moved[0].numpy()
    return result


def _fitted(
    parameters: Tensor,
    field_of: Callable[[Tensor], Tensor],
    start: Tensor,
    surprise: Tensor,
    known: Tensor,
    penalty: Callable[[Tensor], Tensor] = lambda _: torch.zeros(()),
) -> Tensor:
    """The field (1, 2, height, width) that moves labels to where they surprise least.

    Args:
        parameters: of the field, where the search starts.
        field_of: what they add to the field.
        start: (1, 2, height, width), the field without them.
        surprise: (phases, height, width), negative logarithm of what the network sees.
        known: (1, phases, height, width), the labels, one-hot.
        penalty: of the parameters.
    """
    parameters.requires_grad_()
    optimiser = torch.optim.Adam([parameters], lr=_RATE)
    for _ in range(STEPS):
        where = _sampling(start + field_of(parameters))
        warped = F.grid_sample(known, where, padding_mode="border", align_corners=True)[0]
        cost = (warped * surprise).sum() / warped.sum().clamp_min(1)
        (parameters.grad,) = torch.autograd.grad(cost + penalty(parameters), parameters)
        optimiser.step()
    with torch.no_grad():
        return start + field_of(parameters)


def _affine(six: Tensor, height: int, width: int) -> Tensor:
    """A field (1, 2, height, width): a shift, and what the slice's sides are off by beyond it.

    Args:
        six: (1, 2, 3) in pixels, along y and x: shift, growth towards the lower, the right side.
        height: of the slice in pixels.
        width: of the slice in pixels.
    """
    rows, columns = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    shift, down, right = (part[..., None, None] for part in six.unbind(-1))
    return shift + down * rows + right * columns


def _dense(nodes: Tensor, height: int, width: int) -> Tensor:
    """The field at every pixel, from that at the nodes."""
    return F.interpolate(nodes, size=(height, width), mode="bicubic", align_corners=True)


def _sampling(field: Tensor) -> Tensor:
    """Where each pixel's label comes from, as `grid_sample` wants it: x first, sides at -1, 1."""
    height, width = field.shape[-2:]
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    x = columns + field[:, 1] * 2 / max(1, width - 1)
    y = rows[:, None] + field[:, 0] * 2 / max(1, height - 1)
    return torch.stack([x, y], dim=-1)


def _nearest(labels: NDArray[np.uint8], field: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Labels moved by a field; of pixels, none is mixed."""
    height, width = labels.shape
    rows = np.rint(np.arange(height)[:, None] + field[0]).astype(np.int64)
    columns = np.rint(np.arange(width) + field[1]).astype(np.int64)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found = labels[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.where(inside, found, np.uint8(IGNORE_INDEX))
