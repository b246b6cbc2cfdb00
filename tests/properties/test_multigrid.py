"""Parts of the multigrid solver; `test_transport` has what it is for."""

import numpy as np
import pytest
from pyamg.strength import symmetric_strength_of_connection

from matphase.properties import laplace, multigrid


@pytest.mark.parametrize("weights", [(1.0, 25.0, 25.0), (1.0, 0.01, 0.3)])
def test_strong_couplings_are_those_of_pyamg(
    monkeypatch: pytest.MonkeyPatch, weights: tuple[float, ...]
) -> None:
    monkeypatch.setattr(multigrid, "_PART", 300)  # several parts, and a last one that is shorter
    rng = np.random.default_rng(0)
    conducting = np.ones((9, 10, 11), np.bool_)
    conductivity = 10.0 ** rng.integers(-3, 1, conducting.size)
    matrix = laplace.equations(conducting, conductivity, weights).matrix
    expected = symmetric_strength_of_connection(matrix, 0.08)
    found = multigrid._strong(matrix, 0.08)
    assert found.nnz < matrix.nnz
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
