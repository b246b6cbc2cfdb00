"""Deferral: where LCGAR, asked for the IDK pixels, is right and UGSM wrong (not the paper's).

HCL-IDK says where UGSM is likely wrong, which is not where LCGAR does better: in most IDK pixels
both say the same, and where they differ UGSM is right nearly as often. With `idk.target = "gain"`
a second classifier, of the same small network, reads both answers and says which one to take.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import entr

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.trainer import Indices, Run
from matphase.method import hcl_idk
from matphase.method.results import GlobalPrediction, GlobalStack, LocalPrediction, Partition
from matphase.networks.idk import IDKClassifier
from matphase.settings import IDKSettings
from matphase.support.device import running
from matphase.support.scratch import Stack
from matphase.support.seeds import mix

FEWEST_PIXELS = 2
"""Batch norm needs more than one example."""
ENOUGH = 0.5
"""The score from which on LCGAR's answer is worth more than UGSM's."""


def build(n_phases: int, settings: IDKSettings) -> IDKClassifier:
    """The untrained network for what UGSM and LCGAR say of a pixel, and how unsure each is."""
    return IDKClassifier(2 * (n_phases + 1), settings.dropout)


def fit(
    known: GlobalStack,
    asked: Sequence[Partition],
    local: Sequence[LocalPrediction],
    labels: Stack,
    settings: IDKSettings,
    run: Run,
) -> IDKClassifier:
    """Learn which of UGSM and LCGAR is right, from the pixels where exactly one of them is.

    No other pixel can tell, since whichever answer is taken there is as right as the other. And
    these are not balanced: so the score is the probability that LCGAR is the right one, and at
    1/2 the answer that costs fewer errors is taken. Where there is no such pixel the classifier
    never takes LCGAR's answer.

    Args:
        known: UGSM's prediction of labelled slices.
        asked: for each of them where LCGAR was asked.
        local: its answers there, best of a network that did not learn from the slice.
        labels: (n, height, width) true phase indices.
        settings: of the classifier and its training.
        run: seed, precision, folder, reporter.

    Raises:
        Interrupted: the user stopped it.
    """
    torch.manual_seed(mix(run.seed, "deferral", "weights"))
    network = build(known.n_phases, settings)
    rng = np.random.default_rng(mix(run.seed, "deferral", "pixels"))
    inputs, targets = [], []
    for number, (where, said) in enumerate(zip(asked, local, strict=True)):
        one = known[number]
        chosen, local_right = _decisive(one, where, said, labels[number])
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
    if len(values) < FEWEST_PIXELS:
        hcl_idk.disable(network)
        return network
    hcl_idk.train_on_pixels(network, values, right, settings, run, name="deferral")
    return network


def predict(
    network: IDKClassifier, known: GlobalPrediction, asked: Partition, local: LocalPrediction
) -> NDArray[np.float32]:
    """The probability that LCGAR is the right one, if one of the two is: (pixels,), as `local`."""
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
    """How much LCGAR's answers count, for `aggregate`: (pixels,) in [0, 1], or None for all of it.

    Args:
        network: the deferral classifier; none: LCGAR answers wherever it was asked.
        known: UGSM's prediction.
        asked: where LCGAR was asked.
        local: its answers there.
        fusion: `replace` takes one answer or the other, LCGAR's from a score of 1/2 on; `soft`
            weighs both by the score, which without a deferral classifier is that of HCL-IDK.
    """
    if network is None:
        return asked.score[asked.idk] if fusion == "soft" else None
    score = predict(network, known, asked, local)
    return score if fusion == "soft" else (score >= ENOUGH).astype(np.float32)


def features(
    known: GlobalPrediction, place: Indices, said: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The input of the classifier.

    Args:
        known: UGSM's prediction.
        place: (pixels,) where, as flat indices into its labels.
        said: (pixels, phases) LCGAR's probabilities there.

    Returns:
        (pixels, 2 (phases + 1)): mean logits F and uncertainty u of UGSM, log-probabilities and
        their entropy of LCGAR.
    """
    # the smallest normal number keeps a probability that was rounded to 0 finite
    logs = np.log(np.maximum(said, np.finfo(np.float32).tiny))
    n_slices, n_phases = known.logits.shape[:2]
    logits = known.logits.reshape(n_slices, n_phases, -1)
    slices, inside = np.divmod(place, logits.shape[-1])
    return np.column_stack(
        [logits[slices, :, inside], known.entropy.ravel()[place], logs, entr(said).sum(axis=1)]
    )


def _decisive(
    known: GlobalPrediction, asked: Partition, local: LocalPrediction, labels: NDArray[np.uint8]
) -> tuple[Indices, NDArray[np.bool_]]:
    """Numbers, among the pixels asked for, of those where one is right; whether LCGAR is.

    All of one slice, whose labels are (height, width).
    """
    truth = labels[asked.idk[0]]
    local_right = local.labels == truth
    either = local_right != (known.labels[asked.idk] == truth)
    chosen = np.flatnonzero(either & (truth != IGNORE_INDEX))
    return chosen, local_right[chosen]
