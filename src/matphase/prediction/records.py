"""A prediction on disk: labels, maps beside them, and a record of how they came about."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import Volume
from matphase.scores.validation import Validation
from matphase.support.errors import InputError, OutputError
from matphase.support.files import atomic_write, check_output, file_name, remove, replace

SUFFIXES = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".hdf5", ".h5", ".ome.zarr")
MAPS = ("ugsm", "entropy", "idk")


def is_prediction(labels: Path) -> bool:
    """Whether the name is one that a prediction can have."""
    return labels.name.lower().endswith(SUFFIXES)


def beside(labels: Path, name: str) -> Path:
    """Where the map `name` of the prediction `labels` lies: `out.tif` has `out_entropy.tif`."""
    stem, suffix = _split(labels)
    return labels.with_name(f"{stem}_{name}{suffix}")


def recorded_files(labels: Path) -> list[Path]:
    """The record of a prediction and all files that it lists; none of other labels."""
    if not (is_prediction(labels) and record_of(labels).exists()):
        return []
    listed = [labels.with_name(Path(name).name) for name in _recorded_files(_record(labels))]
    return [record_of(labels), *listed]


def record_of(labels: Path) -> Path:
    """Where the record of the prediction `labels` lies: `out.tif` has `out.json`."""
    return labels.with_name(f"{_split(labels)[0]}.json")


def map_file(labels: Path, name: str) -> Path:
    """Where a map of the prediction lies, the map `labels` being the labels themselves."""
    return labels if name == "labels" else beside(labels, name)


def probability_names(phases: PhaseTable) -> list[str]:
    """The maps of probability: `out.tif` has `out_probability_pore.tif`."""
    return [f"probability_{file_name(name)}" for name in phases.names]


def sample_names(samples: int) -> list[str]:
    """The labels of the dropout samples: `out.tif` has `out_sample_01.tif`."""
    return [f"sample_{number:02d}" for number in range(1, samples + 1)]


def probability_maps(labels: Path, phases: PhaseTable) -> list[Path]:
    """Where the probabilities of the phases lie."""
    return [beside(labels, name) for name in probability_names(phases)]


def trusted_map(labels: Path) -> Path:
    """Where the mask of the trusted pixels lies: `out.tif` has `out_trusted.tif`."""
    return beside(labels, "trusted")


def deferred_map(labels: Path) -> Path:
    """Where the mask of LCGAR's answers lies: `out.tif` has `out_deferred.tif`."""
    return beside(labels, "deferred")


def sample_maps(labels: Path, samples: int) -> list[Path]:
    """Where the labels of the dropout samples lie."""
    return [beside(labels, name) for name in sample_names(samples)]


def files_of(labels: Path) -> list[Path]:
    """The files of a prediction without its probabilities: labels, maps, and last the record."""
    return [labels, *(beside(labels, name) for name in MAPS), record_of(labels)]


def check_room(files: Sequence[Path], *, overwrite: bool) -> None:
    """See that nothing stands in the way of a prediction's files, before the long work starts.

    Raises:
        OutputError: a file exists, a folder that is no Zarr store has its name, or its folder
            cannot be written.
    """
    for path in files:
        check_output(path, overwrite=overwrite)
        if path.is_dir() and not _is_map(path):
            raise OutputError(f"{path} is a folder; choose another name")


def record(
    *,
    model: Path,
    volume: str,
    phases: PhaseTable,
    volume_fractions: Mapping[str, float],
    idk_share: float,
    trusted_share: float | None,
    deferred_share: float | None,
    validation: Validation | None,
    files: Sequence[Path],
    seconds: float,
) -> dict[str, Any]:
    """What a record says, for JSON.

    Args:
        model: folder of the model.
        volume: name of the volume.
        phases: of the labels.
        volume_fractions: share of the voxels in each phase, by name.
        idk_share: share of the voxels where HCL-IDK did not trust UGSM.
        trusted_share: share of the trusted voxels; None where nothing is promised.
        deferred_share: share of the voxels with LCGAR's answer; None where it is `idk_share`.
        validation: how the model fared on slices with known labels, where it was given any.
        files: the maps of the prediction.
        seconds: that the prediction took.
    """
    return {
        "matphase": version("matphase"),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": str(model),
        "volume": volume,
        "phases": phases.to_json(),
        "volume_fractions": dict(volume_fractions),
        "idk_share": idk_share,
        "trusted_share": trusted_share,
        "deferred_share": deferred_share,
        "validation": validation and validation.to_json(),
        "files": [path.name for path in files],
        "seconds": round(seconds, 2),
    }


