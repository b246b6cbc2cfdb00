"""Mean and standard deviation of a number over seeds."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Self


@dataclass(frozen=True)
class Spread:
    """A number over seeds.

    Attributes:
        mean: of the seeds in which it is defined; None where it is in none.
        sd: sample standard deviation over them; None for fewer than two.
        n_seeds: in how many seeds it is defined.
    """

    mean: float | None
    sd: float | None
    n_seeds: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Self:
        """The spread of one value a seed, None where it is not defined."""
        known = [float(value) for value in values if value is not None]
        return cls(
            fmean(known) if known else None, stdev(known) if len(known) > 1 else None, len(known)
        )


NOTHING = Spread(None, None, 0)
"""Of a number that no seed has."""
