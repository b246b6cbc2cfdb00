"""Steady conduction through voxels: div(sigma grad phi) = 0 as equations, and their solution.

Finite volumes with one unknown per conducting voxel. The current through the face between two
voxels is their potential difference times the conductance of the two half voxels in series, the
harmonic mean of their conductivities. Potential is 1 at the outer faces of the first voxels along
axis 0 and 0 at those of the last, half a voxel from their centres; all other outer faces and those
of insulating voxels are sealed.

The equations are solved by conjugate gradients with algebraic multigrid as preconditioner. Their
solution is the minimum of the dissipated power, which for a potential difference of 1 is the
conductance of the volume (Dirichlet's principle), so the power of an approximate potential exceeds
it by exactly the squared energy norm of what the potential is off by: a conductance that is right
to 1e-4 needs a potential that is right to 1e-2 only, and few iterations. That norm is bounded
during the iteration, see `solve`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal
from scipy.sparse import csr_array

from matphase.properties.arrays import Bools, Floats
from matphase.properties.multigrid import Multigrid
from matphase.support.errors import InputError

MAX_ITERATIONS = 500
_MAX_ENTRIES = 2**31 - 1  # of a matrix with 32-bit indices, all that pyamg takes
_PART = 2**20  # voxels whose equations are set up at once
_SAFETY = 3  # Lanczos finds the smallest eigenvalue from above, and late; seen up to so much off


@dataclass(frozen=True, eq=False)
class Conduction:
    """The equations matrix @ potential = source of n voxels, in C order of the volume.

    Attributes:
        matrix: symmetric positive definite, (n, n).
        source: conductance between each voxel and the potential 1, shape (n,).
        layer: position of each voxel along axis 0, shape (n,).
        layers: of the volume along axis 0.
    """

    matrix: csr_array
    source: Floats
    layer: NDArray[np.int32]
    layers: int


@dataclass(frozen=True, eq=False)
class Solution:
    """Solution of the equations.

    Attributes:
        conductance: current through the volume at a potential difference of 1.
        error_bound: by how much of itself `conductance` may be too large, see `solve`.
        currents: through the first outer face, between layers, through the last outer face, by the
            same potential, shape (layers + 1,); all equal in the exact solution.
        iterations: that it took.
    """

    conductance: float
    error_bound: float
    currents: Floats
    iterations: int


def equations(conducting: Bools, conductivity: Floats, weights: Sequence[float]) -> Conduction:
    """Set up the equations.

    Args:
        conducting: the voxels that conduct, any number of axes; each cluster of them touches the
            first or the last layer of axis 0, which has at least two layers.
        conductivity: of these voxels in C order, above 0, shape (n,).
        weights: for each axis, conductance along it of a voxel of conductivity 1.

    Raises:
        InputError: there are more voxels than the solver can number.
    """
    n = conductivity.size
    if (2 * conducting.ndim + 1) * n > _MAX_ENTRIES:
        raise InputError(
            f"{n} conducting voxels are too many for one system of equations; cut out a smaller "
            "part of the volume"
        )
    number = np.full([length + 2 for length in conducting.shape], -1, np.int32)
    number[(slice(1, -1),) * conducting.ndim][conducting] = np.arange(n, dtype=np.int32)
    steps = [stride // number.itemsize for stride in number.strides]
    number = number.ravel()
    place = np.flatnonzero(number >= 0)
    layer = (place // steps[0] - 1).astype(np.int32)
    # In the order of their numbers: neighbours before the voxel, the voxel, neighbours after it.
    before = [(-step, weight) for step, weight in zip(steps, weights, strict=True)]
    after = [(step, weight) for step, weight in zip(steps, weights, strict=True)][::-1]

    entries = np.ones(n, np.int32)
    for step, _ in (*before, *after):
        for first in range(0, n, _PART):
            entries[first : first + _PART] += number[place[first : first + _PART] + step] >= 0
    starts = np.zeros(n + 1, np.int32)
    np.cumsum(entries, out=starts[1:])
    columns = np.empty(starts[-1], np.int32)
    values = np.empty(starts[-1])

    to_end = 2 * weights[0] * conductivity
    source = np.where(layer == 0, to_end, 0.0)
    diagonal = source + np.where(layer == conducting.shape[0] - 1, to_end, 0.0)
    # `entries` is from here on the place in the matrix of each row's next entry.
    entries[:] = starts[:-1]

    def add(step: int, weight: float) -> None:
        # In parts, so that what is made on the way stays small beside the matrix.
        for first in range(0, n, _PART):
            neighbour = number[place[first : first + _PART] + step]
            has = np.flatnonzero(neighbour >= 0)
            neighbour = neighbour[has]
            has += first
            one, other = conductivity[has], conductivity[neighbour]
            conductance = weight * 2 * one * other / (one + other)
            columns[entries[has]] = neighbour
            values[entries[has]] = -conductance
            diagonal[has] += conductance
            entries[has] += 1

    for step, weight in before:
        add(step, weight)
    own = entries.copy()
    entries += 1
    for step, weight in after:
        add(step, weight)
    columns[own] = np.arange(n, dtype=np.int32)
    values[own] = diagonal
    return Conduction(
        csr_array((values, columns, starts), shape=(n, n)), source, layer, conducting.shape[0]
    )


def solve(system: Conduction, tolerance: float) -> Solution:
    """Find the conductance of a volume to within a relative tolerance.

    The squared energy norm of the error is at most r.z / lambda, with the residual r, its
    preconditioned z and the smallest eigenvalue lambda of the preconditioned matrix, which the
    conjugate gradients estimate from their own coefficients (Lanczos; Golub & Meurant 2010). As it
    is an estimate, the bound is taken three times as large.

    Args:
        system: the equations.
        tolerance: greatest `error_bound`.

    Raises:
        InputError: the tolerance is not reached within `MAX_ITERATIONS`.
    """
    matrix, source = system.matrix, system.source
    precondition = Multigrid(matrix)
    potential = 1 - (system.layer + 0.5) / system.layers
    residual = source - matrix @ potential
    direction = np.zeros_like(source)
    sizes: list[float] = []
    steps: list[float] = []
    while True:
        corrected = precondition(residual)
        sizes.append(float(residual @ corrected))
        conductance = float(source @ (1 - potential) - residual @ potential)
        bound = _squared_error(steps, sizes) / conductance
        if bound <= tolerance:
            break
        if len(steps) == MAX_ITERATIONS:
            raise InputError(
                f"the potential has not converged to {tolerance:g} of the conductance after "
                f"{MAX_ITERATIONS} iterations (error {bound:.2g}); give a larger tolerance"
            )
        if steps:
            direction *= sizes[-1] / sizes[-2]
        direction += corrected
        del corrected  # the next preconditioning makes the most of the memory
        image = matrix @ direction
        steps.append(sizes[-1] / float(direction @ image))
        potential += steps[-1] * direction
        residual -= steps[-1] * image
        del image
    residual = source - matrix @ potential  # anew, free of what rounding has added up
    gained = np.bincount(system.layer, weights=residual, minlength=system.layers)
    currents = source @ (1 - potential) - np.append(0.0, np.cumsum(gained))
    conductance = float(source @ (1 - potential) - residual @ potential)
    return Solution(conductance, bound, currents, len(steps))


def _squared_error(steps: list[float], sizes: list[float]) -> float:
    """Upper bound of the squared energy norm of the error after these steps; inf if unknown.

    Args:
        steps: lengths of the steps of the conjugate gradients.
        sizes: r.z before each step, and after the last.
    """
    if sizes[-1] == 0:
        return 0.0
    if not steps:
        return float("inf")
    # The Lanczos matrix, whose eigenvalues approach those of the preconditioned matrix.
    inverse, ratios = 1 / np.array(steps), np.array(sizes[1:-1]) / np.array(sizes[:-2])
    diagonal = inverse + np.append(0.0, ratios * inverse[:-1])
    beside = np.sqrt(ratios) * inverse[:-1]
    smallest = eigvalsh_tridiagonal(diagonal, beside, select="i", select_range=(0, 0))
    return _SAFETY * sizes[-1] / float(smallest[0])
