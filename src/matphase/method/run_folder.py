"""The folder in which a training keeps its checkpoints: whose training it is, and whether it is."""

import json
from pathlib import Path

from matphase.learning.pool import Pool
from matphase.learning.trainer import Run
from matphase.settings import Settings
from matphase.support.errors import InputError, OutputError
from matphase.support.files import atomic_write, remove
from matphase.support.seeds import fingerprint

RECORD = "run.json"


def claim(run: Run, settings: Settings, annotated: Pool) -> None:
    """Note in the run folder what is trained there, or see that it is the same as before.

    Raises:
        InputError: it is the training of other data or settings.
        OutputError: the folder holds something else.
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
        remove(run.folder)
    if not path.exists():
        with atomic_write(path) as beside:
            beside.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        return
    try:
        before = json.loads(path.read_text("utf-8"))
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise InputError(f"{path} is damaged; remove {run.folder} and train again")
    try:
        # a setting that this version has and an earlier one had not is at its default
        settings_before = Settings.from_mapping(before["settings"])
        before["settings"] = settings_before.model_dump(mode="json")
    except (KeyError, InputError):
        pass  # whatever it is, it differs, which is said below
    for part in record:
        if before.get(part) != record[part]:
            raise InputError(
                f"the training in {run.folder} was begun with other {part}; "
                "continue with the same, or remove that folder to start again"
            )


def check_run_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a training.

    Raises:
        OutputError: naming it.
    """
    if folder.exists() and not (folder.is_dir() and _is_free(folder)):
        raise OutputError(f"{folder} holds no training but something else; move it elsewhere")


def _is_free(folder: Path) -> bool:
    return (folder / RECORD).exists() or not any(folder.iterdir())
