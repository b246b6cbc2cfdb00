"""Training of all stages of a model, in order (paper section 3.4)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.learning.smoothing import LabelChanges
from matphase.learning.training_pool import Pool
from matphase.learning.weights import phase_fractions
from matphase.method import (
    align,
    calibrator,
    conformal,
    hcl,
    hcl_idk,
    scaling,
    segmenters,
    training_folder,
)
from matphase.method import start as starts
from matphase.method.calibrator import Calibrator
from matphase.method.model import Model
from matphase.method.passes import Passes
from matphase.method.pool_predictions import answer_pool, predict_pool
from matphase.method.results import GlobalStack
from matphase.method.segmenter import Segmenter
from matphase.networks import registry
from matphase.settings import CalibrationSettings, Settings
from matphase.support.device import arithmetic
from matphase.support.errors import InputError
from matphase.support.scratch import Stack


def fit_model(
    annotated: Pool,
    held_out: Pool | None,
    settings: Settings,
    scale: IntensityScale,
    run: Run,
    *,
    claimed: bool = False,
) -> tuple[Model, Stack | None]:
    """Train the segmenter, then the refiner on its errors, then the calibrator.

    For MatPhase the segmenter is UGSM. The refiner is HCL-IDK, LCGAR with the HCL-USI curriculum,
    and with `idk.target = "gain"` the deferral classifier.

    Args:
        annotated: training slices.
        held_out: validation slices for `idk.tune_recall` and the calibrator.
        settings: settings of all stages.
        scale: intensity scale of the images.
        run: seed, precision, folder, reporter.
        claimed: self-configuration has claimed the run folder already.

    Returns:
        the model, and its labels (n, height, width) of the validation slices.

    Raises:
        InputError: `run.folder` holds a training with other data or settings, a setting does
            not fit the data, or the model needs a package that is not installed.
        Interrupted: the user stopped it.
    """
    composition = registry.composition(settings.model)
    settings = _resolve_settings(settings, held_out)
    registry.check_installed(settings.model)
    if not claimed:
        run.team.first(lambda: training_folder.claim(run, settings, annotated))
    stage = Stage(settings, run)
    pool, changes = annotated.prepared(settings.data)
    pool.require_every_phase("the training labels, smoothed,")
    # the last bits of weights depend on all three
    record = {
        **_training_record(annotated, pool, changes),
        "threads": torch.get_num_threads(),
        "processes": run.team.size,
        "arithmetic": arithmetic(settings.precision),
        **starts.record(settings),
    }
    first = None
    if settings.align.after:
        first = stage.fit_segmenter(pool, name="ugsm_before_alignment", share=settings.align.after)
        pool, _ = stage.aligned(annotated, first)
    segmenter = stage.fit_segmenter(pool, start=first, share=1 - settings.align.after)
    if settings.align.after:
        # aligned again from the original labels, so that the refiner learns from this network
        pool, alignment = stage.aligned(annotated, segmenter)
        record["alignment"] = alignment.summary(annotated.labels, annotated.phases.names)
    refiner = None
    if composition.local is not None:
        chosen, known = stage.training_predictions(pool, segmenter)
        classifier = hcl_idk.fit(known, chosen.labels, settings.idk, run)
        if held_out is not None and settings.idk.tune_recall:
            settings = _tune_threshold(held_out, segmenter, classifier, stage)
        folds = fold_numbers(pool, chosen, max(1, settings.idk.folds))
        shown = chosen.first_channels(settings.data.channels)
        refiner = hcl.fit(shown, known, classifier, folds, settings, run)
    model = Model(
        settings, annotated.phases, scale, run.seed, segmenter, refiner, Calibrator(), record
    )
    return (model, None) if held_out is None else _calibrate(model, held_out, stage)


def refit_local(model: Model, annotated: Pool, run: Run) -> Model:
    """Train the local network of a model again, keeping its segmenter and HCL-IDK.

    Raises:
        InputError: the model has no local network.
    """
    settings = model.settings
    if model.refiner is None:
        raise InputError(
            f"the model {settings.model} has no local network that could be trained again; "
            "use a model that has one, such as matphase"
        )
    run.team.first(lambda: training_folder.claim(run, settings, annotated))
    stage = Stage(settings, run)
    if settings.align.after:
        pool, _ = stage.aligned(annotated, model.segmenter)
    else:
        pool, _ = annotated.prepared(settings.data)
    chosen, known = stage.training_predictions(pool, model.segmenter)
    folds = fold_numbers(pool, chosen, max(1, settings.idk.folds))
    shown = chosen.first_channels(settings.data.channels)
    refiner = model.refiner.refitted(shown, known, folds, settings, run)
    return replace(model, refiner=refiner, calibrator=Calibrator(), validation=None)


def align_labels(pool: Pool, segmenter: Segmenter, settings: Settings, run: Run) -> align.Alignment:
    """Align the labels of a pool with the probabilities of a trained segmenter.

    The probabilities are first calibrated on these labels: the weighted loss makes a network
    overestimate rare phases, whose boundaries would otherwise move outwards.
    """
    few = min(settings.ugsm.samples, align.SAMPLES)
    seen = _predict(segmenter, pool, run, Passes(few))
    shares = (said.probabilities[0] for said in seen)
    lean = scaling.fit(shares, pool.labels, "vector", run.seed)
    shown = (lean.apply(said.probabilities)[0] for said in seen)
    run.reporter.start("align labels", len(pool))
    alignment = run.team.first(
        lambda: align.align(
            shown, pool.labels, settings.align, run.reporter, pool.folder, pool.outside
        )
    )
    run.reporter.finish()
    return alignment


def fold_numbers(pool: Pool, chosen: Pool, folds: int) -> NDArray[np.int64]:
    """Number of the fold of each chosen image, (n,), in rising order.

    Folds are blocks of neighbouring slices of the pool; all copies of a slice are in one fold.
    """
    of_slice = np.empty(int(pool.source.max()) + 1, np.int64)
    for number, block in enumerate(np.array_split(np.unique(pool.source), folds)):
        of_slice[block] = number
    return of_slice[chosen.source]


@dataclass(frozen=True)
class Stage:
    """Stages of one training that several functions use."""

    settings: Settings
    run: Run

    def fit_segmenter(
        self,
        pool: Pool,
        *,
        name: str = "ugsm",
        start: Segmenter | None = None,
        share: float = 1.0,
    ) -> Segmenter:
        """Train the segmenter of `settings.model`, or continue its training; see `Kind.train`.

        A training that does not continue another starts from the model of `ugsm.start`, if any.
        """
        train = segmenters.kind(self.settings).train
        if start is None:
            start = starts.segmenter(self.settings, pool.phases)
        return train(pool, self.settings, self.run, name=name, start=start, share=share)

    def aligned(self, annotated: Pool, segmenter: Segmenter) -> tuple[Pool, align.Alignment]:
        """Training pool whose labels are aligned with the segmenter's probabilities."""
        alignment = align_labels(annotated, segmenter, self.settings, self.run)
        pool, _ = annotated.with_labels(alignment.labels).prepared(self.settings.data)
        pool.require_every_phase("the training labels, aligned,")
        return pool, alignment

    def predictions(
        self, segmenter: Segmenter, pool: Pool, passes: Passes = Passes()
    ) -> GlobalStack:
        """Predictions of the images of a pool."""
        return _predict(segmenter, pool, self.run, passes)

    def training_predictions(self, pool: Pool, segmenter: Segmenter) -> tuple[Pool, GlobalStack]:
        """Training images of the refiner, and the segmenter's predictions of them.

        With `data.local_images` these are a part of the pool. A network makes fewer errors on its
        training slices than on new ones, so HCL-IDK and LCGAR would be trained on a task that is
        too easy. With `idk.folds`, each slice is therefore predicted by a network that was not
        trained on it. Folds are blocks of neighbouring slices.

        Raises:
            InputError: there are more folds than slices, or the slices outside a fold lack a phase.
        """
        if self.settings.idk.folds:
            return self.fold_predictions(pool)
        chosen = pool.spread(self.settings.data.local_images)
        return chosen, _predict(segmenter, chosen, self.run)

    def fold_predictions(self, pool: Pool) -> tuple[Pool, GlobalStack]:
        """Training images of the refiner, each predicted by a network not trained on its slice.

        Raises:
            InputError: there are more folds than slices, or the slices outside a fold lack a phase.
        """
        folds = self.settings.idk.folds
        chosen = pool.spread(self.settings.data.local_images)
        n_slices = len(np.unique(pool.source))
        if folds > n_slices:
            raise InputError(
                f"idk.folds is {folds}, but there are only {n_slices} training slices; "
                "use fewer folds"
            )
        found = GlobalStack.empty(len(chosen), len(pool.phases), pool.shape, pool.folder)
        of_pool, of_chosen = (fold_numbers(pool, which, folds) for which in (pool, chosen))
        for number in range(folds):
            seen, unseen = pool.take(of_pool != number), np.flatnonzero(of_chosen == number)
            seen.require_every_phase(f"training slices without fold {number + 1} of {folds}")
            other = self.fit_segmenter(seen, name=f"ugsm_fold{number + 1}")
            if len(unseen):
                parts = _predict(other, chosen.take(unseen), self.run)
                for place, part in zip(unseen.tolist(), parts, strict=True):
                    found.put(place, part)
        return chosen, found


