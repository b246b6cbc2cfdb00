"""Training of all stages in their order (paper section 3.4)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.learning.pairs import Pairs
from matphase.learning.smoothing import LabelChanges
from matphase.learning.trainer import Run
from matphase.learning.weights import phase_fractions, phase_weights
from matphase.method import align, conformal, deferral, hcl_idk, lcgar, local, scaling, ugsm
from matphase.method.folder import Trained
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.networks import zoo
from matphase.networks.idk import IDKClassifier
from matphase.settings import CalibrationSettings, Settings
from matphase.support.errors import InputError, OutputError
from matphase.support.files import atomic_write, remove
from matphase.support.seeds import fingerprint

RECORD = "run.json"


def fit_stages(
    pairs: Pairs,
    held_out: Pairs | None,
    settings: Settings,
    phases: PhaseTable,
    scale: IntensityScale,
    run: Run,
) -> Trained:
    """UGSM, then HCL-IDK on what it got wrong, then LCGAR on the hard pixels.

    With `idk.target = "gain"` at last the classifier that chooses between UGSM and LCGAR.
    Of a baseline (`settings.model`) the stages that it consists of.

    Args:
        pairs: training slices.
        held_out: validation slices; only `idk.tune_recall` looks at them here.
        settings: of all stages.
        phases: of the labels.
        scale: that the images were brought to.
        run: seed, precision, folder, reporter.

    Raises:
        InputError: `run.folder` holds the training of other data or settings, a setting does
            not fit the data, or the model needs a package that is not installed.
        Interrupted: the user stopped it.
    """
    if settings.idk.tune_recall and held_out is None:
        raise InputError(
            "idk.tune_recall needs validation slices; give some (--validation-images and "
            "--validation-labels), or leave it out"
        )
    every_phase = held_out is not None and not held_out.lacking(phases)
    calibration = settings.calibration.given(every_phase=every_phase)
    _check_calibration(calibration, held_out, phases)
    kind = zoo.KINDS[settings.model]
    if settings.idk.tune_recall and kind.local is None:
        raise InputError(
            f"idk.tune_recall has no meaning for the model {settings.model}, which calls no pixel "
            "IDK; leave it out"
        )
    if settings.idk.target == "gain" and kind.local is None:
        raise InputError(
            f"idk.target 'gain' has no meaning for the model {settings.model}, which has no local "
            "part that could be the better one; leave it out"
        )
    zoo.check_installed(settings.model)
    run.team.first(lambda: _claim(run, settings, phases, pairs))
    settings = settings.model_copy(update={"calibration": calibration})
    pool, changes = pairs.prepared(settings.data, phases)
    pool.require_every_phase(phases, "the training labels, smoothed,")
    record = _record(pairs, pool, changes, phases)
    begun = None
    if settings.align.after:
        name, share = "ugsm_before_alignment", settings.align.after
        begun = _fit_global(pool, settings, phases, run, name=name, share=share)
        pool, _ = _aligned(pairs, begun, settings, phases, run)
    network = _fit_global(pool, settings, phases, run, start=begun, share=1 - settings.align.after)
    if settings.align.after:
        # from the labels as they were: the local stages learn from what this network sees
        pool, alignment = _aligned(pairs, network, settings, phases, run)
        record["alignment"] = alignment.summary(pairs.labels, phases.names)
    if kind.local is None:
        return Trained(settings, phases, scale, run.seed, network, None, None, record)
    chosen, known = predictions_to_learn_from(pool, network, settings, phases, run)
    classifier = hcl_idk.fit(known, chosen.labels, settings.idk, run)
    if held_out is not None:
        settings = _with_tuned_threshold(held_out, network, classifier, settings, run)
    model = Trained(settings, phases, scale, run.seed, network, classifier, None, record)
    return _with_local(model, classifier, pool, chosen, known, run)


def _aligned(
    pairs: Pairs, network: nn.Module, settings: Settings, phases: PhaseTable, run: Run
) -> tuple[Pairs, align.Alignment]:
    """The pool of training images with their labels moved to where the network points."""
    alignment = align_labels(pairs, network, settings, run)
    pool, _ = replace(pairs, labels=alignment.labels).prepared(settings.data, phases)
    pool.require_every_phase(phases, "the training labels, aligned,")
    return pool, alignment


def _fit_global(
    pool: Pairs,
    settings: Settings,
    phases: PhaseTable,
    run: Run,
    *,
    name: str = "ugsm",
    start: nn.Module | None = None,
    share: float,
) -> nn.Module:
    """Train the global network of `settings.model`, or go on with it; see `ugsm.fit`."""
    return ugsm.fit(
        pool.images,
        pool.labels,
        len(phases),
        settings.ugsm,
        settings.data,
        run,
        network=zoo.KINDS[settings.model].network,
        name=name,
        start=start,
        share=share,
    )


def align_labels(pairs: Pairs, network: nn.Module, settings: Settings, run: Run) -> align.Alignment:
    """The labels of the pairs, moved to where a trained global network sees their phases.

    What it sees is first scaled to these labels: the weights of the loss make a network overrate
    rare phases, whose boundaries would be pushed outwards.
    """
    few = settings.updated({"ugsm": {"samples": min(settings.ugsm.samples, align.SAMPLES)}})
    shown = _predict(network, pairs, few, run)
    lean = scaling.fit(shown.probabilities, pairs.labels, "vector", run.seed)
    seen = lean.apply(shown.probabilities)
    run.reporter.start("align labels", len(pairs.images))
    alignment = run.team.first(
        lambda: align.align(seen, pairs.labels, settings.align, run.reporter)
    )
    run.reporter.finish()
    return alignment


def _check_calibration(
    settings: CalibrationSettings, held_out: Pairs | None, phases: PhaseTable
) -> None:
    """See that the validation slices suffice, before the long work starts."""
    if not settings.is_on:
        return
    if held_out is None:
        raise InputError(
            "calibration needs validation slices; give some (--validation-images and "
            "--validation-labels), or leave it out"
        )
    if settings.scaling == "vector":
        held_out.require_every_phase(
            phases, "the validation labels, which calibration.scaling 'vector' learns from"
        )
    if settings.risk:
        conformal.check_enough(held_out.labels, settings)


def fit_local_again(pairs: Pairs, model: Trained, run: Run) -> Trained:
    """A model with UGSM and HCL-IDK of `model`, and the rest trained anew by `model.settings`.

    Raises:
        InputError: `model` has no local part.
    """
    if model.idk is None:
        raise InputError(
            f"the model {model.settings.model} has no local part that could be trained again; "
            "fit one that has, such as matphase"
        )
    run.team.first(lambda: _claim(run, model.settings, model.phases, pairs))
    if model.settings.align.after:
        pool, _ = _aligned(pairs, model.ugsm, model.settings, model.phases, run)
    else:
        pool, _ = pairs.prepared(model.settings.data, model.phases)
    chosen, known = predictions_to_learn_from(pool, model.ugsm, model.settings, model.phases, run)
    return _with_local(model, model.idk, pool, chosen, known, run)


def _claim(run: Run, settings: Settings, phases: PhaseTable, pairs: Pairs) -> None:
    """Note in the run folder what is trained there, or see that it is the same as before."""
    if run.folder is None:
        return
    record = {
        "data": fingerprint(pairs.images, pairs.labels),
        "phases": phases.to_json(),
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
        raise InputError(f"{path} is damaged; remove {run.folder} and train anew")
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
                "go on with the same, or remove that folder to start again"
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


def _record(
    pairs: Pairs, pool: Pairs, changes: LabelChanges | None, phases: PhaseTable
) -> dict[str, Any]:
    """What a user may want to know of the training data, for the model's config.toml."""
    fractions = phase_fractions(pairs.labels, len(phases)).tolist()
    record: dict[str, Any] = {
        "slices": len(pairs.images),
        "images": len(pool.images),
        "volume_fractions": dict(zip(phases.names, fractions, strict=True)),
    }
    if changes is not None:
        record["label_smoothing"] = {
            "pixels_changed": changes.changed,
            "volume_fractions_after": dict(zip(phases.names, changes.after.tolist(), strict=True)),
        }
    return record


