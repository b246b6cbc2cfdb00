"""Division and means of values of which some are not defined, which NaN stands for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ratio(numerator: float | np.number[Any], denominator: float | np.number[Any]) -> float:
    """Quotient of two numbers; NaN where the denominator is 0."""
    return float(numerator) / float(denominator) if denominator else float("nan")


def ratios(numerator: Any, denominator: Any) -> NDArray[np.float64]:
    """Quotients element by element, broadcast; NaN where the denominator is 0.

    The quotient of two scalars is a scalar, which JSON takes for the float that it is.
    """
    numerator, denominator = np.asarray(numerator), np.asarray(denominator)
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    out = np.full(shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.broadcast_to(denominator, shape) != 0)
    quotients: NDArray[np.float64] = out[()]
    return quotients


def mean_of_defined(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean along one axis over the values that are not NaN; NaN where all of them are."""
    return ratios(np.nansum(values, axis=axis), (~np.isnan(values)).sum(axis=axis))
