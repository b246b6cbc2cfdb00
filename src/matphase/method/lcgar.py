"""LCGAR: the local model that predicts the IDK pixels (paper section 3.3, table 4)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matphase.images.neighbours import central
from matphase.learning.loss import weighted_cross_entropy
from matphase.learning.patches import PatchGrid
from matphase.learning.trainer import Draw, Indices, Run, epochs_needed, train
from matphase.learning.training_pool import Pool
from matphase.method.hcl_usi import curriculum
from matphase.method.results import (
    GlobalPrediction,
    GlobalStack,
    LocalPrediction,
    Partition,
    PartitionStack,
)
from matphase.networks import registry
from matphase.networks.batches import batch_sizes
from matphase.networks.cost import ALLOCATOR_OVERHEAD
from matphase.networks.dense_lcgar import DenseLCGAR, costs, strip_rows
from matphase.networks.lcgar import LCGAR
from matphase.settings import LCGARSettings, USISettings
from matphase.support.device import PrecisionSetting, running
from matphase.support.scratch import Stack, gather
from matphase.support.seeds import mix

PATCHES_PER_PASS = 4096
"""Maximum number of patches per pass; larger batches are not faster."""
MIN_PIXELS = 2
"""Minimum number of training pixels, since batch norm needs more than one."""


def build(n_phases: int, settings: LCGARSettings, classifier: str = "lcgar") -> nn.Module:
    """Build an untrained network of `registry.PATCH_CLASSIFIERS` for the inputs that are on."""
    channels, n_logits = settings.patch_channels(n_phases), n_phases * settings.logits
    return registry.patch_classifier(classifier, channels, n_phases, n_logits, settings)


def fit(
    pool: Pool,
    known: GlobalStack,
    partition: PartitionStack,
    weights: NDArray[np.float32],
    settings: LCGARSettings,
    usi: USISettings,
    run: Run,
    *,
    classifier: str = "lcgar",
    suffix: str = "",
) -> nn.Module:
    """Train on the hard pixels D2 by weighted cross-entropy, in the order of the curriculum.

    If D2 has fewer than `MIN_PIXELS` pixels the network stays untrained and must not be used.

    Args:
        pool: images and their true labels.
        known: UGSM's predictions of the images.
        partition: HCL-IDK's split of the images.
        weights: (phases,) weights of the loss.
        settings: settings of the network and its training.
        usi: settings of the fine curriculum.
        run: seed, precision, folder, reporter.
        classifier: LCGAR, or the name of a ResNet: a baseline that is trained on all known pixels,
            without a curriculum.
        suffix: added to the name of the stage, for its files and random seed.

    Raises:
        Interrupted: the user stopped it.
    """
    n_phases, name = known.n_phases, classifier + suffix
    torch.manual_seed(mix(run.seed, name, "weights"))
    network = build(n_phases, settings, classifier)
    everywhere = classifier != "lcgar"
    if everywhere:
        usi = usi.model_copy(update={"order": "none"})
    pixels = _training_pixels(
        pool, partition, settings.pixels_per_image, run.seed, everywhere=everywhere
    )
    if len(pixels[0]) < MIN_PIXELS:
        return network.eval()
    examples = _Patches(LocalInputs.on_disk(pool, known, partition, settings), pixels, pool.labels)
    per_epoch = len(examples) // min(settings.batch_size, len(examples))
    epochs = epochs_needed(settings.epochs, settings.min_steps, per_epoch)
    seed = mix(run.seed, name)
    uncertainty = _values_at(known.entropy, pixels)
    order = curriculum(uncertainty, settings.batch_size, epochs, usi, seed)
    train(
        network,
        examples,
        order,
        weighted_cross_entropy(weights),
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
    """Predict the phase of every IDK pixel.

    A network that allows it (`LCGARSettings.padding`) is evaluated on a whole slice at once where
    that takes fewer operations than single patches. Slices are evaluated one by one, so that the
    prediction of a slice does not depend on its neighbours.

    Args:
        network: trained LCGAR, or another patch classifier.
        images: (n, slices, height, width), scaled to [-1, 1].
        known: UGSM's prediction of the images.
        partition: HCL-IDK's split of the images.
        settings: settings with which the network was built.
        where: (n, height, width) pixels to predict instead of the IDK set.
        precision: see `Settings.precision`.
        memory: bytes that the patches of a pass and their activations may take; likewise a strip
            of a slice, which has at least one row.
    """
    inputs = LocalInputs.of(images, known, partition, settings)
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
    """Network or its dense form, with inputs, in the order of `numpy.nonzero(where)`."""
    memory = int(memory / ALLOCATOR_OVERHEAD)
    # a patch while it is gathered, and two maps of 32 channels, with four bytes per value
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


@dataclass(frozen=True, eq=False)
class LocalInputs:
    """Inputs of LCGAR, gathered for many pixels at once.

    Attributes:
        images: patches of each grey slice that the network sees.
        labels: patches of UGSM's labels as codes, one for each phase and one for IDK.
        one_hot: (codes, phases) one-hot vector of each code.
        logits: (n, phases, height, width) UGSM's logits, whose values at the patch centre join
            after flattening.

    Inputs that are off are empty or None.
    """

    images: tuple[PatchGrid, ...]
    labels: PatchGrid | None
    one_hot: Tensor
    logits: Stack | None

    @classmethod
    def of(
        cls,
        images: NDArray[np.float32],
        known: GlobalPrediction,
        partition: Partition,
        settings: LCGARSettings,
    ) -> "LocalInputs":
        """Inputs from a few slices in memory.

        Args:
            images: (n, slices, height, width), scaled to [-1, 1].
            known: UGSM's prediction of the images.
            partition: HCL-IDK's split of the images.
            settings: which inputs are on, and the side of the patch.
        """
        n_phases, side = known.logits.shape[1], settings.patch_side
        seen = central(images, settings.slices)
        return cls(
            tuple(PatchGrid(seen[:, z], side) for z in range(settings.slices) if settings.image),
            PatchGrid(label_codes(known, partition), side) if settings.labels else None,
            torch.from_numpy(one_hot(n_phases)),
            known.logits if settings.logits else None,
        )

    @classmethod
    def on_disk(
        cls,
        pool: Pool,
        known: GlobalStack,
        partition: PartitionStack,
        settings: LCGARSettings,
    ) -> "LocalInputs":
        """Inputs from all images of a pool, kept on disk; the other arguments are as in `of`."""
        n, side, folder = len(pool), settings.patch_side, pool.folder
        first = pool.images.shape[1] // 2 - settings.slices // 2
        grids = tuple(
            PatchGrid.on_disk((pool.images[i, z] for i in range(n)), n, side, folder)
            for z in range(first, first + settings.slices)
            if settings.image
        )
        codes = (label_codes(said, split)[0] for said, split in zip(known, partition, strict=True))
        return cls(
            grids,
            PatchGrid.on_disk(codes, n, side, folder) if settings.labels else None,
            torch.from_numpy(one_hot(known.n_phases)),
            known.logits if settings.logits else None,
        )

    def gather(self, slices: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        """Gather patches (n, channels, side, side), and centre logits (n, phases) if on."""
        patches = self._channels(lambda grid: grid.gather(slices, rows, columns))
        return patches, *self._centres(slices, rows, columns)

    def strip(self, number: int, first: int, asked: NDArray[np.bool_]) -> tuple[Tensor, ...]:
        """Inputs of `DenseLCGAR` for a strip of a slice.

        Args:
            number: number of the slice.
            first: first row of the strip.
            asked: (rows, width) pixels of the strip to predict.

        Returns:
            maps (1, channels, rows + side - 1, width + side - 1), rows and columns (n,) in the
            strip, and centre logits (n, phases) if they are on.
        """
        maps = self._channels(lambda grid: grid.strip(number, first, first + len(asked)))
        rows, columns = torch.from_numpy(asked).nonzero(as_tuple=True)
        slices = torch.full_like(rows, number)
        return maps, rows, columns, *self._centres(slices, first + rows, columns)

    def _channels(self, cut: Callable[[PatchGrid], Tensor]) -> Tensor:
        """Channels (n, channels, ...) made of what `cut` takes from each map, (n, ...)."""
        channels = [cut(image)[..., None] for image in self.images]
        if self.labels is not None:
            channels.append(self.one_hot[cut(self.labels).int()])
        # channels last in memory, which is faster for the convolutions
        return torch.cat(channels, dim=-1).movedim(-1, 1)

    def _centres(self, slices: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        if self.logits is None:
            return ()
        where = slices.numpy(), slice(None), rows.numpy(), columns.numpy()
        return (torch.from_numpy(gather(self.logits, *where)),)

    def batches(self, pixels: tuple[Indices, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
        """Inputs of the given pixels (slices, rows, columns), in batches of up to `size`."""
        where = [torch.from_numpy(part) for part in pixels]
        sizes = batch_sizes(len(where[0]), size)
        for part in zip(*(torch.split(positions, sizes) for positions in where), strict=True):
            yield self.gather(*part)


def label_codes(known: GlobalPrediction, partition: Partition) -> NDArray[np.uint8]:
    """UGSM's labels (n, height, width), with the number of phases as code of IDK pixels."""
    n_phases = known.logits.shape[1]
    return np.where(partition.idk, np.uint8(n_phases), known.labels)


