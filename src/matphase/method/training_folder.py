"""The run folder, in which a training keeps its checkpoints."""

import os
import re
from pathlib import Path

from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.settings import Settings
from matphase.support.errors import InputError, OutputError
from matphase.support.files import others_in, remove_at_once
from matphase.support.records import json_or_none, write_json
from matphase.support.rooms import UNFINISHED
from matphase.support.seeds import fingerprint
from matphase.support.text import one_line

RECORD = "run.json"
_OWN = re.compile(rf"(run|plan)\.json|\w+\.(safetensors|ckpt)|{re.escape(UNFINISHED)}.*")
"""Names of the files in a run folder."""


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
        remove_training(run.folder)
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
        OutputError: it does; the message names one.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder; move it, or give another folder")
    others = others_in(folder, _OWN)
    # a kill while the record was written leaves its hidden beginning
    recorded = (folder / RECORD).exists()
    if not others and not recorded:
        others = [path.name for path in folder.iterdir() if not path.name.startswith(UNFINISHED)]
    if others:
        raise OutputError(
            f"{folder} holds other files, not a training ({one_line(others[0])}); move them, or "
            "give another folder"
        )


def remove_training(folder: Path) -> None:
    """Remove the files of a training, and the folder unless it holds others by now."""
    remove_at_once(folder, _OWN)