def predictions_to_learn_from(
    pool: Pairs, network: nn.Module, settings: Settings, phases: PhaseTable, run: Run
) -> tuple[Pairs, GlobalPrediction]:
    """The images that the local stages learn from, and UGSM's predictions of them.

    With `data.local_images` a part of the pool; with folds, predictions of networks that did not
    see the slice.

    A network makes fewer errors on slices that it was trained on than on new ones, so HCL-IDK
    and LCGAR meet an easier task in training than later. Folds are blocks of neighbouring slices.
    """
    folds = settings.idk.folds
    chosen = pool.spread(settings.data.local_images)
    if folds == 0:
        return chosen, _predict(network, chosen, settings, run)
    slices = np.unique(pool.source)
    if folds > len(slices):
        raise InputError(
            f"idk.folds is {folds} but there are only {len(slices)} training slices; "
            "use fewer folds"
        )
    parts = []
    of_pool, of_chosen = (fold_numbers(pool, which, folds) for which in (pool, chosen))
    for number in range(folds):
        seen = pool.take(of_pool != number)
        unseen = chosen.take(of_chosen == number)
        name = f"ugsm_fold{number + 1}"
        seen.require_every_phase(phases, f"training slices without fold {number + 1} of {folds}")
        other = ugsm.fit(
            seen.images, seen.labels, len(phases), settings.ugsm, settings.data, run, name=name
        )
        if len(unseen.images):
            parts.append(_predict(other, unseen, settings, run))
    # the pool lists the copies of slice 0, then those of slice 1, ..., as the folds do
    return chosen, ugsm.concatenate(parts)


def fold_numbers(pool: Pairs, chosen: Pairs, folds: int) -> NDArray[np.int64]:
    """To which fold of the pool's slices each of the chosen images belongs, (n,), in rising order.

    Folds are blocks of neighbouring slices; all copies of a slice are in one.
    """
    of_slice = np.empty(int(pool.source.max()) + 1, np.int64)
    for number, block in enumerate(np.array_split(np.unique(pool.source), folds)):
        of_slice[block] = number
    return of_slice[chosen.source]