def one_hot(n_phases: int) -> NDArray[np.float32]:
    """One-hot vectors (codes, phases) of the codes of `label_codes`; all zero for IDK."""
    return np.eye(n_phases + 1, n_phases, dtype=np.float32)


class _Patches:
    def __init__(self, inputs: LocalInputs, pixels: tuple[Indices, ...], labels: Stack) -> None:
        self._inputs = inputs
        self._pixels = [torch.from_numpy(part) for part in pixels]
        self._labels = torch.from_numpy(_values_at(labels, pixels).astype(np.int64))

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, draw: Draw) -> tuple[Tensor, ...]:
        indices = torch.from_numpy(draw.indices)
        slices, rows, columns = (part[indices] for part in self._pixels)
        return *self._inputs.gather(slices, rows, columns), self._labels[indices]


def _values_at(stack: Stack, pixels: tuple[Indices, ...]) -> NDArray[Any]:
    """Values of a stack (n, height, width) at pixels that are sorted by slice."""
    slices, rows, columns = pixels
    parts = [np.empty(0, stack.dtype)]
    numbers, first = np.unique(slices, return_index=True)
    for number, here in zip(
        numbers.tolist(), np.split(np.arange(len(slices)), first[1:]), strict=True
    ):
        parts.append(stack[number][rows[here], columns[here]])
    return np.concatenate(parts)


def count_hard_pixels(pool: Pool, partition: PartitionStack) -> int:
    """Number of pixels that LCGAR can be trained on."""
    return sum(int(np.count_nonzero(_hard_pixels(pool, partition, i))) for i in range(len(pool)))


def _hard_pixels(pool: Pool, partition: PartitionStack, number: int) -> NDArray[np.bool_]:
    hard: NDArray[np.bool_] = partition.idk[number] & pool.known(number)
    return hard


def _training_pixels(
    pool: Pool, partition: PartitionStack, limit: int, seed: int, *, everywhere: bool
) -> tuple[Indices, ...]:
    """Positions of the training pixels, at most `limit` per image; 0: all."""
    rng = np.random.default_rng(mix(seed, "lcgar", "pixels"))
    parts = []
    for number in range(len(pool)):
        candidates = pool.known(number) if everywhere else _hard_pixels(pool, partition, number)
        surplus = int(candidates.sum()) - limit
        if limit and surplus > 0:
            gone = rng.choice(np.flatnonzero(candidates), surplus, replace=False)
            candidates.flat[gone] = False
        rows, columns = np.nonzero(candidates)
        parts.append((np.full_like(rows, number), rows, columns))
    slices, rows, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return slices, rows, columns
