"""Size distribution of each phase by local thickness."""

import numpy as np

from matphase.properties import sizes
from matphase.properties.catalogue import Key
from matphase.properties.estimate import Curve
from matphase.properties.groups.subject import Found, Subject, quotient
from matphase.properties.sampling import blocks, bootstrap_error


def measure(subject: Subject) -> Found:
    """Continuous size distribution of each phase."""
    found = Found()
    for index, name in enumerate(subject.names):
        thickness = sizes.local_thickness(
            subject.indices == index, subject.spacing, subject.counted
        )
        seen = sizes.distribution_of_thickness(thickness)
        mean = Key("mean_diameter", name)
        found.values |= {mean: seen.mean, Key("median_diameter", name): seen.d50}
        if subject.in_full:
            rows = [
                (thickness[place].sum(), np.count_nonzero(thickness[place]))
                for place in blocks(subject.labelled.shape)
            ]
            error = bootstrap_error(np.array(rows, np.float64), quotient)
            found.sampling[mean] = {"bootstrap": float(error[0])}
            found.curves[f"sizes_{name}"] = Curve(
                f"Size distribution of {name}",
                f"diameter / {subject.length_unit}",
                "volume share with this diameter or larger",
                seen.diameters,
                {name: seen.share_at_least},
            )
    return found