def _predict(network: nn.Module, pool: Pairs, settings: Settings, run: Run) -> GlobalPrediction:
    run.reporter.start("UGSM on labelled slices", len(pool.images))
    known = run.team.first(
        lambda: ugsm.predict(
            network, pool.images, settings.ugsm, precision=run.precision, reporter=run.reporter
        )
    )
    run.reporter.finish()
    return known


def _with_tuned_threshold(
    held_out: Pairs,
    network: nn.Module,
    classifier: IDKClassifier,
    settings: Settings,
    run: Run,
) -> Settings:
    recall = settings.idk.tune_recall
    if not recall:
        return settings
    known = _predict(network, held_out, settings, run)
    score = hcl_idk.predict(classifier, known, settings.idk).score
    wrong = (known.labels != held_out.labels) & (held_out.labels != IGNORE_INDEX)
    threshold = hcl_idk.tuned_threshold(score, wrong, recall)
    return settings.updated({"idk": {"threshold": threshold}})


def partition_to_learn_from(
    classifier: IDKClassifier,
    known: GlobalPrediction,
    labels: NDArray[np.uint8],
    settings: Settings,
) -> Partition:
    """HCL-IDK's split of the labelled images; a classifier that leaves nothing is silenced."""
    partition = hcl_idk.predict(classifier, known, settings.idk)
    _silence_if_idle(classifier, partition, labels)
    return partition


def _silence_if_idle(
    classifier: IDKClassifier, partition: Partition, labels: NDArray[np.uint8]
) -> None:
    """An LCGAR that has nothing to learn must never be asked."""
    if lcgar.count_hard(partition, labels) < lcgar.FEWEST_PIXELS:
        hcl_idk.answer_never(classifier)


def _with_local(
    model: Trained,
    classifier: IDKClassifier,
    pool: Pairs,
    chosen: Pairs,
    known: GlobalPrediction,
    run: Run,
) -> Trained:
    """The model with its local network trained, and what chooses between that and UGSM."""
    settings = model.settings
    partition = run.team.first(lambda: hcl_idk.predict(classifier, known, settings.idk))
    _silence_if_idle(classifier, partition, chosen.labels)
    weights = phase_weights(chosen.labels, known.logits.shape[1])
    network = local.fit(chosen, known, partition, weights, settings, run)
    if settings.idk.target == "wrong":
        return replace(model, lcgar=network, deferral=None)
    folds = fold_numbers(pool, chosen, max(1, settings.idk.folds))
    asked, said = local_answers_to_learn_from(
        chosen, known, partition, weights, network, folds, settings, run
    )
    chooser = deferral.fit(known, asked, said, chosen.labels, settings.idk, run)
    return replace(model, lcgar=network, deferral=chooser)


def local_answers_to_learn_from(
    chosen: Pairs,
    known: GlobalPrediction,
    partition: Partition,
    weights: NDArray[np.float32],
    network: nn.Module,
    folds: NDArray[np.int64],
    settings: Settings,
    run: Run,
) -> tuple[Partition, LocalPrediction]:
    """Where the local network is asked on the labelled images, and its answers.

    With folds, for each of them one answers that learned from the other folds' images, and from
    predictions by UGSMs which had not seen these: so neither it nor the UGSM that it is compared
    with has seen the labels.

    Args:
        chosen: the images that the local stages learn from.
        known: UGSM's prediction of them.
        partition: HCL-IDK's split of them.
        weights: (phases,) of the local network's loss.
        network: trained on all of them; answers where there are no folds.
        folds: (n,) number of the fold of each image, rising; all alike where there are none.
        settings: of all stages.
        run: seed, precision, folder, reporter.

    Raises:
        Interrupted: the user stopped it.
    """
    where, answers = [], []
    numbers = np.unique(folds)
    for number in numbers:
        held_out = folds == number
        answerer = network
        if len(numbers) > 1:
            answerer = local.fit(
                chosen.take(~held_out),
                known.take(~held_out),
                partition.take(~held_out),
                weights,
                settings,
                run,
                suffix=f"_fold{number + 1}",
            )
        asked, said = _local_answers(
            answerer,
            chosen.images[held_out],
            known.take(held_out),
            partition.take(held_out),
            settings,
            run,
        )
        where.append(asked)
        answers.append(said)
    # the images, and with them the pixels asked for, are in the order of the folds
    asked = Partition(np.concatenate([one.idk for one in where]), partition.score)
    return asked, LocalPrediction(
        np.concatenate([one.labels for one in answers]),
        np.concatenate([one.probabilities for one in answers]),
    )


def _local_answers(
    network: nn.Module,
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    settings: Settings,
    run: Run,
) -> tuple[Partition, LocalPrediction]:
    run.reporter.start("LCGAR on labelled slices", len(images))
    answers = run.team.first(lambda: local.predict(network, images, known, partition, settings))
    run.reporter.advance(len(images))
    run.reporter.finish()
    return answers
