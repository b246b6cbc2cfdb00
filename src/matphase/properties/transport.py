"""Steady transport through the phases of a volume: effective conductivity and tortuosity factor.

Diffusion in the pores and conduction of ions or electrons obey one equation, div(sigma grad phi) =
0; sigma is called conductivity here, and stands for a diffusivity as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from matphase.images.phases import IGNORE_INDEX
from matphase.properties import laplace
from matphase.properties.arrays import check_axis, check_spacing, same_in_all_layers
from matphase.properties.connectivity import percolating
from matphase.properties.labelled import Indices, Spacing
from matphase.support.errors import InputError

TOLERANCE = 1e-4
"""Relative error of the effective conductivity that the solver may leave, by its own estimate."""
_BYTES, _BYTES_PER_VOXEL, _BYTES_PER_FLOWING, _BYTES_PER_UNEVEN = 10**7, 9, 205, 240
_EVEN = 1.6  # ratio of two lengths of a voxel from which on some couplings count as weak
_MAX_CONTRAST = 1e9


@dataclass(frozen=True)
class Transport:
    """Effective conductivity of a volume along an axis.

    Attributes:
        effective: conductivity of the volume as a whole, in the unit of those given: with 1 for
            the only phase that conducts it is Deff / D0. 0 where nothing percolates.
        tortuosity_factor: tau = eps D0 / Deff (Cooper et al. 2016) with the `volume_fraction` as
            eps; 1 for straight channels, inf where nothing percolates, NaN where phases of
            different conductivity conduct: they have no one D0.

    `effective` and all that follows from it are NaN where the ignored voxels vary along the axis.
        volume_fraction: of all voxels that conduct, those that do not percolate among them.
        percolates: whether a cluster of conducting voxels touches both ends of the axis.
        iterations: of the solver.
        residual: of the solver, squared in the energy norm: by how much of itself `effective` may
            be too large, as the solver estimates.
        flux_imbalance: range of the flux over all cross-sections, relative to its mean; 0 for the
            exact solution. It falls with the square root of `residual`, and is no measure of the
            error where conductivities are orders of magnitude apart.
    """

    effective: float
    tortuosity_factor: float
    volume_fraction: float
    percolates: bool
    iterations: int
    residual: float
    flux_imbalance: float


def transport(
    indices: Indices,
    conductivity: Mapping[int, float],
    axis: int,
    spacing: Spacing,
    tolerance: float = TOLERANCE,
) -> Transport:
    """Solve for the flux along an axis; `laplace` has the equations.

    Potentials are fixed at the outer faces of the volume at both ends of the axis, no flux passes
    its sides, and conductivities of neighbours are averaged harmonically at their common face.
    Clusters of conducting voxels that do not touch both ends are left out: nothing flows in them.

    Ignored voxels insulate, and are no part of the volume: fraction and conductivity are those of
    the rest, whose cross-section is the reference. That needs one cross-section: where the ignored
    voxels are not the same in every layer along the axis, as across a cylinder, there is no result.

    Args:
        indices: phase indices, (y, x) or (z, y, x), at least two voxels along `axis`.
        conductivity: of the phases by index, in one unit; phases that are not named insulate.
        axis: number of the axis.
        spacing: length of a voxel along each axis; only their ratios matter.
        tolerance: greatest `residual`.

    Raises:
        InputError: something of this does not fit, or the tolerance cannot be reached.
    """
    _check(indices, conductivity, axis, spacing, tolerance)
    table = np.zeros(256)
    table[list(conductivity)] = list(conductivity.values())
    counted = int(np.count_nonzero(indices != IGNORE_INDEX))
    conducting = (table > 0)[indices]
    volume_fraction = int(np.count_nonzero(conducting)) / counted if counted else float("nan")
    if not same_in_all_layers(indices != IGNORE_INDEX, axis):
        nan = float("nan")
        return Transport(nan, nan, volume_fraction, False, 0, nan, nan)
    conducting = percolating(conducting, axis)
    if not conducting.any():
        return Transport(0.0, float("inf"), volume_fraction, False, 0, 0.0, 0.0)

    conducting, indices = np.moveaxis(conducting, axis, 0), np.moveaxis(indices, axis, 0)
    lengths = np.array([spacing[axis], *np.delete(spacing, axis)])
    # In units in which a voxel of the best phase has the conductance 1 along the axis.
    largest, weights = float(table.max()), (lengths[0] / lengths) ** 2
    system = laplace.equations(conducting, table[indices[conducting]] / largest, weights)
    solution = laplace.solve(system, tolerance)
    effective = largest * solution.conductance * len(indices) ** 2 / counted
    values = {value for value in conductivity.values() if value > 0}
    tau = volume_fraction * largest / effective if len(values) == 1 else float("nan")
    imbalance = float(np.ptp(solution.currents) / solution.currents.mean())
    return Transport(
        effective, tau, volume_fraction, True, solution.iterations, solution.error_bound, imbalance
    )


def memory_needed(voxels: int, flowing: int, spacing: Spacing, conductivities: int = 1) -> int:
    """Bytes that `transport` takes, the volume included (benchmarks/results/transport_memory.md).

    Args:
        voxels: of the volume.
        flowing: those of them in clusters that join both ends of the axis.
        spacing: length of a voxel along each axis.
        conductivities: number of different ones that conduct.
    """
    even = conductivities == 1 and max(spacing) <= _EVEN * min(spacing)
    per_flowing = _BYTES_PER_FLOWING if even else _BYTES_PER_UNEVEN
    return _BYTES + _BYTES_PER_VOXEL * voxels + per_flowing * flowing


def _check(
    indices: Indices,
    conductivity: Mapping[int, float],
    axis: int,
    spacing: Spacing,
    tolerance: float,
) -> None:
    if indices.dtype != np.uint8 or indices.ndim not in (2, 3) or indices.size == 0:
        raise InputError(
            f"indices of type {indices.dtype} and shape {indices.shape} cannot be used; "
            "give phase indices, uint8 of shape (y, x) or (z, y, x)"
        )
    check_axis(axis, indices.ndim)
    check_spacing(spacing, indices.ndim)
    if indices.shape[axis] < 2:
        raise InputError(
            f"the volume is one voxel thick along axis {axis}, so transport along it "
            "is not defined; choose another axis"
        )
    for phase, value in conductivity.items():
        if not 0 <= phase < IGNORE_INDEX:
            raise InputError(
                f"there is no phase with index {phase} to conduct; give indices 0 to "
                f"{IGNORE_INDEX - 1}"
            )
        if not 0 <= value < np.inf:
            raise InputError(
                f"the conductivity of phase {phase} is {value}; give 0 or a finite number above it"
            )
    conducting = [value for value in conductivity.values() if value > 0]
    if not conducting:
        raise InputError("no phase conducts; give at least one a conductivity above 0")
    if max(conducting) > _MAX_CONTRAST * min(conducting):
        raise InputError(
            f"conductivities from {min(conducting):g} to {max(conducting):g} are too far apart to "
            "solve accurately; give 0 for phases that hardly conduct"
        )
    if not 0 < tolerance < 1:
        raise InputError(
            f"the tolerance is {tolerance}; give a number between 0 and 1, such as 1e-4"
        )
