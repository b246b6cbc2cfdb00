"""`matphase evaluate`: scores of a prediction against known labels."""

from pathlib import Path
from typing import Annotated, Any

import typer

from matphase.cli.common import JsonFile, Overwrite, Quiet, console, reports_errors, write_json


@reports_errors
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Labels that `matphase predict` wrote.")],
    labels: Annotated[str, typer.Argument(help="Known labels: file or folder.")],
    label_map: Annotated[
        str | None,
        typer.Option(
            help="Phases and values of the known labels; taken from the prediction's record "
            "where there is one."
        ),
    ] = None,
    json: JsonFile = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Score predicted labels: F1, accuracy, mIU, fIU; and u and IDK, where the maps are there."""
    import numpy as np

    from matphase import formats
    from matphase.errors import InputError
    from matphase.evaluation import rows_table, score_row, score_uncertainty
    from matphase.phases import PhaseTable
    from matphase.records import beside, phases_of

    recorded = phases_of(prediction)
    phases = PhaseTable.parse(label_map) if label_map is not None else recorded
    if phases is None:
        raise InputError(f"no record lies beside {prediction}; pass --label-map to name its phases")
    predicted, truth = formats.open(prediction), formats.open(labels)
    if predicted.shape[-2:] != truth.shape[-2:] or predicted.n_slices != truth.n_slices:
        raise InputError(
            f"{predicted.name} has shape {predicted.shape} but {truth.name} has {truth.shape}; "
            "give the labels of the same slices"
        )
    shape = (truth.n_slices, *truth.shape[-2:])
    known = phases.encode(truth.to_array(), where=truth.name).reshape(shape)
    answer = (recorded or phases).encode(predicted.to_array(), where=predicted.name).reshape(shape)
    if recorded is not None and recorded.names != phases.names:
        # the same phases listed in another order: bring the answer to the order of the label map
        answer = np.array([phases.index(name) for name in recorded.names], np.uint8)[answer]
    row = score_row(known, answer, phases)
    content: dict[str, Any] = {"phases": list(phases.names), "rows": {prediction.name: row}}
    maps = [beside(prediction, name) for name in ("entropy", "idk")] if recorded else []
    if maps and all(path.exists() for path in maps):
        entropy, idk = (formats.open(path).to_array().reshape(shape) for path in maps)
        content["uncertainty"] = score_uncertainty(known, answer, entropy, idk != 0)
    write_json(content, json, overwrite=overwrite)
    if str(json) == "-":
        return
    say = console(quiet=quiet)
    say.print(rows_table(content["rows"], phases, f"{prediction} against {labels}"))