def _predict(segmenter: Segmenter, pool: Pool, run: Run, passes: Passes = Passes()) -> GlobalStack:
    run.reporter.start("UGSM on labelled slices", len(pool))
    known = run.team.first(lambda: predict_pool(segmenter, pool, passes, run.reporter))
    run.reporter.finish()
    return known


def _resolve_settings(settings: Settings, held_out: Pool | None) -> Settings:
    """Settings in which the "auto" of calibration is resolved.

    Raises:
        InputError: validation slices are missing or too few, or a setting needs a refiner that
            the model does not have.
    """
    has_local = registry.composition(settings.model).local is not None
    if settings.idk.tune_recall and held_out is None:
        raise InputError(
            "idk.tune_recall needs validation slices; give some (validation=), or leave it out"
        )
    if settings.idk.tune_recall and not has_local:
        raise InputError(
            f"idk.tune_recall has no meaning for the model {settings.model}, which marks no pixel "
            "as uncertain; leave it out"
        )
    if settings.idk.target == "gain" and not has_local:
        raise InputError(
            f"idk.target 'gain' has no meaning for the model {settings.model}, which has no local "
            "network; leave it out"
        )
    counts = np.zeros(1) if held_out is None else held_out.counts()
    calibration = settings.calibration.given(every_phase=bool(counts.all()))
    _check_calibration(calibration, held_out)
    return settings.model_copy(update={"calibration": calibration})


