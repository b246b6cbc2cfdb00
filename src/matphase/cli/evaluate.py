"""`matphase evaluate`: scores of a prediction against known labels."""

from pathlib import Path
from typing import Annotated, Any

import typer

from matphase.cli.common import (
    JsonFile,
    LabelSlices,
    MaskOption,
    Overwrite,
    Quiet,
    Unit,
    VoxelSize,
    keep_inputs,
    one_or_many,
    reports_errors,
    say,
    show,
    write_json,
)
from matphase.cli.opening import Axes, Layout, RawDtype, RawShape
from matphase.cli.parsing import parse_slices


@reports_errors
def evaluate(
    prediction: Annotated[Path, typer.Argument(help="Labels that `matphase predict` wrote.")],
    labels: Annotated[
        list[str],
        typer.Argument(help="Known labels of all or some slices: file, folder, pattern, or files."),
    ],
    label_map: Annotated[
        str | None,
        typer.Option(
            help="Phases and values of the known labels, as pore=0,carbon=1; taken from the record "
            "of the prediction by default."
        ),
    ] = None,
    label_slices: LabelSlices = None,
    mask: MaskOption = None,
    voxel_size: VoxelSize = None,
    unit: Unit = None,
    axes: Axes = None,
    shape: RawShape = None,
    dtype: RawDtype = None,
    json: JsonFile = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Score predicted labels: F1, accuracy, mIU, fIU, calibration, and how well errors are flagged.

    Pixels with the ignore value, and those outside of the mask, count nowhere. --voxel-size is that
    of the labels, if their file does not record it.

    The entropy, the mask of uncertain voxels and the mask of trusted voxels are scored if their
    files lie beside the labels, as `matphase predict` wrote them; the calibration error needs its
    --probabilities.
    """
    import numpy as np

    from matphase.images.phases import PhaseTable
    from matphase.prediction.comparison import known_labels
    from matphase.prediction.files import recorded_files
    from matphase.prediction.prediction import prediction_at
    from matphase.scores.evaluation import score_row, score_trusted, score_uncertainty
    from matphase.show.tables import rows_table, trusted_text, uncertainty_text
    from matphase.support.files import check_output

    if json is not None and str(json) != "-":
        check_output(json, overwrite=overwrite)
        keep_inputs(json, prediction, labels, mask, *recorded_files(prediction))
    table = PhaseTable.parse(label_map) if label_map is not None else None
    result = prediction_at(prediction, table)
    truth = Layout(axes, shape, dtype).open(one_or_many(labels), voxel_size, unit)
    phases = table or result.phases
    scored, known = known_labels(result, truth, phases, parse_slices(label_slices), mask)
    maps, own = result.maps, scored.of(result.indices)
    probabilities = None
    if "probabilities" in maps:
        probabilities = np.moveaxis(scored.of(result.probabilities), 0, 1)
    rows = {prediction.name: score_row(known, own, phases, probabilities)}
    content: dict[str, Any] = {"phases": list(phases.names), "rows": rows}
    uncertain = scored.of(result.idk) if "idk" in maps else None
    if "global_labels" in maps:
        by_ugsm = scored.of(result.global_indices)
        if uncertain is None or uncertain.any():
            rows["UGSM alone"] = score_row(known, by_ugsm, phases)
        if "entropy" in maps and uncertain is not None:
            entropy = scored.of(result.entropy)
            content["uncertainty"] = score_uncertainty(known, by_ugsm, entropy, uncertain)
    if "trusted" in maps:
        trusted = scored.of(result.trusted)
        content["trusted"] = score_trusted(known, own, trusted)
    if result.missing:
        content["missing"] = [path.name for path in result.missing]
    write_json(content, json, overwrite=overwrite)
    if str(json) == "-":
        return
    show(rows_table(rows, phases, f"{prediction} against {truth.name}"), quiet=quiet)
    if result.missing:
        say(f"not all is scored: {result.missing_text}", quiet=quiet)
    if "uncertainty" in content:
        say(uncertainty_text(content["uncertainty"]), quiet=quiet)
    if "trusted" in content:
        say(trusted_text(content["trusted"]), quiet=quiet)
