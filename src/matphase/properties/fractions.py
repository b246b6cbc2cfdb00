"""Volume fractions of the phases, and their profiles along the axes.

Ignored voxels do not count, neither as a phase nor in the total.
"""

from dataclasses import dataclass

import numpy as np

from matphase.properties.arrays import Counts, Floats, check_indices
from matphase.properties.labelled import Indices
from matphase.support.errors import InputError
from matphase.support.ratios import ratios

_INDICES = 256  # that uint8 can hold


@dataclass(frozen=True, eq=False)
class PhaseCounts:
    """Voxels of each phase at each position along each axis of a volume or of a slab of it.

    Slabs are consecutive along axis 0 and do not overlap. Their sum, first slab first, is the
    count of the volume.

    Attributes:
        profiles: one array per axis, of shape (length of the axis, n_phases).
    """

    profiles: tuple[Counts, ...]

    def __add__(self, below: "PhaseCounts") -> "PhaseCounts":
        """Counts of this slab and the next one together.

        Raises:
            InputError: the slabs differ in more than their number of slices.
        """
        shapes, others = ([p.shape for p in counts.profiles] for counts in (self, below))
        if shapes[1:] != others[1:] or shapes[0][1:] != others[0][1:]:
            raise InputError(
                f"counts of slabs with profiles of shapes {shapes} and {others} do not add up; "
                "count slabs of one volume"
            )
        along_first = np.concatenate([self.profiles[0], below.profiles[0]])
        pairs = zip(self.profiles[1:], below.profiles[1:], strict=True)
        return PhaseCounts((along_first, *(one + other for one, other in pairs)))


def phase_counts(slab: Indices, n_phases: int) -> PhaseCounts:
    """Count the voxels of each phase at each position along each axis; slabs need no overlap.

    Args:
        slab: phase indices, (y, x) or (z, y, x).
        n_phases: number of phases.

    Raises:
        InputError: not phase indices of that many phases.
    """
    check_indices(slab, n_phases)
    height, width = slab.shape[-2:]
    layers = slab.reshape(-1, height, width)
    along_z = np.zeros((len(layers), _INDICES), np.int64)
    along_y, along_x = (np.zeros((side, _INDICES), np.int64) for side in (height, width))
    rows, columns = _INDICES * np.arange(height)[:, np.newaxis], _INDICES * np.arange(width)
    for number, layer in enumerate(layers):
        in_rows = np.bincount((layer + rows).ravel(), minlength=along_y.size)
        in_columns = np.bincount((layer + columns).ravel(), minlength=along_x.size)
        along_y += in_rows.reshape(along_y.shape)
        along_x += in_columns.reshape(along_x.shape)
        along_z[number] = in_rows.reshape(along_y.shape).sum(axis=0)
    profiles = (along_z, along_y, along_x)[-slab.ndim :]
    return PhaseCounts(tuple(profile[:, :n_phases] for profile in profiles))


def fractions_from_counts(counts: PhaseCounts) -> Floats:
    """Share of each phase in the counted voxels.

    Returns:
        Shape (n_phases,), in [0, 1], of sum 1; NaN where no voxel counts.
    """
    voxels = counts.profiles[0].sum(axis=0)
    return ratios(voxels, voxels.sum())


def profiles_from_counts(counts: PhaseCounts) -> tuple[Floats, ...]:
    """Share of each phase in the counted voxels of each position along each axis.

    Returns:
        One array per axis, of shape (length of the axis, n_phases); NaN at positions where no voxel
        counts.
    """
    return tuple(ratios(p, p.sum(axis=1, keepdims=True)) for p in counts.profiles)


def volume_fractions(indices: Indices, n_phases: int) -> Floats:
    """Volume fraction of each phase: area fraction where `indices` is an image.

    Arguments and errors are those of `phase_counts`, the result is that of `fractions_from_counts`.
    """
    return fractions_from_counts(phase_counts(indices, n_phases))


def fraction_profiles(indices: Indices, n_phases: int) -> tuple[Floats, ...]:
    """Volume fraction of each phase along each axis.

    Arguments and errors are those of `phase_counts`, the result is that of `profiles_from_counts`.
    """
    return profiles_from_counts(phase_counts(indices, n_phases))
