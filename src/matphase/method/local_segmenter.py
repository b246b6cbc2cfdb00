"""Local networks that segment whole slices, as the local U-Net of the paper's table 3 does.

They see LCGAR's inputs, but on whole slices: grey slices, UGSM's one-hot labels and logits (a
channel for each phase), in this order. The paper does not give the inputs of its local U-Net.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matphase.images.neighbours import central
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.learning.sampler import TileSampler
from matphase.method import ugsm
from matphase.method.lcgar import label_codes, one_hot
from matphase.method.results import GlobalPrediction, LocalPool, LocalPrediction, Partition
from matphase.networks import cost, registry
from matphase.networks.reach import Reach, reach_of
from matphase.settings import LCGARSettings, Settings
from matphase.support.device import running
from matphase.support.scratch import room_for
from matphase.support.seeds import mix


def channels(n_phases: int, inputs: LCGARSettings) -> int:
    """Number of channels for the inputs that are on."""
    return inputs.patch_channels(n_phases) + n_phases * inputs.logits


def build(n_phases: int, settings: Settings) -> nn.Module:
    """Build the untrained network, of UGSM's width and depth, for the inputs that are on."""
    name = registry.composition(settings.model).local
    assert name is not None
    return registry.segmenter(name, channels(n_phases, settings.lcgar), n_phases, settings.ugsm)


def fit(data: LocalPool, settings: Settings, run: Run, *, suffix: str = "") -> nn.Module:
    """Train with UGSM's settings and with zero loss outside the IDK set (paper section 4).

    Arguments and errors are those of `LocalNetworks.fit`.
    """
    name = f"local_{registry.composition(settings.model).local}{suffix}"
    n_phases, inputs, folder = data.known.n_phases, settings.lcgar, data.pool.folder
    torch.manual_seed(mix(run.seed, name, "weights"))
    network = build(n_phases, settings)
    n, shape = len(data), data.pool.shape
    seen = room_for((n, channels(n_phases, inputs), *shape), np.float32, folder)
    hard = room_for((n, *shape), np.uint8, folder)
    for number, (said, split) in enumerate(zip(data.known, data.partition, strict=True)):
        image = data.pool.images[number][np.newaxis]
        seen[number] = _channels(image, said, split, inputs)[0]
        hard[number] = np.where(split.idk[0], data.pool.labels[number], np.uint8(IGNORE_INDEX))
    examples = TileSampler(seen, hard, settings.data.crop, settings.data.flips)
    ugsm.fit_segmenter(network, examples, data.weights, settings.ugsm, run, name)
    return network


def predict(
    network: nn.Module,
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    settings: Settings,
    *,
    where: NDArray[np.bool_] | None = None,
    memory: int = 10**9,  # noqa: ARG001
) -> LocalPrediction:
    """Predict the phase of every IDK pixel, slice by slice; see `LocalNetworks.predict`.

    `memory` changes nothing: what a pass takes is known before tiles are cut (`pass_bytes`).
    """
    where = partition.idk if where is None else where
    seen = _channels(images, known, partition, settings.lcgar)
    answers = []
    with running(network, settings.precision) as device:
        for image, asked in zip(seen, where, strict=True):
            logits = network(torch.from_numpy(image[None]).to(device)).float()
            answers.append(logits.softmax(dim=1)[0].cpu().numpy()[:, asked].T)
    probabilities = np.concatenate(answers)
    return LocalPrediction(probabilities.argmax(axis=1).astype(np.uint8), probabilities)


def reach(network: nn.Module, settings: Settings) -> Reach | None:  # noqa: ARG001
    """How far a prediction depends on pixels around it; None: on the whole slice."""
    return reach_of(network)


def pass_bytes(network: nn.Module, height: int, width: int) -> int:
    """Maximum memory of one pass over one slice, in bytes."""
    return cost.pass_bytes(network, height, width)


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
