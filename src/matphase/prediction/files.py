"""The files of a prediction: `out.tif`, a file for each further map, and the record `out.json`."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matphase.images import formats
from matphase.images.phases import PhaseTable
from matphase.images.volume import Volume
from matphase.prediction.maps import KINDS, Layer, MapKind, layers_of
from matphase.scores.validation import Validation
from matphase.support.errors import InputError, OutputError
from matphase.support.files import (
    check_not_input,
    check_output,
    remove,
    remove_at_once,
    remove_own,
    removed_name,
    replace,
)
from matphase.support.records import json_or_none, write_json
from matphase.support.rooms import UNFINISHED, clear_rooms

SUFFIXES = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".hdf5", ".h5", ".ome.zarr")


def is_prediction(labels: Path) -> bool:
    """Whether a prediction can have labels of this name."""
    return labels.name.lower().endswith(SUFFIXES)


def is_zarr(labels: Path) -> bool:
    """Whether the maps of this prediction are OME-Zarr images."""
    return labels.name.lower().endswith(".zarr")


def layer_file(labels: Path, layer: Layer) -> Path:
    """The path of one map: `out.tif` has `out_entropy.tif`; the labels are `out.tif` itself."""
    if not layer.name:
        return labels
    stem, suffix = _split(labels)
    return labels.with_name(f"{stem}_{layer.name}{suffix}")


def record_file(labels: Path) -> Path:
    """The path of the record of a prediction: `out.tif` has `out.json`."""
    return labels.with_name(f"{_split(labels)[0]}.json")


def working_folder(labels: Path) -> Path:
    """The folder of an unfinished prediction."""
    return labels.with_name(f".{labels.name}.matphase")


def check_places(
    labels: Path, layers: Iterable[Layer], *, overwrite: bool, sources: Iterable[Path] = ()
) -> None:
    """Check that the files of a prediction can be written, before the long work starts.

    Args:
        labels: path of the labels.
        layers: maps that will be written.
        overwrite: existing files may be replaced.
        sources: files that are read, and so must not be replaced.

    Raises:
        OutputError: a file exists, would replace or extend a source, is a folder that is not a
            map, or is not listed by the record of an earlier prediction; or its folder cannot be
            written.
    """
    sources = [formats.hdf5.split_path(source)[0] for source in sources]
    record = record_file(labels)
    own = {labels.name}
    for found in (record, working_folder(labels) / READY):
        own.update(_listed(labels, json_or_none(found)))
    replaces = _check_map if is_zarr(labels) else None
    for path in (layer_file(labels, layer) for layer in layers):
        check_output(path, overwrite=overwrite, replaces=replaces)
        check_not_input(path, sources)
        if os.path.lexists(path) and path.name not in own:
            raise OutputError(
                f"{path} is not replaced, since {record.name} does not list it as part of an "
                "earlier prediction; move it elsewhere, or choose another name"
            )
    check_output(record, overwrite=overwrite)
    check_not_input(record, sources)
    if os.path.lexists(record) and labels.name not in _listed(labels, json_or_none(record)):
        raise OutputError(
            f"{record} is not replaced, since it is not the record of a prediction {labels.name}; "
            "move it elsewhere, or choose another name"
        )


# --- the record -----------------------------------------------------------------------------------


def record_of(
    layers: Sequence[Layer],
    labels: Path,
    *,
    model: str | None,
    volume: str,
    mask: str | None,
    outside_share: float,
    phases: PhaseTable,
    volume_fractions: Mapping[str, float],
    shares: Mapping[str, float],
    validation: Validation | None,
    seconds: float,
) -> dict[str, Any]:
    """Content of a record, for JSON.

    Args:
        layers: maps that are written.
        labels: path of the labels.
        model: folder of the model; None if it was not saved.
        volume: name of the volume.
        mask: name of the mask; None if there was none.
        outside_share: share of the voxels that are outside of the sample (NaN, or outside of the
            mask); the other shares are of those inside.
        phases: phases of the labels.
        volume_fractions: share of the voxels in each phase, by name.
        shares: share of the voxels in each mask, by the name of the map.
        validation: scores of the model on its validation slices, if it has any.
        seconds: duration of the prediction.
    """
    return {
        "matphase": version("matphase"),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model,
        "volume": volume,
        "mask": mask,
        "outside_share": outside_share,
        "phases": phases.to_json(),
        "volume_fractions": dict(volume_fractions),
        **{
            f"{name}_share": shares.get(name)
            for name, kind in KINDS.items()
            if kind.content == "mask"
        },
        "validation": validation and validation.to_json(),
        "files": [layer_file(labels, layer).name for layer in layers],
        "seconds": round(seconds, 2),
    }


def recorded_files(labels: Path) -> list[Path]:
    """Record of a prediction and all files that it lists; empty for other labels."""
    if not (is_prediction(labels) and record_file(labels).exists()):
        return []
    listed = _listed(labels, json_or_none(record_file(labels)))
    return [record_file(labels), *map(labels.with_name, listed)]


@dataclass(frozen=True, eq=False)
class Stored:
    """A prediction on disk, whose voxels are read when needed.

    Attributes:
        path: path of the labels.
        phases: phases of the labels.
        record: content of the record; empty for labels without one.
        labels: the labels; the other maps have the same shape.
    """

    path: Path
    phases: PhaseTable
    record: Mapping[str, Any]
    labels: Volume

    @property
    def validation(self) -> Validation | None:
        """Scores of the model on its validation slices; None without any."""
        content = self.record.get("validation")
        return None if content is None else Validation.from_json(content, len(self.phases))

    def layers(self, kind: MapKind) -> list[Layer]:
        """Arrays of a map that the record lists; empty if the map was not written."""
        if kind.name == "labels":
            return layers_of(kind, self.phases, 0)
        listed = _listed(self.path, self.record)
        if not listed:
            return []
        layers = [
            layer
            for layer in layers_of(kind, self.phases, len(listed))
            if layer_file(self.path, layer).name in listed
        ]
        return [] if kind.per == "phase" and len(layers) < len(self.phases) else layers

    def is_there(self, kind: MapKind) -> bool:
        """Whether a map was written, and all of its files still exist."""
        files = [layer_file(self.path, layer) for layer in self.layers(kind)]
        return bool(files) and all(file.exists() for file in files)

    @property
    def missing(self) -> list[Path]:
        """Files that the record lists and that do not exist any more."""
        listed = map(self.path.with_name, _listed(self.path, self.record))
        return [path for path in listed if not path.exists()]

    def open(self, layer: Layer) -> Volume:
        """Open one array of a map.

        Raises:
            InputError: its file is missing, or its shape differs from that of the labels.
            FormatError: the file cannot be read.
        """
        if not layer.name:
            return self.labels
        path = layer_file(self.path, layer)
        if not path.exists():
            raise InputError(f"{path} is missing, which belongs to {self.path}; predict again")
        volume = formats.open(path)
        if volume.shape != self.labels.shape:
            raise InputError(
                f"{volume.name} has shape {volume.shape} but {self.labels.name} "
                f"{self.labels.shape}, so they do not belong to one prediction; predict again, or "
                "move the first one elsewhere"
            )
        return volume


def open_stored(labels: Path, phases: PhaseTable | None = None) -> Stored:
    """Open labels and their record, if there is one.

    Args:
        labels: path of the labels.
        phases: phases of labels without a record; with a record, they give the order of its
            phases.

    Raises:
        InputError: neither a record nor `phases` name the phases, both name different phases, or
            the record is damaged.
        FormatError: the labels cannot be read.
    """
    volume, path = formats.open(labels), record_file(labels) if is_prediction(labels) else None
    content: Any = json_or_none(path) if path is not None else None
    if path is None or not path.exists():
        table = phases
    else:
        try:
            table = PhaseTable.from_json(content["phases"])
        except (ValueError, KeyError, TypeError) as error:
            if phases is None:
                raise InputError(
                    f"{path} is not a record of a prediction; name the phases of {labels} (phases=)"
                ) from error
            return Stored(labels, phases, {}, volume)
        if phases is not None:
            table = _reordered(table, phases, labels)
    if table is None:
        raise InputError(f"{labels} has no record; name its phases (phases=)")
    return Stored(labels, table, content if isinstance(content, dict) else {}, volume)


def _reordered(recorded: PhaseTable, wanted: PhaseTable, labels: Path) -> PhaseTable:
    """Recorded phases in the order of the given ones."""
    if set(recorded.names) != set(wanted.names):
        raise InputError(
            f"the label map names {', '.join(wanted.names)} but {labels} was predicted with "
            f"{', '.join(recorded.names)}; name the same phases"
        )
    order = [recorded.phases[recorded.index(name)] for name in wanted.names]
    return PhaseTable(tuple(order), recorded.ignored)


# --- publishing -----------------------------------------------------------------------------------

RUN = "run.json"
"""In the working folder of `predict`: what tells the run from others."""
READY = "record.json"
EXPORTS = "files"


def write_record(labels: Path, record: Mapping[str, Any]) -> None:
    """Record in the working folder that all files are ready to be published."""
    write_json(working_folder(labels) / READY, record, overwrite=True)


def is_ready(labels: Path, room: Path) -> bool:
    """Whether all files of a prediction are in `room` or already published."""
    names = _listed(labels, json_or_none(working_folder(labels) / READY))
    return bool(names) and all(
        (room / name).exists() or labels.with_name(name).exists() for name in names
    )


def publish(labels: Path, room: Path) -> None:
    """Move finished files from `room` to their final paths, replacing an earlier prediction.

    The record is written last. A call after a kill continues the interrupted one.

    Raises:
        OSError: a file cannot be moved.
        OutputError: a map that is replaced is a folder with other files.
    """
    ready, target = working_folder(labels) / READY, record_file(labels)
    record = json_or_none(ready)
    names = _listed(labels, record)
    for name in set(_listed(labels, json_or_none(target))) - set(names):
        # maps of the replaced prediction that the new one does not have
        path = labels.with_name(name)
        if path.is_symlink() or not path.is_dir():
            remove(path)
        else:
            formats.check_replaceable(path)
            shutil.rmtree(path)
    for name in names:
        if (room / name).exists():
            replace(room / name, labels.with_name(name), formats.check_replaceable)
    write_json(target, record, overwrite=True)


_OWN = re.compile(
    rf"run\.json|record\.json|files|maps-[0-9a-f]+|.+\.part|{re.escape(UNFINISHED)}.*"
)
"""Names of the entries of a working folder."""


def remove_working_folder(labels: Path) -> None:
    """Remove the working folder, and what an earlier call could not remove of it."""
    remove_at_once(working_folder(labels), _OWN)


def remove_leftovers(labels: Path) -> None:
    """Remove what a kill left of a working folder that was being removed, and of a saved model."""
    remove_own(removed_name(working_folder(labels)), _OWN)
    clear_rooms(labels.absolute().parent)


def _listed(labels: Path, record: Any) -> list[str]:
    """The files that a record lists, of those names that a prediction can give them.

    A record may have been written by anybody, and what it lists is read, replaced and removed.
    """
    names = record.get("files") if isinstance(record, Mapping) else None
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str) and _can_belong(name, labels)]


def _can_belong(name: str, labels: Path) -> bool:
    """Whether a prediction with these labels can have a file of this name."""
    stem, suffix = _split(labels)
    if name == labels.name:
        return True
    if not (name.startswith(f"{stem}_") and name.endswith(suffix)):
        return False
    layer = name[len(stem) + 1 : -len(suffix)]
    if not layer or any(sign in layer for sign in "/\\\0"):
        return False
    return any(
        layer == kind.file if kind.per is None else layer.startswith(f"{kind.file}_")
        for kind in KINDS.values()
        if kind.file
    )


def _check_map(folder: Path) -> None:
    """Refuse to replace a folder that is no map of a prediction, or that holds anything else.

    Raises:
        OutputError: it is a folder of the user.
    """
    if not formats.is_zarr(folder):
        raise OutputError(f"{folder} is a folder; choose another name")
    formats.check_replaceable(folder)


def _split(path: Path) -> tuple[str, str]:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    raise OutputError(f"{path}: cannot write this kind of file; use one of {', '.join(SUFFIXES)}")
