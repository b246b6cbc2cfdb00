"""Deferral: chooses between UGSM and LCGAR in the IDK set (beyond the paper).

HCL-IDK finds the pixels where UGSM is likely wrong, but LCGAR is not always better there: in most
IDK pixels both agree, and where they differ UGSM is right nearly as often. With
`idk.target = "gain"` a second classifier, of the same architecture as HCL-IDK, sees both
predictions and chooses one.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.batches import Indices
from matphase.learning.run import Run
from matphase.method import hcl_idk
from matphase.method.results import GlobalPrediction, GlobalStack, LocalPrediction, Partition
from matphase.networks.idk import IDKClassifier
from matphase.settings import IDKSettings
from matphase.support.device import running
from matphase.support.scratch import Stack
from matphase.support.seeds import mix

MIN_PIXELS = 2
"""Minimum number of training pixels, since batch norm needs more than one."""
MIN_SCORE = 0.5
"""Minimum score at which LCGAR's prediction replaces UGSM's."""


def build(n_phases: int, settings: IDKSettings) -> IDKClassifier:
    """Build the untrained classifier, for the predictions and uncertainties of UGSM and LCGAR."""
    return IDKClassifier(2 * (n_phases + 1), settings.dropout)


def fit(
    known: GlobalStack,
    answers: Iterable[tuple[Partition, LocalPrediction]],
    labels: Stack,
    settings: IDKSettings,
    run: Run,
) -> IDKClassifier:
    """Train the classifier on the pixels where exactly one of UGSM and LCGAR is right.

    In all other pixels the choice makes no difference. The pixels are not balanced, so the score
    is the probability that LCGAR is right, and a threshold of 1/2 gives the fewest errors. Without
    such pixels the classifier never chooses LCGAR.

    Args:
        known: UGSM's predictions of labelled slices.
        answers: pixels of each slice that LCGAR predicted, and its predictions of them, ideally by
            a network that was not trained on the slice.
        labels: (n, height, width) true phase indices.
        settings: settings of the classifier and its training.
        run: seed, precision, folder, reporter.

    Raises:
        Interrupted: the user stopped it.
    """
    rng = np.random.default_rng(mix(run.seed, "deferral", "pixels"))
    inputs, targets = [], []
    for number, (where, said) in enumerate(answers):
        one = known[number]
        chosen, local_right = _decisive_pixels(one, where, said, labels[number])
        if settings.pixels_per_image:
            few = rng.choice(
                len(chosen), min(len(chosen), settings.pixels_per_image), replace=False
            )
            few.sort()
            chosen, local_right = chosen[few], local_right[few]
        place = np.flatnonzero(where.idk)[chosen]
        inputs.append(features(one, place, said.probabilities[chosen]))
        targets.append(local_right)
    values, right = np.concatenate(inputs), np.concatenate(targets)
    torch.manual_seed(mix(run.seed, "deferral", "weights"))
    network = build(known.n_phases, settings)
    if len(values) < MIN_PIXELS:
        hcl_idk.disable(network)
        return network
    hcl_idk.train_on_pixels(network, values, right, settings, run, name="deferral")
    return network


def predict(
    network: IDKClassifier, known: GlobalPrediction, asked: Partition, local: LocalPrediction
) -> NDArray[np.float32]:
    """Probability (pixels,) that LCGAR is right, given that exactly one of both is."""
    place = np.flatnonzero(asked.idk)
    score = np.empty(len(place), np.float32)
    with running(network, "float32") as device:
        for first in range(0, len(place), hcl_idk.PIXELS_PER_PASS):
            part = slice(first, first + hcl_idk.PIXELS_PER_PASS)
            pixels = torch.from_numpy(features(known, place[part], local.probabilities[part]))
            score[part] = network(pixels.to(device)).sigmoid().cpu().numpy()
    return score


def weights(
    network: IDKClassifier | None,
    known: GlobalPrediction,
    asked: Partition,
    local: LocalPrediction,
    fusion: Literal["replace", "soft"],
) -> NDArray[np.float32] | None:
    """Weights of LCGAR's predictions for `aggregate`: (pixels,) in [0, 1]; None means all 1.

    Args:
        network: deferral classifier; None: LCGAR's prediction is always used.
        known: UGSM's prediction.
        asked: pixels that LCGAR predicted.
        local: its prediction of these pixels.
        fusion: `replace` takes LCGAR's prediction from a score of 1/2, else UGSM's; `soft` weights
            both by the score, which is HCL-IDK's without a deferral classifier.
    """
    if network is None:
        return asked.score[asked.idk] if fusion == "soft" else None
    score = predict(network, known, asked, local)
    return score if fusion == "soft" else (score >= MIN_SCORE).astype(np.float32)


def features(
    known: GlobalPrediction, place: Indices, said: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Input features of the classifier.

    Args:
        known: UGSM's prediction.
        place: (pixels,) flat indices into the labels of `known`.
        said: (pixels, phases) LCGAR's probabilities of these pixels.

    Returns:
        (pixels, 2 (phases + 1)): UGSM's mean logits F and uncertainty u, then LCGAR's
        log-probabilities and their entropy.
    """
    # probabilities may be rounded to 0, whose logarithm would be infinite
    logs = np.log(np.maximum(said, np.finfo(np.float32).tiny))
    n_slices, n_phases = known.logits.shape[:2]
    logits = known.logits.reshape(n_slices, n_phases, -1)
    slices, inside = np.divmod(place, logits.shape[-1])
    return np.column_stack(
        [logits[slices, :, inside], known.entropy.ravel()[place], logs, entr(said).sum(axis=1)]
    )


def _decisive_pixels(
    known: GlobalPrediction, asked: Partition, local: LocalPrediction, labels: NDArray[np.uint8]
) -> tuple[Indices, NDArray[np.bool_]]:
    """Pixels of one slice where exactly one network is right, and whether that is LCGAR.

    Pixels are numbered among those that LCGAR predicted; `labels` are (height, width).
    """
    truth = labels[asked.idk[0]]
    local_right = local.labels == truth
    either = local_right != (known.labels[asked.idk] == truth)
    chosen = np.flatnonzero(either & (truth != IGNORE_INDEX))
    return chosen, local_right[chosen]
