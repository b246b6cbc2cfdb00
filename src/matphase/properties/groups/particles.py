"""Particles of the active material, and how evenly the binder is spread between them."""

import math

from matphase.properties import dispersion, particles
from matphase.properties.catalogue import Key
from matphase.properties.groups.subject import Found, Subject


def measure(subject: Subject) -> Found:
    """Particles of the active material, and how the binder is spread between them."""
    found, roles = Found(), subject.plan.roles
    active, binder, pore = roles.get("active"), roles.get("binder"), roles.get("pore")
    if active is None:
        found.notes.append(
            "particles were left out: none of the phases has a usual name of the active material; "
            "give its name in roles="
        )
        return found
    labels = particles.particle_labels(
        subject.indices == subject.names.index(active), subject.spacing, subject.counted
    )
    seen = particles.measure_particles(labels, subject.spacing, subject.counted)
    summary = particles.summarise_particles(seen)
    found.values[Key("particle_count", active)] = summary.count
    found.values[Key("particle_median_diameter", active)] = summary.d50
    if binder is None or pore is None:
        return found
    within = subject.indices == subject.names.index(binder)
    room = within | (subject.indices == subject.names.index(pore))
    longest = min(
        side * length for side, length in zip(subject.labelled.shape, subject.spacing, strict=True)
    )
    # the scale that binder is to be spread at is that of the particles it joins
    box = summary.d50 if max(subject.spacing) <= summary.d50 <= longest else math.nan
    found.values[Key("dispersion_index", binder)] = (
        math.nan
        if math.isnan(box)
        else dispersion.dispersion_index(within, room, subject.spacing, box)
    )
    return found
