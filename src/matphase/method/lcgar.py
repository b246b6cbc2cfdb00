"""LCGAR: the local model that answers for the IDK pixels (paper section 3.3, table 4)."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.images.neighbours import central
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.patches import PatchGrid
from matphase.learning.trainer import Draw, Indices, Run, epochs_needed, train
from matphase.method.hcl_usi import curriculum
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.networks import zoo
from matphase.networks.dense_lcgar import DenseLCGAR, costs, strip_rows
from matphase.networks.lcgar import LCGAR
from matphase.settings import LCGARSettings, USISettings
from matphase.support.device import PrecisionSetting, running
from matphase.support.seeds import mix

PATCHES_PER_PASS = 4096
"""At most; more gain no speed."""
FEWEST_PIXELS = 2
"""Batch norm needs more than one example."""


def build(n_phases: int, settings: LCGARSettings, classifier: str = "lcgar") -> nn.Module:
    """The untrained network, of the zoo's patch classifiers, for the inputs that are on."""
    return zoo.patch_classifier(
        classifier,
        in_channels=settings.patch_channels(n_phases),
        n_phases=n_phases,
        n_logits=n_phases * settings.logits,
        settings=settings,
    )


def fit(
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    labels: NDArray[np.uint8],
    weights: NDArray[np.float32],
    settings: LCGARSettings,
    usi: USISettings,
    run: Run,
    *,
    classifier: str = "lcgar",
    suffix: str = "",
) -> nn.Module:
    """Train on the hard pixels D2 by weighted cross-entropy, in the order of the curriculum.

    Where D2 holds fewer than `FEWEST_PIXELS` nothing is learned, and HCL-IDK must not ask.

    Args:
        images: (n, height, width) or (n, slices, height, width), scaled to [-1, 1].
        known: UGSM's prediction of them.
        partition: HCL-IDK's split of them.
        labels: (n, height, width) true phase indices.
        weights: (phases,) of the loss.
        settings: of the network and its training.
        usi: the fine curriculum.
        run: seed, precision, folder, reporter.
        classifier: LCGAR, or a ResNet, the baseline that learns from pixels of all kinds and so
            without a curriculum.
        suffix: tells its files and random draws from those of others in the same run.

    Raises:
        Interrupted: the user stopped it.
    """
    n_phases, name = known.logits.shape[1], classifier + suffix
    torch.manual_seed(mix(run.seed, name, "weights"))
    network = build(n_phases, settings, classifier)
    candidates = labels != IGNORE_INDEX
    if classifier == "lcgar":
        candidates = _hard(partition, labels)
    else:
        usi = usi.model_copy(update={"order": "none"})
    pixels = _chosen(candidates, settings.pixels_per_image, run.seed)
    if len(pixels[0]) < FEWEST_PIXELS:
        return network.eval()
    examples = _Patches(LocalInputs(images, known, partition, settings), pixels, labels[pixels])
    per_epoch = len(examples) // min(settings.batch_size, len(examples))
    epochs = epochs_needed(settings.epochs, settings.min_steps, per_epoch)
    seed = mix(run.seed, name)
    order = curriculum(known.entropy[pixels], settings.batch_size, epochs, usi, seed)
    penalty = torch.from_numpy(weights)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), target, penalty.to(logits.device))

    train(
        network,
        examples,
        order,
        loss,
        name=name,
        epochs=epochs,
        learning_rate=settings.learning_rate,
        run=run,
    )
    return network


def predict(
    network: nn.Module,
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    settings: LCGARSettings,
    *,
    where: NDArray[np.bool_] | None = None,
    precision: PrecisionSetting = "auto",
    memory: int = 10**9,
) -> LocalPrediction:
    """Name the phase of every IDK pixel.

    A network that allows it (`LCGARSettings.padding`) is evaluated on a whole slice at once where
    that takes fewer operations than the patches of the pixels asked for. Each slice is looked at
    by itself, so that its answers do not depend on its neighbours.

    Args:
        network: a trained LCGAR, or another patch classifier.
        images: (n, height, width) or (n, slices, height, width), scaled to [-1, 1].
        known: UGSM's prediction of them.
        partition: HCL-IDK's split of them.
        settings: which inputs the network was built for.
        where: (n, height, width) pixels to name in place of the IDK set.
        precision: see `Settings.precision`.
        memory: bytes that the patches of a pass, and what the network makes of them, may take;
            likewise the maps of a strip of a slice, down to one row.
    """
    inputs = LocalInputs(images, known, partition, settings)
    where = partition.idk if where is None else where
    n_phases = known.logits.shape[1]
    probabilities = np.empty((int(where.sum()), n_phases), np.float32)
    done = 0
    with running(network, precision) as device:
        for form, batch in _passes(network, inputs, where, n_phases, settings, memory):
            output = form(*(tensor.to(device) for tensor in batch)).float().softmax(dim=1)
            probabilities[done : done + len(output)] = output.cpu().numpy()
            done += len(output)
    return LocalPrediction(probabilities.argmax(axis=1).astype(np.uint8), probabilities)


