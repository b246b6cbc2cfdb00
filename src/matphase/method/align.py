"""Label alignment: moves labels that lie beside what they label to where the image shows it.

Labels from FIB-SEM and EDS are registered to a tomogram with errors of a pixel or two that vary
smoothly over a slice. They differ from slice to slice, so a network that learns from many slices
learns where boundaries really are; each slice's labels are then moved, by a smooth displacement
field, to where the network sees their phases (deformable registration of a segmentation to
probabilities, by cross-entropy). The network goes on learning from labels that fit better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.weights import phase_fractions
from matphase.settings import AlignSettings
from matphase.support.progress import Reporter, Silent

SAMPLES = 4
"""So many dropout samples show well enough where a boundary is."""
STEPS = 60
"""Steps of the optimiser for each slice, and for each part of the displacement."""
STAYS = 0.1
"""Mean displacement in pixels of a slice under which its labels stay as they are: they are as good
already, and to move a few of them only makes another training, by chance a worse one."""
_RATE = 0.15
"""Its learning rate, in pixels a step."""
_BLUR = 9
"""Side of the mean, in pixels, through which the affine part sees first; odd."""
_LEAST = 1e-4
"""Probabilities are not taken below this, so that one sure mistake moves no boundary far."""


@dataclass(frozen=True)
class Alignment:
    """Labels that were moved.

    Attributes:
        labels: (n, height, width) uint8, aligned; `IGNORE_INDEX` where what was moved there lay
            outside of the slice, or was ignored.
        fields: (n, 2, height, width) float32 in pixels, along y and x: the label at a pixel was
            before at the pixel plus the field.
    """

    labels: NDArray[np.uint8]
    fields: NDArray[np.float32]

    def summary(
        self,
        before: NDArray[np.uint8],
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
        lengths = np.hypot(self.fields[:, 0], self.fields[:, 1])
        measured: dict[str, Any] = {}
        if pixel is not None:
            true = np.hypot(self.fields[:, 0] * pixel[0], self.fields[:, 1] * pixel[1])
            measured = {
                "mean_displacement": float(true.mean()),
                "displacement_95_percent": float(np.quantile(true, 0.95)),
                "unit": unit,
            }
        shares = (phase_fractions(labels, len(names)).tolist() for labels in (before, self.labels))
        fractions = [dict(zip(names, one, strict=True)) for one in shares]
        return {
            "mean_displacement_px": float(lengths.mean()),
            "displacement_95_percent_px": float(np.quantile(lengths, 0.95)),
            **measured,
            "labels_changed": float(np.mean(self.labels != before)),
            "volume_fractions_before": fractions[0],
            "volume_fractions_after": fractions[1],
        }


def align(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.uint8],
    settings: AlignSettings,
    reporter: Reporter | None = None,
) -> Alignment:
    """Move the labels of each slice to where the probabilities show their phases.

    A slice whose labels would move by less than `STAYS` on average keeps them.

    Args:
        probabilities: (n, phases, height, width) of a network that has learned from many slices.
        labels: (n, height, width) phase indices; `IGNORE_INDEX` pixels take no part.
        settings: nodes of the field, and the penalties of its roughness and its size.
        reporter: advanced by one for each slice.
    """
    reporter = reporter or Silent()
    moved, fields = [], []
    for shown, known in zip(probabilities, labels, strict=True):
        field = _displacement(torch.from_numpy(shown), known, settings)
        if np.hypot(*field).mean() < STAYS:
            field = np.zeros_like(field)
        moved.append(_nearest(known, field))
        fields.append(field)
        reporter.advance()
    return Alignment(np.stack(moved), np.stack(fields))


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
