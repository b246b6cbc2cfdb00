"""Largest clusters, and clusters that percolate along the axes."""

import math

from matphase.properties import connectivity
from matphase.properties.catalogue import Key
from matphase.properties.groups.subject import Found, Subject


def measure(subject: Subject) -> Found:
    """Largest clusters, and shares that percolate along the axes."""
    found = Found()
    for index, name in enumerate(subject.names):
        clusters = connectivity.find_clusters(indices == index for indices, _ in subject.slabs())
        seen = connectivity.connectivity(clusters)
        found.values[Key("connected_share", name)] = seen.largest_share
        for number, axis in subject.axes():
            found.values[Key("percolating_share", name, axis)] = (
                seen.percolating_share[number] if subject.survey.same_along[number] else math.nan
            )
    subject.note_if_varying(found, "the percolating share")
    return found
