"""Measurement of all groups of a plan, with the errors of segmentation and of sampling."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from matphase.images.volume import Volume
from matphase.properties import corrections
from matphase.properties.catalogue import PROPERTIES, Key, unit_of
from matphase.properties.estimate import Measurements, Property
from matphase.properties.groups import BYTES_PER_VOXEL, MEASURE
from matphase.properties.groups.correlation import correlation_bytes
from matphase.properties.groups.subject import Found, Subject
from matphase.properties.labelled import Labelled
from matphase.properties.plan import Plan
from matphase.properties.sampling import needed_volume
from matphase.scores.validation import Validation
from matphase.support.errors import InputError
from matphase.support.progress import Reporter

MIN_SAMPLES = 2
"""Fewest dropout samples that have a spread."""

MIN_SLICES = 4
"""Fewest validation slices from which the error of a correction can be estimated."""


def measure_labelled(
    labelled: Labelled,
    plan: Plan,
    *,
    samples: Sequence[Labelled],
    validation: Validation | None,
    memory: int,
    reporter: Reporter,
) -> Measurements:
    """Measure the groups of a plan.

    Args:
        labelled: the labels.
        plan: what to measure.
        samples: labels of the dropout samples, whose spread is the error of segmentation.
        validation: errors on validation slices, by which fractions and areas are corrected.
        memory: bytes for groups that need the whole volume; a group that needs more is left out,
            with a note.
        reporter: advances by one for each group on each volume.

    Raises:
        InputError: a label that belongs to no phase, or samples of another shape.
    """
    for one in samples:
        if one.shape != labelled.shape:
            raise InputError(
                f"{one.volume.name} has shape {one.shape} but {labelled.volume.name} "
                f"{labelled.shape}; give samples of the same volume"
            )
    notes: list[str] = []
    if len(labelled.shape) == 3 and labelled.shape[0] == 1:
        labelled, samples = _as_slice(labelled), [_as_slice(one) for one in samples]
        plan = replace(plan, axes=plan.axes.replace("z", ""))
        notes.append("the volume is one voxel thick, so it was measured as a slice")
    groups = _that_fit(plan, labelled, memory, notes)
    drawn = samples if len(samples) >= MIN_SAMPLES else ()
    reporter.start("measure", len(groups) * (1 + len(drawn)))
    correlate = correlation_bytes(labelled.shape) <= memory
    whole = Subject(labelled, plan, in_full=True, correlate=correlate)
    found = _measured(whole, groups, reporter)
    values = [
        _measured(Subject(one, plan, in_full=False), groups, reporter).values for one in drawn
    ]
    reporter.finish()
    if labelled.spacing is None:
        notes.append(
            "the voxel size is not known, so lengths are in voxels (px); give voxel_size= and unit="
        )
    spread = _spread(found, values)
    properties = _properties(labelled, found, spread)
    if validation is not None and len(validation) < MIN_SLICES:
        notes.append(
            f"volume fractions and areas are not corrected: this takes at least {MIN_SLICES} "
            f"validation slices, and the model has {len(validation)}; fit it with more"
        )
    elif validation is not None:
        properties = corrections.corrected(properties, labelled, plan.roles, validation)
    return Measurements(
        tuple(sorted(properties, key=lambda one: list(PROPERTIES).index(one.key.name))),
        found.curves,
        _about(labelled, plan, len(drawn), validation),
        tuple(notes),
    )


def _as_slice(labelled: Labelled) -> Labelled:
    volume = labelled.volume
    size = None if volume.voxel_size is None else volume.voxel_size[1:]
    plane = Volume.from_array(volume.slice(0), "yx", size, volume.unit, volume.name)
    return Labelled(plane, labelled.phases)


def _that_fit(plan: Plan, labelled: Labelled, memory: int, notes: list[str]) -> list[str]:
    """Groups that can be measured within the memory."""
    fit = []
    for group in plan.groups:
        needed = BYTES_PER_VOXEL.get(group, 0) * math.prod(labelled.shape)
        if group == "correlation":
            needed = correlation_bytes(labelled.shape)
        if needed <= memory:
            fit.append(group)
        else:
            notes.append(
                f"{group} needs {needed / 1e9:.2g} GB for a volume of this size and was left out; "
                "measure a part of the volume, or give a larger memory="
            )
    return fit


def _measured(subject: Subject, groups: list[str], reporter: Reporter) -> Found:
    all_found = Found()
    for group in groups:
        found = MEASURE[group](subject)
        all_found.values |= found.values
        all_found.sampling |= found.sampling
        all_found.curves |= found.curves
        reporter.advance(note=group)
    return all_found


def _spread(found: Found, samples: Sequence[dict[Key, float]]) -> dict[Key, float]:
    """Standard deviation of each property over the samples; none without samples."""
    if not samples:
        return {}
    values = {key: np.array([one[key] for one in samples]) for key in found.values}
    # where one sample has no value, such as tau of a phase that does not percolate there, the
    # error has no bound
    return {
        key: float(np.std(of, ddof=1)) if np.isfinite(of).all() else math.inf
        for key, of in values.items()
    }


def _properties(labelled: Labelled, found: Found, spread: dict[Key, float]) -> list[Property]:
    extent = math.prod(labelled.shape) * math.prod(labelled.spacing or (1.0,))
    properties = []
    for key, value in found.values.items():
        errors = {
            method: error
            for method, error in found.sampling.get(key, {}).items()
            if not math.isnan(error)
        }
        needed = needed_volume(extent, value, max(errors.values(), default=math.nan))
        properties.append(
            Property(
                key,
                value,
                unit_of(key.name, labelled.unit),
                value,
                {"samples": spread[key]} if key in spread else {},
                errors,
                _finite(needed),
            )
        )
    return properties


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _about(
    labelled: Labelled, plan: Plan, samples: int, validation: Validation | None
) -> dict[str, object]:
    return {
        "name": labelled.volume.name,
        "shape": list(labelled.shape),
        "axes": plan.axes,
        "voxel_size": None if labelled.spacing is None else list(labelled.spacing),
        "unit": labelled.unit,
        "phases": list(labelled.phases.names),
        "colors": [phase.color for phase in labelled.phases.phases],
        "roles": dict(plan.roles.phases),
        "samples": samples,
        "validation_slices": 0 if validation is None else len(validation),
        "confidence": 0.9,
    }
