"""Demo: simulate an electrode, train on part of it, predict the rest, score and plot the result."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.phases import PhaseTable
from matphase.images.volume import Volume
from matphase.learning.splits import Split, blocked_split
from matphase.model import MatPhase
from matphase.prediction.prediction import Prediction
from matphase.scores.evaluation import Row, score_row, score_uncertainty
from matphase.settings import Settings
from matphase.show.figures import overview_figure
from matphase.support.files import atomic_write
from matphase.support.manifest import DEMO, write_manifest
from matphase.support.progress import Reporter
from matphase.support.records import json_text
from matphase.virtual import VirtualElectrode

SHAPE = (64, 128, 144)
SMOKE_SHAPE = (14, 64, 64)
SMOKE_SETTINGS = {
    "ugsm": {"width": 4, "depth": 2, "min_steps": 20, "samples": 2},
    "idk": {"epochs": 1},
    "lcgar": {"epochs": 1},
}


@dataclass(frozen=True)
class Outcome:
    """Scores of the demo.

    Attributes:
        phases: phases of the electrode.
        rows: rows of the paper's table 1: UGSM, MatPhase w/o HCL-USI, MatPhase.
        uncertainty: how well entropy and HCL-IDK find the errors of UGSM.
    """

    phases: PhaseTable
    rows: dict[str, Row]
    uncertainty: Row


def run_demo(out: Path, *, seed: int, smoke: bool, overwrite: bool, reporter: Reporter) -> Outcome:
    """Run the demo and write its folder, which appears only when it is complete.

    The model is trained and scored with the measured labels; the scored slices are from the other
    end of the electrode (split `blocked`).

    Args:
        out: folder to write.
        seed: random seed of the electrode and the training.
        smoke: use the smallest electrode and model, which takes seconds.
        overwrite: replace `out` if it exists.
        reporter: receives the progress.

    Returns:
        Scores on slices that were not used in training.

    Raises:
        OutputError: `out` exists or cannot be written.
        Interrupted: the user stopped it.
    """
    settings = Settings.preset("quick")
    if smoke:
        settings = settings.updated(SMOKE_SETTINGS)
    electrode = VirtualElectrode.simulate(
        shape=SMOKE_SHAPE if smoke else SHAPE, seed=seed, reporter=reporter
    )
    split = blocked_split(len(electrode.image), validation=0)
    train, truth = split.train, electrode.measured_labels[split.test]
    pair = electrode.image[train], electrode.measured_labels[train]
    volume = Volume.from_array(
        electrode.image[split.test],
        voxel_size=electrode.voxel_size,
        unit=electrode.unit,
        name="virtual electrode",
    )
    with atomic_write(out, overwrite=overwrite, replaces=DEMO) as folder:
        folder.mkdir()
        model = MatPhase(settings=settings, seed=seed).fit(
            *pair, electrode.phases, reporter=reporter
        )
        result = model.predict(volume, reporter=reporter)
        no_usi = settings.usi.model_copy(update={"order": "none"})
        plain = model.refit_local(*pair, usi=no_usi, reporter=reporter)
        without = plain.predict(volume, reporter=reporter)
        outcome = _scored(electrode.phases, truth, result, without)
        _write(folder, model, result, truth, outcome, split)
        write_manifest(folder)
    return outcome


def _scored(
    phases: PhaseTable, truth: NDArray[np.uint8], result: Prediction, without: Prediction
) -> Outcome:
    rows = {
        "UGSM": (result.global_indices, result.global_probabilities),
        "MatPhase w/o HCL-USI": (without.indices, without.probabilities),
        "MatPhase": (result.indices, result.probabilities),
    }
    scores = {
        name: score_row(truth, labels, phases, np.moveaxis(probabilities, 0, 1))
        for name, (labels, probabilities) in rows.items()
    }
    uncertainty = score_uncertainty(
        truth, result.global_indices, result.entropy, result.idk, result.idk_score
    )
    return Outcome(phases, scores, uncertainty)


def _write(
    folder: Path,
    model: MatPhase,
    result: Prediction,
    truth: NDArray[np.uint8],
    outcome: Outcome,
    split: Split,
) -> None:
    model.save(folder / "model")
    maps = {
        "prediction": result.labels,
        "entropy": result.entropy,
        "idk": result.idk.astype(np.uint8),
    }
    for name, array in maps.items():
        formats.save(folder / f"{name}.tif", result.volume.with_array(array))
    content = {
        "phases": list(outcome.phases.names),
        "rows": outcome.rows,
        "uncertainty": outcome.uncertainty,
        "seed": model.seed,
        "slices": {"train": split.train.tolist(), "test": split.test.tolist()},
    }
    (folder / "metrics.json").write_text(json_text(content), "utf-8")
    z = len(truth) // 2
    figure = overview_figure(
        result.volume.slice(z),
        truth[z],
        result.indices[z],
        result.global_indices[z],
        result.entropy[z],
        result.idk[z],
        result.phases,
        result.volume,
        z,
    )
    figure.savefig(folder / "overview.png", dpi=150)
