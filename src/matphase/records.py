"""A prediction on disk: labels, maps beside them, and a record of how they came about."""

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from matphase import formats
from matphase.errors import InputError, OutputError
from matphase.files import check_output, written_whole
from matphase.phases import PhaseTable
from matphase.prediction import Prediction

SUFFIXES = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".hdf5", ".h5")
MAPS = ("entropy", "idk")


def beside(labels: Path, name: str) -> Path:
    """Where the map `name` of the prediction `labels` lies: `out.tif` has `out_entropy.tif`."""
    stem, suffix = _split(labels)
    return labels.with_name(f"{stem}_{name}{suffix}")


def record_of(labels: Path) -> Path:
    """Where the record of the prediction `labels` lies: `out.tif` has `out.json`."""
    return labels.with_name(f"{_split(labels)[0]}.json")


def check_room(labels: Path, *, overwrite: bool) -> None:
    """See that nothing stands in the way of a prediction's files, before the long work starts.

    Raises:
        OutputError: a file exists, the folder cannot be written, or the suffix is not known.
    """
    _split(labels)
    for path in (labels, record_of(labels), *(beside(labels, name) for name in MAPS)):
        check_output(path, overwrite=overwrite)


def save_prediction(
    prediction: Prediction,
    labels: Path,
    *,
    model: Path,
    seconds: float,
    probabilities: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write labels, entropy, IDK mask, on request probabilities, and last the record.

    Args:
        prediction: of a volume.
        labels: file for the labels; the others are named after it.
        model: folder of the model, for the record.
        seconds: that the prediction took, for the record.
        probabilities: also write a map for each phase.
        overwrite: replace files that exist.

    Returns:
        the files written.

    Raises:
        OutputError: a file cannot be written.
    """
    arrays = {
        labels: prediction.labels,
        beside(labels, "entropy"): prediction.entropy,
        beside(labels, "idk"): prediction.idk.astype(np.uint8),
    }
    if probabilities:
        for name, one in zip(prediction.phases.names, prediction.probabilities, strict=True):
            arrays[beside(labels, f"probability_{name}")] = one
    for path, array in arrays.items():
        formats.save(path, prediction.volume.with_array(array), overwrite=overwrite)
    record = {
        "matphase": version("matphase"),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": str(model),
        "volume": prediction.volume.name,
        "phases": prediction.phases.to_json(),
        "volume_fractions": prediction.volume_fractions(),
        "idk_share": float(prediction.idk.mean()),
        "seconds": round(seconds, 2),
    }
    path = record_of(labels)
    with written_whole(path, overwrite=overwrite) as file:
        file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return [*arrays, path]


def phases_of(labels: Path) -> PhaseTable | None:
    """The phases that the record beside a prediction names, or None where there is no record.

    Raises:
        InputError: the record is damaged.
    """
    path = record_of(labels) if _known(labels) else None
    if path is None or not path.exists():
        return None
    try:
        return PhaseTable.from_json(json.loads(path.read_text("utf-8"))["phases"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a record of a prediction; pass --label-map") from error


def _known(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _split(path: Path) -> tuple[str, str]:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    raise OutputError(f"{path}: cannot write this kind of file; use one of {', '.join(SUFFIXES)}")
