"""Groups of properties that are measured together, one module per group.

A new property goes into the module of its group and into `matphase.properties.catalogue`; a new
group is a module here, a line in `MEASURE`, and its name in `matphase.properties.plan.GROUPS`.
"""

import math
from collections.abc import Callable

from matphase.properties.groups import (
    chords,
    connectivity,
    correlation,
    fractions,
    interfaces,
    particles,
    sizes,
    transport,
)
from matphase.properties.groups.subject import Found, Subject

MEASURE: dict[str, Callable[[Subject], Found]] = {
    "fractions": fractions.measure,
    "interfaces": interfaces.measure,
    "connectivity": connectivity.measure,
    "transport": transport.measure,
    "sizes": sizes.measure,
    "correlation": correlation.measure,
    "chords": chords.measure,
    "particles": particles.measure,
}
"""The function of each group in `matphase.properties.plan.GROUPS`."""


def _per_voxel(amount: int) -> Callable[[Subject], int]:
    return lambda subject: amount * math.prod(subject.labelled.shape)


MEMORY: dict[str, Callable[[Subject], int]] = {
    "transport": transport.memory_needed,
    "sizes": _per_voxel(16),
    "correlation": correlation.memory_needed,
    "chords": _per_voxel(6),
    "particles": _per_voxel(80),
}
"""Bytes that the groups need of which the whole volume is measured at once."""
