"""Measurement of all groups of a plan, with the errors of segmentation and of sampling."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from matphase.images.volume import Volume
from matphase.properties import corrections
from matphase.properties.catalogue import PROPERTIES, Key, unit_of
from matphase.properties.estimate import Measurements, Property
from matphase.properties.groups import MEASURE, MEMORY
from matphase.properties.groups.subject import MANY, Found, Subject
from matphase.properties.labelled import Labelled
from matphase.properties.plan import Plan
from matphase.properties.sampling import needed_volume
from matphase.scores.validation import Validation
from matphase.support.errors import InputError
from matphase.support.memory import amount_text
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
        InputError: a label that belongs to no phase, no voxel that is not ignored, samples of
            another shape, or nothing that could be measured.
    """
    labelled.check_spacing()
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
    whole = Subject(labelled, plan, in_full=True)
    if not whole.survey.counted:
        raise InputError(
            f"all voxels of {labelled.volume.name} are ignored, so nothing can be measured; check "
            "phases=, mask= and crop="
        )
    drawn = samples if len(samples) >= MIN_SAMPLES else ()
    whole.correlate = MEMORY["correlation"](whole) <= memory and len(whole.present) <= MANY
    groups = _that_fit(whole, drawn, memory, notes)
    reporter.start("measure", len(groups) * (1 + len(drawn)))
    found = _measured(whole, groups, reporter)
    values = [
        _measured(Subject(one, plan, in_full=False), groups, reporter).values for one in drawn
    ]
    reporter.finish()
    notes += found.notes
    if not found.values:
        raise InputError(f"nothing was measured: {'; '.join(notes)}")
    if labelled.spacing is None:
        notes.append(
            "the voxel size is not known, so lengths are in voxels (px); give voxel_size= and unit="
        )
    spread = _spread(found, values)
    properties = _properties(whole, found, spread)
    if validation is not None and len(validation) < MIN_SLICES:
        notes.append(
            f"volume fractions and areas are not corrected: this takes at least {MIN_SLICES} "
            f"validation slices, and the model has {len(validation)}; fit it with more"
        )
    elif validation is not None:
        properties = corrections.corrected(
            properties, labelled, whole.survey.counted, plan.roles, validation
        )
    return Measurements(
        tuple(sorted(properties, key=lambda one: list(PROPERTIES).index(one.key.name))),
        found.curves,
        _about(whole, len(drawn), validation),
        tuple(notes),
    )


def _as_slice(labelled: Labelled) -> Labelled:
    volume = labelled.volume
    size = None if volume.voxel_size is None else volume.voxel_size[1:]
    plane = Volume.from_array(volume.slice(0), "yx", size, volume.unit, volume.name)
    region = None if labelled.region is None else Volume.from_array(labelled.region.slice(0), "yx")
    return Labelled(plane, labelled.phases, region)


def _that_fit(
    whole: Subject, samples: Sequence[Labelled], memory: int, notes: list[str]
) -> list[str]:
    """Groups that can be measured within the memory, on the volume and on all samples of it."""
    fit = []
    asked, phases = list(whole.plan.groups), len(whole.present)
    if whole.plan.everything and phases > MANY:
        # each of the others works on one phase after the other
        left_out = [group for group in asked if group not in ("fractions", "particles")]
        asked = [group for group in asked if group not in left_out]
        notes.append(
            f"{', '.join(left_out)} take long for {phases} phases and were left out; ask for them "
            "with groups=, or merge phases"
        )
    for group in asked:
        needed = 0
        if (of := MEMORY.get(group)) is not None:
            # samples one by one, so that only one of them is in memory
            in_samples = (of(Subject(one, whole.plan, in_full=False)) for one in samples)
            needed = max(of(whole), *in_samples, 0)
        if needed <= memory:
            fit.append(group)
        else:
            notes.append(
                f"{group} needs {amount_text(needed)} of memory for this volume, more than the "
                f"limit of {amount_text(memory)}, and was left out; measure a part of the volume "
                "(crop=), or give a larger memory="
            )
    return fit


def _measured(subject: Subject, groups: list[str], reporter: Reporter) -> Found:
    all_found = Found()
    for group in groups:
        found = MEASURE[group](subject)
        all_found.values |= found.values
        all_found.sampling |= found.sampling
        all_found.curves |= found.curves
        all_found.notes += found.notes
        reporter.advance(note=group)
    return all_found


def _spread(found: Found, samples: Sequence[dict[Key, float]]) -> dict[Key, float]:
    """Standard deviation of each property over the samples; none without samples."""
    if not samples:
        return {}
    values = {
        key: np.array([one[key] for one in samples])
        for key, value in found.values.items()
        if not math.isnan(value)
    }
    # where one sample has no value, such as tau of a phase that does not percolate there, the
    # error has no bound
    return {
        key: float(np.std(of, ddof=1)) if np.isfinite(of).all() else math.inf
        for key, of in values.items()
    }


def _properties(subject: Subject, found: Found, spread: dict[Key, float]) -> list[Property]:
    extent = subject.survey.counted * math.prod(subject.spacing)
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
                unit_of(key.name, subject.labelled.unit),
                value,
                {"samples": spread[key]} if key in spread else {},
                errors,
                _finite(needed),
            )
        )
    return properties


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _about(subject: Subject, samples: int, validation: Validation | None) -> dict[str, object]:
    labelled, plan = subject.labelled, subject.plan
    return {
        "name": labelled.volume.name,
        "shape": list(labelled.shape),
        "counted_voxels": subject.survey.counted,
        "mask": None if labelled.region is None else labelled.region.name,
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