def _passes(
    network: nn.Module,
    inputs: "LocalInputs",
    where: NDArray[np.bool_],
    n_phases: int,
    settings: LCGARSettings,
    memory: int,
) -> Iterator[tuple[nn.Module, tuple[Tensor, ...]]]:
    """The network, or its dense form, and inputs; in the order of `numpy.nonzero(where)`."""
    memory = int(memory / zoo.UNUSABLE)
    # a patch while it is put together, and two maps of 32 channels, at four bytes a value
    each = 4 * settings.patch_side**2 * (4 * settings.patch_channels(n_phases) + 2 * 32)
    size = max(1, min(PATCHES_PER_PASS, memory // each))
    if not isinstance(network, LCGAR) or network.padded:
        for batch in inputs.batches(np.nonzero(where), size):
            yield network, batch
        return
    _, height, width = where.shape
    dense = DenseLCGAR(network)
    rows = strip_rows(settings, n_phases, width, memory)
    whole = costs(settings, n_phases, height, width).whole_is_cheaper(where.sum(axis=(1, 2)))
    for number, asked in enumerate(where):
        if whole[number]:
            for first in range(0, height, rows):
                yield dense, inputs.strip(number, first, asked[first : first + rows])
        else:
            ys, xs = np.nonzero(asked)
            for batch in inputs.batches((np.full_like(ys, number), ys, xs), size):
                yield network, batch


class LocalInputs:
    """The inputs of LCGAR, gathered for many pixels at once.

    Args:
        images: (n, height, width) or (n, slices, height, width), scaled to [-1, 1].
        known: UGSM's prediction; its labels become one-hot channels, zero where IDK, and its
            logits at the centre join after flattening.
        partition: HCL-IDK's split.
        settings: which inputs are on, and the side of the patch.
    """

    def __init__(
        self,
        images: NDArray[np.float32],
        known: GlobalPrediction,
        partition: Partition,
        settings: LCGARSettings,
    ) -> None:
        side = settings.patch_side
        self._images: list[PatchGrid] = []
        if settings.image:
            seen = central(images, settings.slices).reshape(len(images), -1, *images.shape[-2:])
            self._images = [PatchGrid(seen[:, z], side) for z in range(settings.slices)]
        self._labels: PatchGrid | None = None
        if settings.labels:
            codes, one_hot = masked_one_hot(known, partition)
            self._labels = PatchGrid(codes, side)
            self._one_hot = torch.from_numpy(one_hot)
        self._logits = torch.from_numpy(known.logits) if settings.logits else None

    def gather(self, slices: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        """Patches (n, channels, side, side), and centre logits (n, phases) if those are on."""
        patches = self._channels(lambda grid: grid.gather(slices, rows, columns))
        return patches, *self._centres(slices, rows, columns)

    def strip(self, number: int, first: int, asked: NDArray[np.bool_]) -> tuple[Tensor, ...]:
        """What `DenseLCGAR` takes for a strip of a slice.

        Args:
            number: of the slice.
            first: row of the slice that the strip begins with.
            asked: (rows, width) which pixels of the strip are named.

        Returns:
            Maps (1, channels, rows + side - 1, width + side - 1), rows and columns (n,) in the
            strip, and centre logits (n, phases) if those are on.
        """
        maps = self._channels(lambda grid: grid.strip(number, first, first + len(asked)))
        rows, columns = torch.from_numpy(asked).nonzero(as_tuple=True)
        slices = torch.full_like(rows, number)
        return maps, rows, columns, *self._centres(slices, first + rows, columns)

    def _channels(self, cut: Callable[[PatchGrid], Tensor]) -> Tensor:
        """(n, channels, ...) of what `cut` takes from each map, (n, ...)."""
        channels = [cut(image)[..., None] for image in self._images]
        if self._labels is not None:
            channels.append(self._one_hot[cut(self._labels).int()])
        # channels last in memory, which is how the convolutions want them
        return torch.cat(channels, dim=-1).movedim(-1, 1)

    def _centres(self, slices: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        return () if self._logits is None else (self._logits[slices, :, rows, columns],)

    def batches(self, pixels: tuple[Indices, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
        """The inputs of the given pixels (slices, rows, columns), `size` at a time."""
        where = [torch.from_numpy(part) for part in pixels]
        for part in zip(*(torch.split(positions, size) for positions in where), strict=True):
            yield self.gather(*part)


def masked_one_hot(
    known: GlobalPrediction, partition: Partition
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """UGSM's labels with a code of their own where IDK, and what each code stands for.

    Returns:
        codes (n, height, width), and (codes, phases): row k is one-hot k, the last row, of the
        code for "masked", zero.
    """
    n_phases = known.logits.shape[1]
    codes = np.where(partition.idk, np.uint8(n_phases), known.labels)
    return codes, np.eye(n_phases + 1, n_phases, dtype=np.float32)


class _Patches:
    def __init__(
        self, inputs: LocalInputs, pixels: tuple[Indices, ...], labels: NDArray[np.uint8]
    ) -> None:
        self._inputs = inputs
        self._pixels = [torch.from_numpy(part) for part in pixels]
        self._labels = torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, draw: Draw) -> tuple[Tensor, ...]:
        indices = torch.from_numpy(draw.indices)
        slices, rows, columns = (part[indices] for part in self._pixels)
        return *self._inputs.gather(slices, rows, columns), self._labels[indices]


def count_hard(partition: Partition, labels: NDArray[np.uint8]) -> int:
    """How many pixels LCGAR can learn from."""
    return int(np.count_nonzero(_hard(partition, labels)))


def _hard(partition: Partition, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    hard: NDArray[np.bool_] = partition.idk & (labels != IGNORE_INDEX)
    return hard


def _chosen(candidates: NDArray[np.bool_], limit: int, seed: int) -> tuple[Indices, ...]:
    """Positions of the candidates, at most `limit` of them an image; 0: all."""
    if limit:
        rng = np.random.default_rng(mix(seed, "lcgar", "pixels"))
        for one in candidates:
            surplus = int(one.sum()) - limit
            if surplus > 0:
                one.flat[rng.choice(np.flatnonzero(one), surplus, replace=False)] = False
    return np.nonzero(candidates)