def working_folder(labels: Path) -> Path:
    """Where an unfinished prediction is kept."""
    return labels.with_name(f".{labels.name}.matphase")


def write_files(labels: Path, maps: Mapping[str, Volume], record: Mapping[str, Any]) -> None:
    """Write all files of a prediction into its working folder, slice by slice.

    Args:
        labels: where the labels will lie; the other files are named after it.
        maps: by name, `labels` among them.
        record: of the prediction; it is written last and vouches for the others.

    Raises:
        OSError: a file cannot be written.
        OutputError: values that the format cannot hold.
    """
    room = _room(labels)
    remove(room)
    room.mkdir(parents=True)
    for name, volume in maps.items():
        # all maps but entropy and probabilities hold labels of some kind
        labelled = volume.dtype.kind in "iu"
        formats.write(room / map_file(labels, name).name, volume, labels=labelled)
    with atomic_write(room / record_of(labels).name) as file:
        file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")


def is_whole(labels: Path) -> bool:
    """Whether what `write_files` wrote is there, in the working folder or already in its place."""
    room = _room(labels)
    record = room / record_of(labels).name
    if not record.exists():
        return False
    names = json.loads(record.read_text("utf-8"))["files"]
    return all((room / name).exists() or labels.with_name(name).exists() for name in names)


def take_places(labels: Path) -> tuple[list[Path], dict[str, Any]]:
    """Move what `write_files` wrote to where it belongs, in place of an earlier prediction.

    The record comes last. A call after a kill goes on where the other one was.

    Returns:
        the files of the prediction, the record last, and its content.

    Raises:
        OSError: a file cannot be moved.
    """
    room, target = _room(labels), record_of(labels)
    text = (room / target.name).read_text("utf-8")
    content: dict[str, Any] = json.loads(text)
    for name in set(_recorded_files(_record(labels))) - set(content["files"]):
        # a map of the prediction that is replaced says nothing of this one
        path = labels.with_name(Path(name).name)
        if not path.is_dir() or _is_map(path):
            remove(path)
    places = [labels.with_name(name) for name in content["files"]]
    for place in places:
        if (room / place.name).exists():
            replace(room / place.name, place)
    with atomic_write(target, overwrite=True) as file:
        file.write_text(text, "utf-8")
    return [*places, target], content


def tidy(labels: Path) -> None:
    """Remove the working folder, at once as far as others can see."""
    finished = working_folder(labels).with_suffix(".done")
    remove(finished)
    if working_folder(labels).exists():
        working_folder(labels).replace(finished)
        remove(finished)


def _room(labels: Path) -> Path:
    return working_folder(labels) / "files"


@dataclass(frozen=True)
class StoredPrediction:
    """What is on disk of a prediction, or of any labelled volume.

    Attributes:
        phases: as the record names them, or as the user did.
        labels: (n, height, width) uint8 phase indices.
        global_labels: the same of UGSM alone.
        entropy: (n, height, width) float32 in nats.
        idk: (n, height, width) bool.
        probabilities: (n, phases, height, width) float32.
        trusted: (n, height, width) bool.

    All but the first two are None where their files are not there.
    """

    phases: PhaseTable
    labels: NDArray[np.uint8]
    global_labels: NDArray[np.uint8] | None
    entropy: NDArray[np.float32] | None
    idk: NDArray[np.bool_] | None
    probabilities: NDArray[np.float32] | None
    trusted: NDArray[np.bool_] | None


