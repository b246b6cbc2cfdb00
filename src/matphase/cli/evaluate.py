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
            help="Phases and values of the known labels, as pore=0,carbon=1; taken from the record "
            "of the prediction by default."
        ),
    ] = None,
    json: JsonFile = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Score predicted labels: F1, accuracy, mIU, fIU, calibration, and how well errors are flagged.

    The entropy, the mask of uncertain voxels and the mask of trusted voxels are scored if their
    files lie beside the labels, as `matphase predict` wrote them; the calibration error needs its
    --probabilities.
    """
    import numpy as np

    from matphase.images import formats
    from matphase.images.phases import PhaseTable
    from matphase.prediction.files import recorded_files
    from matphase.prediction.prediction import prediction_at
    from matphase.scores.evaluation import score_row, score_trusted, score_uncertainty
    from matphase.show.tables import rows_table, trusted_text, uncertainty_text
    from matphase.support.errors import InputError
    from matphase.support.files import check_output

    if json is not None and str(json) != "-":
        check_output(json, overwrite=overwrite)
        keep_inputs(json, prediction, labels, *recorded_files(prediction))
    table = PhaseTable.parse(label_map) if label_map is not None else None
    result, truth = prediction_at(prediction, table), formats.open(labels)
    shape = (truth.n_slices, *truth.shape[-2:])
    if (predicted := (1, *result.shape)[-3:]) != shape:
        raise InputError(
            f"{prediction} has shape {predicted} but {truth.name} has {shape}; "
            "give the labels of the same slices"
        )
    phases = table or result.phases
    known = phases.encode(truth.to_array(), where=truth.name).reshape(shape)
    maps, own = result.maps, np.asarray(result.indices).reshape(shape)
    probabilities = None
    if "probabilities" in maps:
        stacked = np.asarray(result.probabilities).reshape(len(phases), *shape)
        probabilities = np.moveaxis(stacked, 0, 1)
    rows = {prediction.name: score_row(known, own, phases, probabilities)}
    content: dict[str, Any] = {"phases": list(phases.names), "rows": rows}
    uncertain = np.asarray(result.idk).reshape(shape) if "idk" in maps else None
    if "global_labels" in maps:
        by_ugsm = np.asarray(result.global_indices).reshape(shape)
        if uncertain is None or uncertain.any():
            rows["UGSM alone"] = score_row(known, by_ugsm, phases)
        if "entropy" in maps and uncertain is not None:
            entropy = np.asarray(result.entropy).reshape(shape)
            content["uncertainty"] = score_uncertainty(known, by_ugsm, entropy, uncertain)
    if "trusted" in maps:
        trusted = np.asarray(result.trusted).reshape(shape)
        content["trusted"] = score_trusted(known, own, trusted)
    if result.missing:
        content["missing"] = [path.name for path in result.missing]
    write_json(content, json, overwrite=overwrite)
    if str(json) == "-":
        return
    show(rows_table(rows, phases, f"{prediction} against {labels}"), quiet=quiet)
    if result.missing:
        say(f"not all is scored: {result.missing_text}", quiet=quiet)
    if "uncertainty" in content:
        say(uncertainty_text(content["uncertainty"]), quiet=quiet)
    if "trusted" in content:
        say(trusted_text(content["trusted"]), quiet=quiet)
