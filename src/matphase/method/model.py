"""A trained model: a segmenter, a refiner behind it where it has one, and a calibrator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import PhaseTable
from matphase.images.tiles import Halo, Maps
from matphase.method.aggregate import sample_labels
from matphase.method.calibrator import Calibrator
from matphase.method.hcl import Refined
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.method.ugsm import DEFAULT_MEMORY
from matphase.networks.reach import Reach
from matphase.scores.validation import Validation
from matphase.settings import Settings


class Segmenter(Protocol):
    """What names the phase of every pixel, and says how unsure it is."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its networks, by the names of their files."""

    @property
    def reach(self) -> Reach | None:
        """How far its answers look beyond a tile; None: over whole slices."""

    @property
    def draws_samples(self) -> bool:
        """Whether one pass differs from the next."""

    def pass_bytes(self, height: int, width: int) -> int:
        """What one pass over one slice takes at most."""

    def predict(
        self,
        images: NDArray[np.float32],
        *,
        samples: int | None = None,
        seed: int = 0,
        memory: int = DEFAULT_MEMORY,
        mutual_information: bool = False,
        keep_samples: bool = False,
        origin: tuple[int, int] = (0, 0),
    ) -> GlobalPrediction:
        """Predict images (n, slices, height, width); see `NetworkSegmenter.predict`."""


class Refiner(Protocol):
    """What improves a segmenter's answer; it sees the image and that answer alone."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its networks, by the names of their files."""

    @property
    def deferral(self) -> nn.Module | None:
        """What chooses where its own answer is taken; None: wherever it is asked."""

    def reach(self, segmenter: Reach) -> Reach:
        """How far refined answers look, given how far the segmenter's do."""

    def pass_bytes(self, height: int, width: int) -> int:
        """What one pass over one slice takes at most."""

    def refine(
        self,
        images: NDArray[np.float32],
        known: GlobalPrediction,
        inner: tuple[slice, slice],
        memory: int,
    ) -> Refined:
        """Refine the prediction of a window; see `HCL.refine`."""


@dataclass(frozen=True, eq=False)
class Model:
    """All that a trained model consists of.

    Attributes:
        settings: of all stages.
        phases: that it names.
        scale: of the grey values that it was trained on.
        seed: of its training.
        segmenter: names phases.
        refiner: None for a baseline without a local part.
        calibrator: of the final answer.
        validation: scores on slices that none of its networks learned from; None without any.
        record: of the training data: slices, volume fractions, what label smoothing changed.
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
        """Whether it chooses where the refiner's answers are taken."""
        return self.refiner is not None and self.refiner.deferral is not None

    @property
    def halo(self) -> Halo | None:
        """What a tile has to see around its core; None where a network looks at whole slices."""
        reach = self.segmenter.reach
        if reach is None:
            return None
        if self.refiner is not None:
            reach = self.refiner.reach(reach)
        return Halo(reach.radius, reach.multiple, self.settings.slices // 2)

    def pass_bytes(self, height: int, width: int) -> int:
        """What one pass of a network over one slice takes at most."""
        refiner = 0 if self.refiner is None else self.refiner.pass_bytes(height, width)
        return max(self.segmenter.pass_bytes(height, width), refiner)

    def pixel_bytes(self, samples: int) -> int:
        """What the arrays of all stages take a pixel of a window and slice.

        F, two softmaxes, and features twice (4 bytes each a phase); 4 bytes of each slice of an
        image; about 56 of codes, entropy, scores and positions; and for each sample that is kept
        twice its logits (2 bytes each), and a label.

        Args:
            samples: that are kept.
        """
        n_phases = len(self.phases)
        return 56 + 4 * self.settings.slices + 20 * n_phases + samples * (4 * n_phases + 1)

    def answer(
        self,
        images: NDArray[np.float32],
        *,
        samples: int | None = None,
        seed: int = 0,
        memory: int = DEFAULT_MEMORY,
        mutual_information: bool = False,
        keep_samples: bool = False,
        origin: tuple[int, int] = (0, 0),
        inner: tuple[slice, slice] | None = None,
    ) -> Maps:
        """The maps of a window: segmenter, then refiner, then calibrator.

        Args:
            images: (n, slices, height, width), scaled to [-1, 1].
            samples: stochastic passes T, in place of the setting.
            seed: random seed of the dropout masks.
            memory: bytes that the passes may take.
            mutual_information: give it.
            keep_samples: give the labels of each sample.
            origin: row and column of the slices at which the images begin.
            inner: rows and columns to answer for, counted from there; all by default.

        Returns:
            `labels`, `probabilities`, `entropy`, `idk`, `idk_score`, `global_labels`,
            `global_probabilities`, and as far as there are any `deferred`, `trusted`,
            `mutual_information`, `samples`.
        """
        if inner is None:
            inner = slice(0, images.shape[-2]), slice(0, images.shape[-1])
        known = self.segmenter.predict(
            images,
            samples=samples,
            seed=seed,
            memory=memory,
            mutual_information=mutual_information,
            keep_samples=keep_samples,
            origin=origin,
        )
        if self.refiner is None:
            known = known.window(*inner)
            refined = _unrefined(known)
        else:
            refined = self.refiner.refine(images, known, inner, memory)
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


def _unrefined(known: GlobalPrediction) -> Refined:
    """A segmenter's own answer, where nothing refines it."""
    nowhere = np.zeros(known.labels.shape, np.bool_)
    partition = Partition(nowhere, nowhere.astype(np.float32))
    none = LocalPrediction(known.labels[nowhere], np.empty((0, known.logits.shape[1]), np.float32))
    return Refined(known.labels, known.probabilities, partition, partition, none, None, None)
