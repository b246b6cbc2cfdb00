"""Measurements side by side in one run: the sides take turns, since a machine's speed changes."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TypeVar

T = TypeVar("T")


def take_turns(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Call the sides in turn, and return their values round by round.

    Args:
        sides: by name; each is called once in each round, in this order.
        rounds: at least 1.
    """
    found: dict[str, list[T]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def median_seconds(
    sides: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 1
) -> dict[str, float]:
    """Median time in seconds of each side.

    Args:
        sides: by name.
        rounds: that count.
        warm_up: rounds before these, which do not count.
    """

    def timed(side: Callable[[], object]) -> Callable[[], float]:
        def call() -> float:
            began = time.perf_counter()
            side()
            return time.perf_counter() - began

        return call

    seconds = take_turns({name: timed(side) for name, side in sides.items()}, warm_up + rounds)
    return {name: median(values[warm_up:]) for name, values in seconds.items()}
