"""`mp.measure`: electrode properties of a prediction, of a file, or of any array of labels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from matphase.images import formats
from matphase.images.phases import Phases, PhaseTable, as_phase_table
from matphase.images.volume import Volume
from matphase.prediction.files import is_prediction, record_file
from matphase.prediction.prediction import Prediction, open_prediction
from matphase.properties.estimate import Measurements
from matphase.properties.labelled import Labelled
from matphase.properties.measure import measure_labelled
from matphase.properties.plan import Plan
from matphase.properties.sampling import half_width
from matphase.scores.validation import Validation
from matphase.support.errors import InputError
from matphase.support.progress import Reporter, Silent

DEFAULT_MEMORY = 4 * 10**9
"""Bytes that properties may take which need the whole volume in memory."""

Source = Prediction | Volume | NDArray[Any] | str | os.PathLike[str]


@dataclass(frozen=True)
class Subject:
    """What is measured: labels, and of a prediction what is known of its errors."""

    labels: Labelled
    samples: tuple[Labelled, ...] = ()
    validation: Validation | None = None


def measure(
    source: Source,
    phases: Phases | None = None,
    *,
    voxel_size: float | Sequence[float] | None = None,
    unit: str | None = None,
    groups: Sequence[str] | None = None,
    axes: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    conductivities: Mapping[str, float] | None = None,
    memory: int = DEFAULT_MEMORY,
    reporter: Reporter | None = None,
) -> Measurements:
    """Measure the properties of a labelled volume, each with its errors as far as they are known.

    The error of segmentation comes from the samples of a prediction (`keep_samples`) and from the
    model's validation slices; that of sampling from the volume itself.

    Args:
        source: a prediction; or labels (z, y, x) or (y, x) as a volume, an array, or a file.
        phases: of labels that are no prediction: names in the order of the values 0, 1, ...; or
            name to value; or a table.
        voxel_size: one length, or one per axis in axes order, in place of the file's.
        unit: of `voxel_size`: nm, um, mm, cm or m.
        groups: of `matphase.properties.plan.GROUPS`; all by default.
        axes: of directed properties, as "z"; all by default.
        roles: {"pore": name, "active": name, "binder": name}, for phases of uncommon names.
        conductivities: {phase: conductivity} of all that conduct together.
        memory: bytes; properties that need more are left out, and a note says so.
        reporter: is told of progress.

    Raises:
        InputError: the labels cannot be used, or something is asked for that there is not.
    """
    subject = subject_of(source, phases, voxel_size, unit)
    plan = Plan.checked(
        subject.labels.phases,
        subject.labels.axes,
        groups=groups,
        axes=axes,
        roles=roles,
        conductivities=conductivities,
    )
    return measure_labelled(
        subject.labels,
        plan,
        samples=subject.samples,
        validation=subject.validation,
        memory=memory,
        reporter=reporter or Silent(),
    )


def subject_of(
    source: Source,
    phases: Phases | None = None,
    voxel_size: float | Sequence[float] | None = None,
    unit: str | None = None,
) -> Subject:
    """Labels with their phases and geometry, from whatever the user gave; see `measure`."""
    table = None if phases is None else as_phase_table(phases)
    samples: Sequence[Volume] = ()
    validation = None
    stored: Prediction | None = None
    if isinstance(source, str | os.PathLike):
        stored = _stored(Path(source), table)
    elif isinstance(source, Prediction):
        stored = source
    if stored is not None:
        (labels,) = stored.volumes("labels")
        samples = stored.volumes("samples") if stored.n_samples else ()
    elif isinstance(source, str | os.PathLike):
        labels = formats.open(source)
    elif isinstance(source, Volume):
        labels = source
    else:
        labels = Volume.from_array(np.asarray(source), name="the labels")
    if stored is not None:
        if table is not None:
            raise InputError(
                f"{labels.name} is a prediction, whose phases are known; leave out the label map"
            )
        table, validation = stored.phases, stored.validation
    if table is None:
        raise InputError(
            f"the phases of {labels.name} are not known; name them with their values "
            "(--label-map pore=0,carbon=1,...)"
        )

    def labelled(volume: Volume) -> Labelled:
        if voxel_size is not None or unit is not None:
            volume = Volume.from_source(volume.data, volume.axes, voxel_size, unit, volume.name)
        return Labelled(volume, table)

    return Subject(labelled(labels), tuple(labelled(one) for one in samples), validation)


def _stored(path: Path, table: PhaseTable | None) -> Prediction | None:
    """The prediction at `path`; none where there is no record, or one of something else."""
    if not (is_prediction(path) and record_file(path).exists()):
        return None
    try:
        return open_prediction(path)
    except InputError:
        if table is None:
            raise
        return None  # some other JSON file lies there, and the label map stands in for it


def properties_table(found: Measurements, title: str) -> Table:
    """The properties as a table for the terminal."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("property")
    table.add_column("value", justify="right")
    for heading in ("+- 90 %", "segmentation", "sampling"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    table.add_column("method")
    for one in found:
        errors = (one.standard_error, one.segmentation, one.sampling)
        table.add_row(
            escape(str(one.key)),
            f"{one.value:.4g}",
            *("-" if error is None else f"{half_width(error):.2g}" for error in errors),
            "" if one.unit == "1" else one.unit,
            one.method,
        )
    return table
