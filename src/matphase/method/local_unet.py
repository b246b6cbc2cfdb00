"""Local U-Net: a baseline of the paper's table 3, with a U-Net instead of LCGAR."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matphase.images.neighbours import central
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.sampler import TileSampler
from matphase.learning.trainer import Run
from matphase.learning.training_pool import Pool
from matphase.method import ugsm
from matphase.method.lcgar import label_codes, one_hot
from matphase.method.results import (
    GlobalPrediction,
    GlobalStack,
    LocalPrediction,
    Partition,
    PartitionStack,
)
from matphase.networks import registry
from matphase.settings import DataSettings, LCGARSettings, UGSMSettings
from matphase.support.device import PrecisionSetting, running
from matphase.support.scratch import room_for
from matphase.support.seeds import mix


def build(n_phases: int, settings: UGSMSettings, inputs: LCGARSettings) -> nn.Module:
    """Build the untrained network, without dropout, for the inputs that are on.

    It has LCGAR's inputs, but on whole slices: grey slices, UGSM's one-hot labels and logits (a
    channel for each phase), in this order.
    """
    channels = inputs.patch_channels(n_phases) + n_phases * inputs.logits
    return registry.segmenter("unet", channels, n_phases, settings)


def fit(
    pool: Pool,
    known: GlobalStack,
    partition: PartitionStack,
    weights: NDArray[np.float32],
    settings: UGSMSettings,
    inputs: LCGARSettings,
    data: DataSettings,
    run: Run,
    *,
    suffix: str = "",
) -> nn.Module:
    """Train with UGSM's settings and with zero loss outside the IDK set (paper section 4).

    The paper does not give the inputs; here they are those of LCGAR.

    Args:
        pool: images and their true labels.
        known: UGSM's predictions of the images.
        partition: HCL-IDK's split of the images.
        weights: (phases,) weights of the loss.
        settings: width, depth and training settings, those of UGSM.
        inputs: which inputs are on.
        data: crops and flips.
        run: seed, precision, folder, reporter.
        suffix: added to the name of the stage, for its files and random seed.

    Raises:
        Interrupted: the user stopped it.
    """
    name, n_phases = f"local_unet{suffix}", known.n_phases
    torch.manual_seed(mix(run.seed, name, "weights"))
    network = build(n_phases, settings, inputs)
    shape = (len(pool), inputs.patch_channels(n_phases) + n_phases * inputs.logits, *pool.shape)
    channels = room_for(shape, np.float32, pool.folder)
    hard = room_for((len(pool), *pool.shape), np.uint8, pool.folder)
    for number, (said, split) in enumerate(zip(known, partition, strict=True)):
        image = pool.images[number][np.newaxis]
        channels[number] = _channels(image, said, split, inputs)[0]
        hard[number] = np.where(split.idk[0], pool.labels[number], np.uint8(IGNORE_INDEX))
    examples = TileSampler(channels, hard, data.crop, data.flips)
    ugsm.fit_segmenter(network, examples, weights, settings, run, name)
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
    """Predict the phase of every IDK pixel, or of the pixels in `where` (n, height, width).

    The other arguments are as in `lcgar.predict`.
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
    """LCGAR's inputs as (n, channels, height, width)."""
    parts = []
    if inputs.image:
        parts.append(central(images, inputs.slices))
    if inputs.labels:
        codes = one_hot(known.logits.shape[1])[label_codes(known, partition)]
        parts.append(np.moveaxis(codes, -1, 1))
    if inputs.logits:
        parts.append(known.logits)
    return np.concatenate(parts, axis=1)
