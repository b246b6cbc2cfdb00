"""`matphase evaluate`: scores of a prediction against known labels."""

from pathlib import Path
from typing import Annotated, Any

import typer

from matphase.cli.common import (
    JsonFile,
    Overwrite,
    Quiet,
    keep_inputs,
    reports_errors,
    say,
    show,
    write_json,
)


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
    """Score predicted labels: F1, accuracy, mIU, fIU, calibration, and how well u and IDK warn.

    Of trusted pixels, where there are any: how many, and how many of these are wrong.

    What is scored beyond the labels depends on the files beside them, as `matphase predict` wrote
    them; the calibration error needs its --probabilities.
    """
    from matphase.images import formats
    from matphase.images.phases import PhaseTable
    from matphase.prediction.records import is_prediction, read_prediction, record_of
    from matphase.scores.evaluation import score_row, score_trusted, score_uncertainty
    from matphase.show.tables import rows_table, trusted_text, uncertainty_text
    from matphase.support.errors import InputError
    from matphase.support.files import check_output

    phases = PhaseTable.parse(label_map) if label_map is not None else None
    record = [record_of(prediction)] if is_prediction(prediction) else []
    if json is not None and str(json) != "-":
        check_output(json, overwrite=overwrite)
        keep_inputs(json, prediction, labels, *record)
    stored, truth = read_prediction(prediction, phases), formats.open(labels)
    shape = (truth.n_slices, *truth.shape[-2:])
    if stored.labels.shape != shape:
        raise InputError(
            f"{prediction} has shape {stored.labels.shape} but {truth.name} has {shape}; "
            "give the labels of the same slices"
        )
    phases = stored.phases
    known = phases.encode(truth.to_array(), where=truth.name).reshape(shape)
    rows = {prediction.name: score_row(known, stored.labels, phases, stored.probabilities)}
    content: dict[str, Any] = {"phases": list(phases.names), "rows": rows}
    if stored.global_labels is not None:
        if stored.idk is None or stored.idk.any():
            rows["UGSM alone"] = score_row(known, stored.global_labels, phases)
        if stored.entropy is not None and stored.idk is not None:
            content["uncertainty"] = score_uncertainty(
                known, stored.global_labels, stored.entropy, stored.idk
            )
    if stored.trusted is not None:
        content["trusted"] = score_trusted(known, stored.labels, stored.trusted)
    write_json(content, json, overwrite=overwrite)
    if str(json) == "-":
        return
    show(rows_table(rows, phases, f"{prediction} against {labels}"), quiet=quiet)
    if "uncertainty" in content:
        say(uncertainty_text(content["uncertainty"]), quiet=quiet)
    if "trusted" in content:
        say(trusted_text(content["trusted"]), quiet=quiet)
