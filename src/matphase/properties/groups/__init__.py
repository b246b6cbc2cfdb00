"""Groups of properties that are measured together, one module per group.

A new property goes into the module of its group and into `matphase.properties.catalogue`; a new
group is a module here, a line in `MEASURE`, and its name in `matphase.properties.plan.GROUPS`.
"""

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

BYTES_PER_VOXEL = {"transport": 360, "sizes": 16, "chords": 6, "particles": 80}
"""Memory of the groups that need the whole volume at once, in bytes per voxel."""
