"""Local U-Net: a U-Net in place of LCGAR, a baseline of the paper's table 3."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matphase.images.neighbours import central
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.trainer import Run
from matphase.method import ugsm
from matphase.method.lcgar import masked_one_hot
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.networks import zoo
from matphase.settings import DataSettings, LCGARSettings, UGSMSettings
from matphase.support.device import PrecisionSetting, running
from matphase.support.seeds import mix


def build(n_phases: int, settings: UGSMSettings, inputs: LCGARSettings) -> nn.Module:
    """The untrained network for the inputs that `inputs` choose."""
    return zoo.local_unet(n_phases, settings, inputs)


def fit(
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    labels: NDArray[np.uint8],
    weights: NDArray[np.float32],
    settings: UGSMSettings,
    inputs: LCGARSettings,
    data: DataSettings,
    run: Run,
    *,
    suffix: str = "",
) -> nn.Module:
    """Train with the settings of UGSM, the loss zero outside the IDK set (paper section 4).

    The paper does not say what it sees: here all that LCGAR does, as channels of whole images.

    Args:
        images: (n, height, width) or (n, slices, height, width), scaled to [-1, 1].
        known: UGSM's prediction of them.
        partition: HCL-IDK's split of them.
        labels: (n, height, width) true phase indices.
        weights: (phases,) of the loss.
        settings: width, depth and training, those of UGSM.
        inputs: which channels there are.
        data: crops and flips.
        run: seed, precision, folder, reporter.
        suffix: tells its files and random draws from those of others in the same run.

    Raises:
        Interrupted: the user stopped it.
    """
    name = f"local_unet{suffix}"
    torch.manual_seed(mix(run.seed, name, "weights"))
    network = build(known.logits.shape[1], settings, inputs)
    hard = np.where(partition.idk, labels, np.uint8(IGNORE_INDEX))
    channels = _channels(images, known, partition, inputs)
    ugsm.fit_segmenter(network, channels, hard, weights, settings, data, run, name)
    return network


def predict(
    network: nn.Module,
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    inputs: LCGARSettings,
    *,
    where: NDArray[np.bool_] | None = None,
    precision: PrecisionSetting = "auto",
) -> LocalPrediction:
    """Name the phase of every IDK pixel, or where `where` (n, height, width) is true.

    The other arguments are those of `fit`.
    """
    where = partition.idk if where is None else where
    channels = _channels(images, known, partition, inputs)
    answers = []
    with running(network, precision) as device:
        for image, asked in zip(channels, where, strict=True):
            logits = network(torch.from_numpy(image[None]).to(device)).float()
            answers.append(logits.softmax(dim=1)[0].cpu().numpy()[:, asked].T)
    probabilities = np.concatenate(answers)
    return LocalPrediction(probabilities.argmax(axis=1).astype(np.uint8), probabilities)


def _channels(
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    inputs: LCGARSettings,
) -> NDArray[np.float32]:
    """What LCGAR sees as (n, channels, height, width)."""
    parts = []
    if inputs.image:
        seen = central(images, inputs.slices)
        parts.append(seen.reshape(len(seen), -1, *seen.shape[-2:]))
    if inputs.labels:
        codes, one_hot = masked_one_hot(known, partition)
        parts.append(np.moveaxis(one_hot[codes], -1, 1))
    if inputs.logits:
        parts.append(known.logits)
    return np.concatenate(parts, axis=1)
