"""`mp.measure`: electrode properties of a prediction, of a file, or of any array of labels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matphase.images import formats
from matphase.images.arrays import Window
from matphase.images.crop import Crop, crop_windows, cropped
from matphase.images.mask import Mask, region_of
from matphase.images.phases import Phases, PhaseTable, as_phase_table
from matphase.images.volume import Volume
from matphase.prediction.files import is_prediction, record_file
from matphase.prediction.prediction import Prediction, prediction_at
from matphase.properties.estimate import Measurements
from matphase.properties.labelled import Labelled
from matphase.properties.measure import measure_labelled
from matphase.properties.plan import Plan
from matphase.scores.validation import Validation
from matphase.support.errors import InputError
from matphase.support.progress import Reporter, Silent
from matphase.support.system import free_memory_bytes

SHARE_OF_FREE = 0.8
"""Default limit of memory, as a share of what is free on this machine."""


def measure(
    source: Any,
    phases: Phases | None = None,
    *,
    voxel_size: float | Sequence[float] | None = None,
    unit: str | None = None,
    groups: str | Sequence[str] | None = None,
    axis: str | Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    conductivities: Mapping[str, float] | None = None,
    mask: Mask | None = None,
    crop: Crop | None = None,
    memory: int | None = None,
    reporter: Reporter | None = None,
) -> Measurements:
    """Measure the properties of a labelled volume, with their errors as far as they are known.

    The error of segmentation comes from the samples of a prediction (`keep_samples`) and from the
    model's validation slices; that of sampling from the volume itself.

    Args:
        source: a `Prediction` or the path of one; or labels (z, y, x) or (y, x) as a `Volume`, the
            path of a file, or an array: NumPy, Dask, xarray, Zarr, or nested lists.
        phases: meaning of labels that are no prediction: names in the order of the values 0, 1,
            ...; or name to value; or a table.
        voxel_size: one length, or one per axis in axes order, instead of the file's.
        unit: unit of `voxel_size`: nm, um, mm, cm or m.
        groups: one or several of `matphase.properties.plan.GROUPS`; all by default.
        axis: one or several axes of directed properties, such as "z" or "zx"; all by default.
        roles: {"pore": name, "active": name, "binder": name}, for phases with uncommon names.
        conductivities: {phase: conductivity} of all phases that conduct together.
        mask: region of interest, in the shape of the labels or of one slice of them: array, path
            or volume that is non-zero inside, or "circle" for the inscribed circle of each slice.
            Voxels outside are ignored.
        crop: part of the labels to measure: `slice(start, stop)` or (start, stop) for each axis, as
            in Python's slices, such as `numpy.s_[10:50, :, :]`. A mask has the shape before.
        memory: bytes; properties that need more are left out, with a note. By default 80 % of what
            is free on this machine.
        reporter: is told of progress.

    Raises:
        InputError: the labels, mask or crop cannot be used, a group, axis, role or phase does not
            exist, or nothing can be measured.
    """
    labels, samples, validation, missing = _labels_of(source, phases, voxel_size, unit)
    region = None if mask is None else region_of(mask, labels.volume)
    windows = None if crop is None else crop_windows(crop, labels.volume)
    labels, *samples = (_part(one, region, windows) for one in (labels, *samples))
    plan = Plan.checked(
        labels.phases,
        labels.axes,
        groups=groups,
        axes=axis,
        roles=roles,
        conductivities=conductivities,
    )
    found = measure_labelled(
        labels,
        plan,
        samples=samples,
        validation=validation,
        memory=int(SHARE_OF_FREE * free_memory_bytes()) if memory is None else memory,
        reporter=reporter or Silent(),
    )
    kept = None if windows is None else [[part.start, part.stop] for part in windows]
    notes = (*found.notes, missing) if missing else found.notes
    return replace(found, about={**found.about, "crop": kept}, notes=notes)


def _labels_of(
    source: Any,
    phases: Phases | None,
    voxel_size: float | Sequence[float] | None,
    unit: str | None,
) -> tuple[Labelled, list[Labelled], Validation | None, str]:
    """Labels to measure; of a prediction also samples, scores of its model, and what is missing.

    Raises:
        InputError: the labels cannot be used, or their phases are not known.
    """
    table = None if phases is None else as_phase_table(phases)
    known = _known_prediction(source, table)
    samples: Sequence[Volume] = ()
    if known is None:
        labels = formats.open(source, name="the labels")
    else:
        (labels,) = known.volumes("labels")
        samples = known.volumes("samples") if known.n_samples else ()
        if table is not None:
            raise InputError(
                f"{labels.name} is a prediction, which has its own phases; leave out phases="
            )
        table = known.phases
    if table is None:
        raise InputError(
            f"the phases of {labels.name} are not known; give their names and values as phases="
        )

    def labelled(volume: Volume) -> Labelled:
        if voxel_size is not None or unit is not None:
            volume = formats.open(volume, voxel_size=voxel_size, unit=unit)
        return Labelled(volume, table)

    validation = None if known is None else known.validation
    missing = "" if known is None else known.missing_text
    return labelled(labels), [labelled(one) for one in samples], validation, missing


def _part(labels: Labelled, region: Volume | None, windows: tuple[Window, ...] | None) -> Labelled:
    """Labels in a region of interest, of which the windows are cut out."""
    if windows is None:
        return Labelled(labels.volume, labels.phases, region)
    inside = None if region is None else cropped(region, windows)
    return Labelled(cropped(labels.volume, windows), labels.phases, inside)


def _known_prediction(source: Any, table: PhaseTable | None) -> Prediction | None:
    """The prediction that `source` is, or is the path of; None where it is something else."""
    if isinstance(source, Prediction):
        return source
    if not isinstance(source, str | os.PathLike):
        return None
    path = Path(source)
    if not (is_prediction(path) and record_file(path).exists()):
        return None
    try:
        return prediction_at(path)
    except InputError:
        if table is None:
            raise
        return None  # the JSON file there is no record of a prediction, and phases are given