def read_prediction(labels: Path, phases: PhaseTable | None) -> StoredPrediction:
    """Read the labels and whatever else lies beside them.

    Args:
        labels: file of the labels.
        phases: their values, for labels without a record; the result's indices follow it where
            it lists the phases of the record in another order.

    Raises:
        InputError: there is neither record nor `phases`, or a map is of another shape.
        FormatError: a file cannot be read.
    """
    volume = formats.open(labels)
    try:
        recorded = _recorded_phases(labels)
    except InputError:
        if phases is None:
            raise
        recorded = None  # some other JSON file, which the label map stands in for
    table = recorded or phases
    if table is None:
        raise InputError(f"no record lies beside {labels}; pass --label-map to name its phases")
    shape = (volume.n_slices, *volume.shape[-2:])
    order = _order(table, phases or table, labels)
    # an ignore index is none of the phases and stays what it is
    renumber = np.append(order, np.full(256 - len(order), IGNORE_INDEX, np.uint8))
    own = renumber[table.encode(volume.to_array(), where=volume.name)].reshape(shape)
    if recorded is None:
        return StoredPrediction(table, own, None, None, None, None, None)

    listed = _recorded_files(_record(labels))

    def map_of(path: Path) -> NDArray[Any] | None:
        if path.name not in listed or not path.exists():
            return None
        one = formats.open(path)
        _check_shape(one, volume)
        return one.to_array().reshape(shape)

    ugsm, entropy, idk = (map_of(beside(labels, name)) for name in MAPS)
    trusted = map_of(trusted_map(labels))
    maps = [map_of(path) for path in probability_maps(labels, recorded)]
    known = [one for one in maps if one is not None]
    complete = len(known) == len(recorded)
    return StoredPrediction(
        phases=phases or recorded,
        labels=own,
        global_labels=None if ugsm is None else renumber[recorded.encode(ugsm)],
        entropy=entropy,
        idk=None if idk is None else idk != 0,
        probabilities=np.stack(known, axis=1)[:, np.argsort(order)] if complete else None,
        trusted=None if trusted is None else trusted != 0,
    )


@dataclass(frozen=True)
class OpenedPrediction:
    """A prediction on disk whose voxels stay there until asked for.

    Attributes:
        labels: the labels.
        phases: as the record names them.
        samples: the labels of each dropout sample; none where they were not kept.
        validation: of the model that predicted them, or None.
    """

    labels: Volume
    phases: PhaseTable
    samples: tuple[Volume, ...]
    validation: Validation | None


def open_prediction(labels: Path) -> OpenedPrediction | None:
    """The prediction whose labels these are; None where no record lies beside them.

    Raises:
        InputError: the record is damaged, or a sample is missing or of another shape.
        FormatError: a file cannot be read.
    """
    phases = _recorded_phases(labels)
    if phases is None:
        return None
    volume, record = formats.open(labels), _record(labels)
    listed = _recorded_files(record)
    paths = [path for path in sample_maps(labels, len(listed)) if path.name in listed]
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} is missing, which belongs to {labels}; predict again")
    samples = tuple(formats.open(path) for path in paths)
    for one in samples:
        _check_shape(one, volume)
    content = record.get("validation")
    validation = None if content is None else Validation.from_json(content, len(phases))
    return OpenedPrediction(volume, phases, samples, validation)


def _check_shape(one: Volume, labels: Volume) -> None:
    if one.shape != labels.shape:
        raise InputError(
            f"{one.name} has shape {one.shape} but {labels.name} {labels.shape}, so they are "
            "not of one prediction; predict again, or move it elsewhere"
        )


def _order(recorded: PhaseTable, wanted: PhaseTable, labels: Path) -> NDArray[np.uint8]:
    """The index that each phase of the record has among the wanted ones."""
    if set(recorded.names) != set(wanted.names):
        raise InputError(
            f"the label map names {', '.join(wanted.names)} but {labels} was predicted with "
            f"{', '.join(recorded.names)}; name the same phases"
        )
    return np.array([wanted.index(name) for name in recorded.names], np.uint8)


def _record(labels: Path) -> Any:
    """The content of the record, whatever it is; None where there is none to read."""
    try:
        return json.loads(record_of(labels).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _recorded_files(record: Any) -> list[str]:
    """Names of the files that belong to a prediction."""
    names = record.get("files") if isinstance(record, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _recorded_phases(labels: Path) -> PhaseTable | None:
    path = record_of(labels) if is_prediction(labels) else None
    if path is None or not path.exists():
        return None
    try:
        return PhaseTable.from_json(json.loads(path.read_text("utf-8"))["phases"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a record of a prediction; pass --label-map") from error


def _is_map(folder: Path) -> bool:
    """Whether a folder is a map of a prediction, and not somebody's own."""
    return is_prediction(folder) and formats.is_zarr(folder)


def _split(path: Path) -> tuple[str, str]:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    raise OutputError(f"{path}: cannot write this kind of file; use one of {', '.join(SUFFIXES)}")