def _check_calibration(settings: CalibrationSettings, held_out: Pool | None) -> None:
    """Check before training that the validation slices suffice for calibration."""
    if not settings.is_on:
        return
    if held_out is None:
        raise InputError(
            "calibration needs validation slices; give some (validation=), or leave it out"
        )
    if settings.scaling == "vector":
        held_out.require_every_phase(
            "the validation labels, which calibration.scaling 'vector' is fitted to"
        )
    if settings.risk:
        known = int(held_out.counts().sum())
        conformal.check_enough_blocks(known, held_out.labels.shape, settings)


def _training_record(annotated: Pool, pool: Pool, changes: LabelChanges | None) -> dict[str, Any]:
    """Summary of the training data for the model's config.toml."""
    names = annotated.phases.names
    fractions = phase_fractions(annotated.counts()).tolist()
    record: dict[str, Any] = {
        "slices": len(annotated),
        "images": len(pool),
        "volume_fractions": dict(zip(names, fractions, strict=True)),
    }
    if changes is not None:
        record["label_smoothing"] = {
            "pixels_changed": changes.changed,
            "volume_fractions_after": dict(zip(names, changes.after.tolist(), strict=True)),
        }
    return record


def _tune_threshold(
    held_out: Pool, segmenter: Segmenter, classifier: Any, stage: Stage
) -> Settings:
    settings = stage.settings
    scores = []
    for number, said in enumerate(_predict(segmenter, held_out, stage.run)):
        split = hcl_idk.predict(classifier, said, settings.idk)
        truth = held_out.labels[number]
        scores.append(split.score[0][(said.labels[0] != truth) & (truth != IGNORE_INDEX)])
    threshold = hcl_idk.tuned_threshold(np.concatenate(scores), settings.idk.tune_recall)
    return settings.updated({"idk": {"threshold": threshold}})


def _calibrate(model: Model, held_out: Pool, stage: Stage) -> tuple[Model, Stack]:
    """Fit the calibrator on validation slices, which no network was trained on.

    Returns:
        the model with its calibrator, and its labels (n, height, width) of these slices.
    """
    settings, run = model.settings.calibration, stage.run
    truth, n_phases = held_out.labels, len(model.phases)
    learned = truth
    if settings.scaling != "none" and settings.align:
        learned = align_labels(held_out, model.segmenter, model.settings, run).labels
    fitted, labels = calibrator.fit(
        answer_pool(model, held_out),
        truth,
        learned,
        n_phases,
        settings,
        model.seed,
        held_out.folder,
    )
    return replace(model, calibrator=fitted), labels
