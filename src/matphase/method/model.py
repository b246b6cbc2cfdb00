"""A trained model: a segmenter, an optional refiner, and a calibrator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import PhaseTable
from matphase.images.tiles import Halo, Maps
from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.method.aggregate import sample_labels
from matphase.method.calibrator import Calibrator
from matphase.method.hcl import Refined
from matphase.method.passes import Passes
from matphase.method.results import GlobalPrediction, GlobalStack, LocalPrediction, Partition
from matphase.method.segmenter import Segmenter
from matphase.networks.reach import Reach
from matphase.scores.validation import Validation
from matphase.settings import Settings


class Refiner(Protocol):
    """Second stage that improves a segmenter's prediction, from the image and that prediction."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its networks, by the names of their files."""

    @property
    def deferral(self) -> nn.Module | None:
        """Network that chooses between refiner and segmenter; None if it has none."""

    def reach(self, segmenter: Reach) -> Reach | None:
        """Reach of the refined prediction, given that of the segmenter; None: the whole slice."""

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes."""

    def refitted(
        self,
        pool: Pool,
        known: GlobalStack,
        folds: NDArray[np.int64],
        settings: Settings,
        run: Run,
    ) -> "Refiner":
        """Train the second stage again, keeping what finds the pixels to refine; see `HCL`."""

    def refine(
        self,
        images: NDArray[np.float32],
        known: GlobalPrediction,
        inner: tuple[slice, slice],
        memory: int,
        outside: NDArray[np.bool_] | None = None,
    ) -> Refined:
        """Refine the prediction of a window; see `HCL.refine`."""


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model.

    Attributes:
        settings: settings of all stages.
        phases: names and label values of the phases.
        scale: intensity scale of the training images.
        seed: random seed of the training.
        segmenter: first stage.
        refiner: second stage; None for a baseline without a local network.
        calibrator: calibrator of the final prediction.
        record: summary of the training data: slices, volume fractions, changes by label smoothing.
        validation: scores on validation slices; None without any.
    """

    settings: Settings
    phases: PhaseTable
    scale: IntensityScale
    seed: int
    segmenter: Segmenter
    refiner: Refiner | None
    calibrator: Calibrator
    record: dict[str, Any]
    validation: Validation | None = None

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All networks, by the names of their files."""
        found = dict(self.segmenter.networks)
        if self.refiner is not None:
            found |= self.refiner.networks
        return found

    @property
    def defers(self) -> bool:
        """Whether the model chooses between refiner and segmenter."""
        return self.refiner is not None and self.refiner.deferral is not None

    @property
    def halo(self) -> Halo:
        """Halo that a tile needs."""
        reach = self.segmenter.reach
        if reach is not None and self.refiner is not None:
            reach = self.refiner.reach(reach)
        return halo_of(reach, self.settings.slices // 2)

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass of a network over one slice, in bytes."""
        refiner = 0 if self.refiner is None else self.refiner.pass_bytes(height, width)
        return max(self.segmenter.pass_bytes(height, width), refiner)

    def pixel_bytes(self, samples: int) -> int:
        """Memory that the arrays of all stages take per pixel of a window, in bytes.

        F, two softmaxes and two copies of the features take 20 bytes per phase; an image 4 bytes
        per slice and grey scale; grey values, codes, entropy, scores and positions about 60 bytes;
        each kept sample its logits twice (2 bytes each per phase) and a label.

        Args:
            samples: number of kept samples.
        """
        n_phases = len(self.phases)
        images = self.settings.slices * self.settings.data.channels
        return 60 + 4 * images + 20 * n_phases + samples * (4 * n_phases + 1)

    def answer(
        self,
        images: NDArray[np.float32],
        passes: Passes = Passes(),
        *,
        origin: tuple[int, int] = (0, 0),
        inner: tuple[slice, slice] | None = None,
        outside: NDArray[np.bool_] | None = None,
    ) -> Maps:
        """Predict the maps of a window: segmenter, then refiner, then calibrator.

        Args:
            images: (n, slices * channels, height, width), scaled to [-1, 1].
            passes: number, seed and memory of the passes, and what is kept of them.
            origin: row and column of the slice at which the images begin.
            inner: rows and columns of the images to return; all by default.
            outside: (n, height, width) pixels that the refiner need not look at.

        Returns:
            `labels`, `probabilities`, `entropy`, `idk`, `idk_score`, `global_labels`,
            `global_probabilities`, and where available `deferred`, `trusted`,
            `mutual_information`, `samples`.

        Raises:
            InputError: the memory is too little for one pass over one slice.
        """
        if inner is None:
            inner = slice(0, images.shape[-2]), slice(0, images.shape[-1])
        known = self.segmenter.predict(images, passes, origin=origin)
        if self.refiner is None:
            known = known.window(*inner)
            refined = _unrefined(known)
        else:
            shown = images[:, :: self.settings.data.channels]
            refined = self.refiner.refine(shown, known, inner, passes.memory, outside)
            known = known.window(*inner)
        labels, probabilities, trusted = self.calibrator.apply(
            refined.labels, refined.probabilities
        )
        maps: Maps = {
            "labels": labels,
            "probabilities": np.moveaxis(probabilities, 1, 0),
            "entropy": known.entropy,
            "idk": refined.partition.idk,
            "idk_score": refined.partition.score,
            "global_labels": known.labels,
            "global_probabilities": np.moveaxis(known.probabilities, 1, 0),
        }
        if refined.deferred is not None:
            maps["deferred"] = refined.deferred
        if trusted is not None:
            maps["trusted"] = trusted
        if known.mutual_information is not None:
            maps["mutual_information"] = known.mutual_information
        if known.samples is not None:
            maps["samples"] = sample_labels(
                known, refined.asked, refined.local, self.calibrator.scaling, refined.weight
            )
        return maps


def halo_of(reach: Reach | None, slices: int = 0) -> Halo:
    """Halo for networks that reach so far in a slice, and see so many slices on either side."""
    return (
        Halo(None, slices=slices) if reach is None else Halo(reach.radius, reach.multiple, slices)
    )


def _unrefined(known: GlobalPrediction) -> Refined:
    """Prediction of a segmenter without a refiner."""
    nowhere = np.zeros(known.labels.shape, np.bool_)
    partition = Partition(nowhere, nowhere.astype(np.float32))
    none = LocalPrediction(known.labels[nowhere], np.empty((0, known.logits.shape[1]), np.float32))
    return Refined(known.labels, known.probabilities, partition, partition, none, None, None)
