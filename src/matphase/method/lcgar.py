"""LCGAR: the local model that predicts the IDK pixels (paper section 3.3, table 4)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matphase.images.neighbours import central, middle
from matphase.learning.batches import Draw, Indices
from matphase.learning.loss import weighted_cross_entropy
from matphase.learning.patches import PatchGrid
from matphase.learning.run import Run
from matphase.learning.trainer import epochs_needed, train
from matphase.method.hcl_usi import curriculum
from matphase.method.results import GlobalPrediction, LocalPool, LocalPrediction, Partition
from matphase.networks import registry
from matphase.networks.batches import batch_sizes
from matphase.networks.cost import ALLOCATOR_OVERHEAD
from matphase.networks.dense_lcgar import DenseLCGAR, costs, strip_rows
from matphase.networks.lcgar import LCGAR
from matphase.networks.reach import Reach
from matphase.settings import LCGARSettings, Settings
from matphase.support.device import running
from matphase.support.scratch import Stack, gather, room_for
from matphase.support.seeds import mix

PATCHES_PER_PASS = 4096
"""Maximum number of patches per pass; larger batches are not faster."""
MIN_PIXELS = 2
"""Minimum number of training pixels, since batch norm needs more than one."""


def build(n_phases: int, settings: Settings) -> nn.Module:
    """Build the untrained patch classifier of `settings.model` for the inputs that are on."""
    inputs = settings.lcgar
    channels, n_logits = inputs.patch_channels(n_phases), n_phases * inputs.logits
    return registry.patch_classifier(_name(settings), channels, n_phases, n_logits, inputs)


def _name(settings: Settings) -> str:
    name = registry.composition(settings.model).local
    assert name is not None
    return name


def fit(data: LocalPool, settings: Settings, run: Run, *, suffix: str = "") -> nn.Module:
    """Train on the hard pixels D2 by weighted cross-entropy, in the order of the curriculum.

    A ResNet, as a baseline, is trained on all known pixels without a curriculum. If there are fewer
    than `MIN_PIXELS` pixels the network stays untrained and must not be used.

    Arguments and errors are those of `LocalNetworks.fit`.
    """
    classifier, inputs, usi = _name(settings), settings.lcgar, settings.usi
    name = classifier + suffix
    torch.manual_seed(mix(run.seed, name, "weights"))
    network = build(data.known.n_phases, settings)
    everywhere = classifier != "lcgar"
    if everywhere:
        usi = usi.model_copy(update={"order": "none"})
    pixels = TrainingPixels.of(data, inputs.pixels_per_image, run.seed, everywhere=everywhere)
    if len(pixels) < MIN_PIXELS:
        return network.eval()
    examples = _Patches(LocalInputs.on_disk(data, inputs), pixels, data.pool.labels)
    per_epoch = len(examples) // min(inputs.batch_size, len(examples))
    epochs = epochs_needed(inputs.epochs, inputs.min_steps, per_epoch)
    seed = mix(run.seed, name)
    uncertainty = pixels.values(data.known.entropy)
    order = curriculum(uncertainty, inputs.batch_size, epochs, usi, seed, data.pool.folder)
    train(
        network,
        examples,
        order,
        weighted_cross_entropy(data.weights),
        name=name,
        epochs=epochs,
        learning_rate=inputs.learning_rate,
        run=run,
    )
    return network


def predict(
    network: nn.Module,
    images: NDArray[np.float32],
    known: GlobalPrediction,
    partition: Partition,
    settings: Settings,
    *,
    where: NDArray[np.bool_] | None = None,
    memory: int = 10**9,
) -> LocalPrediction:
    """Predict the phase of every IDK pixel; see `LocalNetworks.predict`.

    A network that allows it (`LCGARSettings.padding`) is evaluated on a whole slice at once where
    that takes fewer operations than single patches. Slices are evaluated one by one, so that the
    prediction of a slice does not depend on its neighbours. `memory` holds for the patches of a
    pass and their activations; likewise for a strip of a slice, which has at least one row.
    """
    inputs = LocalInputs.of(images, known, partition, settings.lcgar)
    where = partition.idk if where is None else where
    n_phases = known.logits.shape[1]
    probabilities = np.empty((int(where.sum()), n_phases), np.float32)
    done = 0
    with running(network, settings.precision) as device:
        for form, batch in _passes(network, inputs, where, n_phases, settings.lcgar, memory):
            output = form(*(tensor.to(device) for tensor in batch)).float().softmax(dim=1)
            probabilities[done : done + len(output)] = output.cpu().numpy()
            done += len(output)
    return LocalPrediction(probabilities.argmax(axis=1).astype(np.uint8), probabilities)


def reach(network: nn.Module, settings: Settings) -> Reach | None:  # noqa: ARG001
    """How far a prediction depends on pixels around it: to the rim of the patch."""
    return Reach(settings.lcgar.patch_side // 2)


def pass_bytes(network: nn.Module, height: int, width: int) -> int:  # noqa: ARG001
    """0, since batches of patches adapt to the memory."""
    return 0


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
    def on_disk(cls, data: LocalPool, settings: LCGARSettings) -> "LocalInputs":
        """Inputs from all images of a pool, kept on disk; `settings` are as in `of`."""
        pool, known = data.pool, data.known
        n, side, folder = len(pool), settings.patch_side, pool.folder
        total = pool.images.shape[1]
        grids = tuple(
            PatchGrid.on_disk((pool.images[i, z] for i in range(n)), n, side, folder)
            for z in range(*middle(total, settings.slices).indices(total))
            if settings.image
        )
        both = zip(known, data.partition, strict=True)
        codes = (label_codes(said, split)[0] for said, split in both)
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


@dataclass(frozen=True, eq=False)
class TrainingPixels:
    """Pixels that LCGAR is trained on, image by image; their places are kept on disk.

    Attributes:
        places: (pixels,) int64 places in the flattened images (n, height, width), rising.
        ends: (n,) number of pixels up to and including each image.
        shape: (height, width) of the images.
        folder: folder for temporary files.
    """

    places: Stack
    ends: NDArray[np.int64]
    shape: tuple[int, int]
    folder: Path | None = None

    @classmethod
    def of(cls, data: LocalPool, limit: int, seed: int, *, everywhere: bool) -> "TrainingPixels":
        """Draw the pixels.

        Args:
            data: training images.
            limit: maximum number of pixels per image; 0: all.
            seed: random seed.
            everywhere: all known pixels instead of the hard ones.
        """

        def candidates(number: int) -> NDArray[np.int64]:
            mask = data.pool.known(number) if everywhere else data.hard(number)
            return np.flatnonzero(mask)

        counts = np.array([len(candidates(number)) for number in range(len(data))])
        ends = np.cumsum(np.minimum(counts, limit or counts))
        shape, folder = data.pool.shape, data.pool.folder
        places = room_for((int(ends[-1]),), np.int64, folder)
        rng = np.random.default_rng(mix(seed, "lcgar", "pixels"))
        for number, count in enumerate(counts.tolist()):
            chosen = candidates(number)
            if limit and count > limit:
                gone = rng.choice(chosen, count - limit, replace=False)
                chosen = np.setdiff1d(chosen, gone, assume_unique=True)
            first = int(ends[number]) - len(chosen)
            places[first : int(ends[number])] = chosen + number * math.prod(shape)
        return cls(places, ends, shape, folder)

    def __len__(self) -> int:
        return len(self.places)

    def values(self, stack: Stack) -> Stack:
        """Values (pixels,) of a stack (n, height, width) at the pixels, kept on disk."""
        found, first = room_for((len(self),), stack.dtype, self.folder), 0
        for number, end in enumerate(self.ends.tolist()):
            if end > first:
                places = self.places[first:end] - number * math.prod(self.shape)
                found[first:end] = stack[number].ravel()[places]
            first = end
        return found

    def positions(self, indices: Indices) -> tuple[Indices, ...]:
        """Image, row and column of some of the pixels."""
        places = gather(self.places, indices)
        return np.unravel_index(places, (len(self.ends), *self.shape))


class _Patches:
    def __init__(self, inputs: LocalInputs, pixels: TrainingPixels, labels: Stack) -> None:
        self._inputs = inputs
        self._pixels = pixels
        self._labels = pixels.values(labels)

    def __len__(self) -> int:
        return len(self._pixels)

    def batch(self, draw: Draw) -> tuple[Tensor, ...]:
        where = (torch.from_numpy(part) for part in self._pixels.positions(draw.indices))
        labels = torch.from_numpy(gather(self._labels, draw.indices).astype(np.int64))
        return *self._inputs.gather(*where), labels
