"""The run folder, in which a training keeps its checkpoints."""

from pathlib import Path

from matphase.learning.trainer import Run
from matphase.learning.training_pool import Pool
from matphase.settings import Settings
from matphase.support.errors import InputError, OutputError
from matphase.support.files import UNFINISHED, remove_at_once
from matphase.support.records import json_or_none, write_json
from matphase.support.seeds import fingerprint

RECORD = "run.json"


def claim(run: Run, settings: Settings, annotated: Pool) -> None:
    """Record in the run folder what is trained there, or check it against an existing record.

    Raises:
        InputError: the folder holds a training with other data, phases, seed or settings.
        OutputError: the folder holds other files.
    """
    if run.folder is None:
        return
    record = {
        "data": fingerprint(annotated.images, annotated.labels),
        "phases": annotated.phases.to_json(),
        "seed": run.seed,
        "settings": settings.model_dump(mode="json"),
    }
    path = run.folder / RECORD
    check_run_folder(run.folder)
    if run.restart:
        remove_at_once(run.folder)
    if not path.exists():
        write_json(path, record)
        return
    before = json_or_none(path)
    if not isinstance(before, dict):
        raise InputError(f"{path} is damaged; remove {run.folder} and train again")
    try:
        # settings that are new in this version get their defaults
        settings_before = Settings.from_mapping(before["settings"])
        before["settings"] = settings_before.model_dump(mode="json")
    except (KeyError, InputError):
        pass  # reported as different below
    for part in record:
        if before.get(part) != record[part]:
            raise InputError(
                f"the training in {run.folder} was started with other {part}; "
                f"use the same {part} to continue, or remove that folder to start again"
            )


def check_run_folder(folder: Path) -> None:
    """Refuse a folder that holds other files than a training.

    Raises:
        OutputError: it does.
    """
    if folder.exists() and not (folder.is_dir() and _is_free(folder)):
        raise OutputError(
            f"{folder} holds other files, not a training; move them, or give another folder"
        )


def _is_free(folder: Path) -> bool:
    # a kill while the record was written leaves its hidden beginning
    return (folder / RECORD).exists() or all(
        path.name.startswith(UNFINISHED) for path in folder.iterdir()
    )
