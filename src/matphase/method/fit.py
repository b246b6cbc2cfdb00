"""Training of all stages in their order (paper section 3.4)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import IGNORE_INDEX
from matphase.images.tiles import plan_tiles
from matphase.learning.pool import Pool
from matphase.learning.smoothing import LabelChanges
from matphase.learning.trainer import Run
from matphase.learning.weights import phase_fractions
from matphase.method import align, calibrator, conformal, hcl, hcl_idk, run_folder, scaling, ugsm
from matphase.method.calibrator import Calibrator
from matphase.method.hcl import HCL
from matphase.method.model import Model
from matphase.method.results import GlobalStack
from matphase.method.ugsm import DEFAULT_MEMORY, NetworkSegmenter
from matphase.networks import registry
from matphase.settings import CalibrationSettings, Settings
from matphase.support.errors import InputError
from matphase.support.scratch import Stack


def fit_model(
    annotated: Pool, held_out: Pool | None, settings: Settings, scale: IntensityScale, run: Run
) -> tuple[Model, Stack | None]:
    """Train the segmenter, then the refiner on what it got wrong, then the calibrator.

    Of MatPhase these are UGSM; HCL-IDK, LCGAR under HCL-USI, and with `idk.target = "gain"` the
    classifier that chooses between both; of a baseline what it consists of.

    Args:
        annotated: training slices.
        held_out: validation slices, which `idk.tune_recall` and the calibrator learn from.
        settings: of all stages.
        scale: that the images were brought to.
        run: seed, precision, folder, reporter.

    Returns:
        the model, and the labels (n, height, width) that it gives for the validation slices.

    Raises:
        InputError: `run.folder` holds the training of other data or settings, a setting does
            not fit the data, or the model needs a package that is not installed.
        Interrupted: the user stopped it.
    """
    made_of = registry.composition(settings.model)
    settings = _checked(settings, held_out)
    registry.check_installed(settings.model)
    run.team.first(lambda: run_folder.claim(run, settings, annotated))
    stage = Stage(settings, run)
    pool, changes = annotated.prepared(settings.data)
    pool.require_every_phase("the training labels, smoothed,")
    record = _record(annotated, pool, changes)
    begun = None
    if settings.align.after:
        begun = stage.fit_segmenter(pool, name="ugsm_before_alignment", share=settings.align.after)
        pool, _ = stage.aligned(annotated, begun)
    segmenter = stage.fit_segmenter(pool, start=begun, share=1 - settings.align.after)
    if settings.align.after:
        # from the labels as they were: the refiner learns from what this network sees
        pool, alignment = stage.aligned(annotated, segmenter)
        record["alignment"] = alignment.summary(annotated.labels, annotated.phases.names)
    refiner = None
    if made_of.local is not None:
        chosen, known = stage.predictions_to_learn_from(pool, segmenter)
        classifier = hcl_idk.fit(known, chosen.labels, settings.idk, run)
        if held_out is not None and settings.idk.tune_recall:
            settings = _with_tuned_threshold(held_out, segmenter, classifier, stage)
        folds = fold_numbers(pool, chosen, max(1, settings.idk.folds))
        refiner = hcl.fit(chosen, known, classifier, folds, settings, run)
    model = Model(
        settings, annotated.phases, scale, run.seed, segmenter, refiner, Calibrator(), record
    )
    return (model, None) if held_out is None else _calibrated(model, held_out, stage)


def refit_local(model: Model, annotated: Pool, run: Run) -> Model:
    """A model with the segmenter and HCL-IDK of `model`; the rest by `model.settings`, anew.

    Raises:
        InputError: `model` has no local part.
    """
    settings = model.settings
    if not isinstance(model.refiner, HCL) or not isinstance(model.segmenter, NetworkSegmenter):
        raise InputError(
            f"the model {settings.model} has no local part that could be trained again; "
            "fit one that has, such as matphase"
        )
    run.team.first(lambda: run_folder.claim(run, settings, annotated))
    stage = Stage(settings, run)
    if settings.align.after:
        pool, _ = stage.aligned(annotated, model.segmenter)
    else:
        pool, _ = annotated.prepared(settings.data)
    chosen, known = stage.predictions_to_learn_from(pool, model.segmenter)
    folds = fold_numbers(pool, chosen, max(1, settings.idk.folds))
    refiner = hcl.fit(chosen, known, model.refiner.idk, folds, settings, run)
    return replace(model, refiner=refiner, calibrator=Calibrator(), validation=None)


def align_labels(
    pool: Pool, segmenter: NetworkSegmenter, settings: Settings, run: Run
) -> align.Alignment:
    """The labels of a pool, moved to where a trained segmenter sees their phases.

    What it sees is first scaled to these labels: the weights of the loss make a network overrate
    rare phases, whose boundaries would be pushed outwards.
    """
    few = min(segmenter.settings.samples, align.SAMPLES)
    seen = _predicted(segmenter, pool, run, samples=few)
    lean = scaling.fit(_Probabilities(seen), pool.labels, "vector", run.seed)
    shown = (lean.apply(said.probabilities)[0] for said in seen)
    run.reporter.start("align labels", len(pool))
    alignment = run.team.first(
        lambda: align.align(shown, pool.labels, settings.align, run.reporter, pool.folder)
    )
    run.reporter.finish()
    return alignment


def fold_numbers(pool: Pool, chosen: Pool, folds: int) -> NDArray[np.int64]:
    """To which fold of the pool's slices each of the chosen images belongs, (n,), in rising order.

    Folds are blocks of neighbouring slices; all copies of a slice are in one.
    """
    of_slice = np.empty(int(pool.source.max()) + 1, np.int64)
    for number, block in enumerate(np.array_split(np.unique(pool.source), folds)):
        of_slice[block] = number
    return of_slice[chosen.source]


@dataclass(frozen=True)
class Stage:
    """The stages of one training that more than one of its steps needs."""

    settings: Settings
    run: Run

    def fit_segmenter(
        self,
        pool: Pool,
        *,
        name: str = "ugsm",
        start: NetworkSegmenter | None = None,
        share: float = 1.0,
    ) -> NetworkSegmenter:
        """Train the segmenter of `settings.model`, or continue; see `ugsm.fit`."""
        settings = self.settings
        made_of = registry.composition(settings.model)
        network = ugsm.fit(
            pool,
            settings.ugsm,
            settings.data,
            self.run,
            network=made_of.segmenter,
            name=name,
            start=None if start is None else start.network,
            share=share,
        )
        return segmenter_of(network, len(pool.phases), settings)

    def aligned(self, annotated: Pool, segmenter: NetworkSegmenter) -> tuple[Pool, align.Alignment]:
        """The pool of training images with their labels moved to where the segmenter points."""
        alignment = align_labels(annotated, segmenter, self.settings, self.run)
        pool, _ = annotated.with_labels(alignment.labels).prepared(self.settings.data)
        pool.require_every_phase("the training labels, aligned,")
        return pool, alignment

    def predictions_to_learn_from(
        self, pool: Pool, segmenter: NetworkSegmenter
    ) -> tuple[Pool, GlobalStack]:
        """The images that the refiner learns from, and the segmenter's predictions of them.

        With `data.local_images` a part of the pool; with folds, predictions of networks that did
        not see the slice.

        A network makes fewer errors on slices that it was trained on than on new ones, so HCL-IDK
        and LCGAR meet an easier task in training than later. Folds are blocks of neighbouring
        slices.
        """
        settings, run = self.settings, self.run
        folds = settings.idk.folds
        chosen = pool.spread(settings.data.local_images)
        if folds == 0:
            return chosen, _predicted(segmenter, chosen, run)
        n_slices = len(np.unique(pool.source))
        if folds > n_slices:
            raise InputError(
                f"idk.folds is {folds} but there are only {n_slices} training slices; "
                "use fewer folds"
            )
        found = GlobalStack.empty(len(chosen), len(pool.phases), pool.shape, pool.folder)
        of_pool, of_chosen = (fold_numbers(pool, which, folds) for which in (pool, chosen))
        for number in range(folds):
            seen, unseen = pool.take(of_pool != number), np.flatnonzero(of_chosen == number)
            seen.require_every_phase(f"training slices without fold {number + 1} of {folds}")
            other = self.fit_segmenter(seen, name=f"ugsm_fold{number + 1}")
            if len(unseen):
                parts = _predicted(other, chosen.take(unseen), run)
                for place, part in zip(unseen.tolist(), parts, strict=True):
                    found.put(place, part, slice(None), slice(None))
        return chosen, found


def segmenter_of(network: nn.Module, n_phases: int, settings: Settings) -> NetworkSegmenter:
    """A trained network as the segmenter of `settings.model`."""
    average = registry.composition(settings.model).average
    return NetworkSegmenter(network, settings.ugsm, n_phases, average, settings.precision)


def _predicted(
    segmenter: NetworkSegmenter, pool: Pool, run: Run, samples: int | None = None
) -> GlobalStack:
    run.reporter.start("UGSM on labelled slices", len(pool))
    known = run.team.first(
        lambda: segmenter.predict_pool(pool, samples=samples, reporter=run.reporter)
    )
    run.reporter.finish()
    return known


@dataclass(frozen=True, eq=False)
class _Probabilities:
    """The probabilities of a stack of predictions, computed as they are read."""

    known: GlobalStack

    @property
    def shape(self) -> tuple[int, ...]:
        return self.known.logits.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self.known[number].probabilities[0]
        return probabilities


def _checked(settings: Settings, held_out: Pool | None) -> Settings:
    """The settings with what "auto" means for calibration.

    Raises:
        InputError: validation slices are needed and do not suffice, or the model has no refiner
            that a setting is about.
    """
    has_local = registry.composition(settings.model).local is not None
    if settings.idk.tune_recall and held_out is None:
        raise InputError(
            "idk.tune_recall needs validation slices; give some as validation=, or leave it out"
        )
    if settings.idk.tune_recall and not has_local:
        raise InputError(
            f"idk.tune_recall has no meaning for the model {settings.model}, which calls no pixel "
            "uncertain; leave it out"
        )
    if settings.idk.target == "gain" and not has_local:
        raise InputError(
            f"idk.target 'gain' has no meaning for the model {settings.model}, which has no local "
            "part that could be the better one; leave it out"
        )
    counts = np.zeros(1) if held_out is None else held_out.counts()
    calibration = settings.calibration.given(every_phase=bool(counts.all()))
    _check_calibration(calibration, held_out)
    return settings.model_copy(update={"calibration": calibration})


def _check_calibration(settings: CalibrationSettings, held_out: Pool | None) -> None:
    """See that the validation slices suffice, before the long work starts."""
    if not settings.is_on:
        return
    if held_out is None:
        raise InputError(
            "calibration needs validation slices; give some as validation=, or leave it out"
        )
    if settings.scaling == "vector":
        held_out.require_every_phase(
            "the validation labels, which calibration.scaling 'vector' learns from"
        )
    if settings.risk:
        known = int(held_out.counts().sum())
        conformal.check_enough(known, held_out.labels.shape, settings)


def _record(annotated: Pool, pool: Pool, changes: LabelChanges | None) -> dict[str, Any]:
    """What a user may want to know of the training data, for the model's config.toml."""
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


