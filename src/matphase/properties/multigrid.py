"""Algebraic multigrid for conduction matrices: a cheap, symmetric approximation of the inverse.

Smoothed aggregation (Vanek, Mandel & Brezina 1996) of parts that pyamg has. Its ready-made solver
is not used: it draws random numbers, and for matrices of this size it takes twice the time and the
memory. What differs from the textbook is that interpolation to the finest level is not smoothed:
the conjugate gradients around it then need a few iterations more, each of them much cheaper.
"""

from typing import NamedTuple

import numpy as np
from pyamg.aggregation.aggregate import standard_aggregation
from pyamg.relaxation.relaxation import gauss_seidel
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import splu

from matphase.properties.arrays import Floats

_SMALL = 500  # unknowns that are solved for directly
# Weaker couplings, relative to the diagonal, are not lumped together. Where conductivities differ
# by orders of magnitude this saves up to nine tenths of the iterations.
_WEAK_FINEST, _WEAK = 0.08, 0.02
_PART = 2**20  # rows that are looked at at once
_DAMPING = 2 / 3  # 4/3 over the greatest eigenvalue of D^-1 A, which is at most 2


class _Level(NamedTuple):
    matrix: csr_array
    interpolation: csr_array


class Multigrid:
    """One V-cycle, as an operator on residuals.

    Args:
        matrix: symmetric, positive definite, with no positive entries beside the diagonal.
    """

    def __init__(self, matrix: csr_array) -> None:
        self._levels: list[_Level] = []
        while matrix.shape[0] > _SMALL:
            weak = _WEAK if self._levels else _WEAK_FINEST
            interpolation, _ = standard_aggregation(_strong(matrix, weak))
            if interpolation.nnz == 0:
                # What is left is hardly coupled, and would fill in if it were solved exactly.
                matrix = diags_array(matrix.diagonal())
                break
            interpolation = interpolation.astype(np.float64)
            if self._levels:
                damped = diags_array(_DAMPING / matrix.diagonal()) @ matrix
                interpolation = csr_array(interpolation - damped @ interpolation)
            self._levels.append(_Level(matrix, interpolation))
            matrix = interpolation.T.tocsr() @ (matrix @ interpolation)
        self._coarsest = splu(matrix.tocsc())

    def __call__(self, residual: Floats) -> Floats:
        """Approximate the inverse of the matrix times `residual`, shape (n,)."""
        return self._cycle(0, residual)

    def _cycle(self, depth: int, residual: Floats) -> Floats:
        if depth == len(self._levels):
            solved: Floats = self._coarsest.solve(residual)
            return solved
        matrix, interpolation = self._levels[depth]
        correction = np.zeros_like(residual)
        gauss_seidel(matrix, correction, residual, sweep="forward")
        remaining = matrix @ correction
        np.subtract(residual, remaining, out=remaining)
        remaining = interpolation.T @ remaining
        correction += interpolation @ self._cycle(depth + 1, remaining)
        # The other way round, so that the whole is symmetric.
        gauss_seidel(matrix, correction, residual, sweep="backward")
        return correction


def _strong(matrix: csr_array, weak: float) -> csr_array:
    """The couplings |a_ij| >= weak sqrt(a_ii a_jj)."""
    weakest = -np.max(matrix.data, where=matrix.data < 0, initial=-np.inf)
    if weakest >= weak * matrix.data.max():
        return matrix  # all are, and a copy would be the largest piece of memory
    scale = np.sqrt(matrix.diagonal())
    starts, columns, data = matrix.indptr, matrix.indices, matrix.data
    strong = np.empty(data.size, np.bool_)
    lengths = np.zeros(len(starts), np.int32)
    # In parts of rows, and without values: aggregation looks at the pattern only.
    for first in range(0, scale.size, _PART):
        last = min(first + _PART, scale.size)
        part = slice(starts[first], starts[last])
        least = weak * np.repeat(scale[first:last], np.diff(starts[first : last + 1]))
        strong[part] = np.abs(data[part]) >= least * scale[columns[part]]
        of_rows = np.add.reduceat(strong[part], starts[first:last] - starts[first], dtype=np.int32)
        lengths[first + 1 : last + 1] = of_rows
    kept = columns[strong]
    pattern = np.ones(kept.size, np.int8), kept, np.cumsum(lengths, dtype=np.int32)
    return csr_array(pattern, shape=matrix.shape)