def _with_tuned_threshold(
    held_out: Pool, segmenter: NetworkSegmenter, classifier: Any, stage: Stage
) -> Settings:
    settings = stage.settings
    scores = []
    for number, said in enumerate(_predicted(segmenter, held_out, stage.run)):
        split = hcl_idk.predict(classifier, said, settings.idk)
        truth = held_out.labels[number]
        scores.append(split.score[0][(said.labels[0] != truth) & (truth != IGNORE_INDEX)])
    threshold = hcl_idk.tuned_threshold(np.concatenate(scores), settings.idk.tune_recall)
    return settings.updated({"idk": {"threshold": threshold}})


def _calibrated(model: Model, held_out: Pool, stage: Stage) -> tuple[Model, Stack]:
    """The model with a calibrator that learned from slices which no network learned from.

    Also the labels (n, height, width) that it then gives for them.
    """
    settings, run = model.settings.calibration, stage.run
    truth, n_phases = held_out.labels, len(model.phases)
    learned = truth
    if settings.is_on and settings.scaling != "none" and settings.align:
        assert isinstance(model.segmenter, NetworkSegmenter)
        learned = align_labels(held_out, model.segmenter, model.settings, run).labels
    fitted, labels = calibrator.fit(
        _answers(model, held_out), truth, learned, n_phases, settings, model.seed, held_out.folder
    )
    return replace(model, calibrator=fitted), labels


def _answers(model: Model, pool: Pool) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """The model's labels (height, width) and probabilities (phases, ...) of each image."""
    height, width = pool.shape
    shape = (1, height, width)
    halo = None if model.halo is None else replace(model.halo, slices=0)
    cut = plan_tiles(
        shape, halo, model.pass_bytes, model.pixel_bytes(0), DEFAULT_MEMORY, name="training"
    )
    for number in range(len(pool)):
        labels = np.empty(shape, np.uint8)
        probabilities = np.empty((len(model.phases), *shape), np.float32)
        for tile in cut:
            seen = pool.images[(slice(number, number + 1), slice(None), *tile.window[1:])]
            maps = model.answer(seen, memory=DEFAULT_MEMORY, origin=tile.origin, inner=tile.inner)
            labels[tile.core] = maps["labels"]
            probabilities[(slice(None), *tile.core)] = maps["probabilities"]
        yield labels[0], probabilities[:, 0]
