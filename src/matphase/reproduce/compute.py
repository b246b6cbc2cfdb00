"""How each unit of the tables is computed."""

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from matphase.learning.run import Run
from matphase.learning.weight_files import load_weights
from matphase.method import hcl_idk, local
from matphase.method.results import GlobalPrediction, GlobalStack, Partition
from matphase.method.ugsm import NetworkSegmenter
from matphase.networks import cost, registry
from matphase.reproduce import machine
from matphase.reproduce.conditions import source_of
from matphase.reproduce.data import SplitData, UserSlices, split_data
from matphase.reproduce.engine import result_of
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.results import Result
from matphase.reproduce.scoring import (
    answer_scores,
    confusions_by_block,
    miou_there,
    only_there,
    random_pixels,
    trust_scores,
)
from matphase.reproduce.stages import Stages, error_rate
from matphase.reproduce.units import UNTHINNED, VARIANTS, Unit, varied
from matphase.scores import trust
from matphase.settings import Settings
from matphase.support.files import atomic_write


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer of a unit for the test images.

    Attributes:
        labels: (n, height, width) uint8 phase indices; `IGNORE_INDEX` where it was not asked.
        probabilities: (n, phases, height, width), or none where it was asked in part.
        parameters: of all networks that take part.
        macs_per_pixel: multiply-accumulates of all that takes part, all dropout samples included.
        seconds_per_pixel: of all that takes part.
        extra: further entries of the result, ready for JSON.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None
    parameters: int
    macs_per_pixel: float
    seconds_per_pixel: float
    extra: dict[str, Any]


def compute(
    protocol: Protocol, slices: UserSlices | None, out: Path, unit: Unit, folder: Path
) -> Result:
    """The result of a unit, for `engine.run`; its arrays are written into its folder.

    Args:
        protocol: conditions.
        slices: the user's own; none: virtual electrodes.
        out: folder of all results.
        unit: to be computed; what it needs has been.
        folder: of the unit.

    Raises:
        Interrupted: the user stopped it; a second call goes on from its last checkpoint.
        InputError: the slices cannot be used.
    """
    data = split_data(source_of(protocol, slices, unit.seed, out), unit.split, unit.seed, protocol)
    settings = protocol.settings
    stages = Stages(settings, Run(unit.seed, settings.precision, folder), data)
    began = time.monotonic()
    answer = _Work(unit, protocol, settings, data, stages, out).answer()
    seconds = round(time.monotonic() - began, 1)
    np.savez_compressed(folder / "labels.npz", labels=answer.labels)
    return {
        "unit": {"split": unit.split, "seed": unit.seed, "name": unit.name},
        "machine": machine.facts(settings.precision),
        "weights": _checksum(unit, folder),
        "phases": list(data.phases.names),
        "seconds": seconds,
        "parameters": answer.parameters,
        "macs_per_pixel": answer.macs_per_pixel,
        "seconds_per_pixel": answer.seconds_per_pixel,
        **answer_scores(answer.labels, answer.probabilities, data, protocol),
        **answer.extra,
    }


def _checksum(unit: Unit, folder: Path) -> str | None:
    """The checksum of the network that other units build on."""
    for path in (folder / name for name in unit.arrays):
        if path.suffix == ".safetensors":
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


@dataclass(frozen=True)
class _Work:
    unit: Unit
    protocol: Protocol
    settings: Settings
    data: SplitData
    stages: Stages
    out: Path

    def answer(self) -> Answer:
        name = self.unit.name
        if name == "ugsm":
            return self.ugsm()
        if name == "mcd_unet":
            return self.mcd_unet()
        if name == "out_of_fold":
            return self.out_of_fold()
        if name == "adapted_lcgar":
            return self.adapted_lcgar()
        if name.startswith("lcgar_"):
            return self.local(varied(self.settings, VARIANTS[name[len("lcgar_") :]]))
        if name == UNTHINNED:
            return self.local(self.settings.updated({"model": "resnet18"}))
        if registry.composition(name).local is None:
            return self.plain(name)
        changes: dict[str, Any] = {"model": name}
        if name.startswith("resnet"):
            thinning, budget = self.protocol.resnet_thinning, self.settings.lcgar
            changes["lcgar"] = {
                "batch_size": max(2, budget.batch_size // thinning),
                "pixels_per_image": budget.pixels_per_image // thinning,
            }
        return self.local(self.settings.updated(changes))

    # --- networks that label whole images -----------------------------------------------------

    def plain(self, name: str) -> Answer:
        """A network without a local part."""
        segmenter = self.stages.of_model(name).fit_network(self.data.pool)
        known, seconds = self.stages.predict(segmenter)
        return self._of_whole_images(segmenter, known, seconds, {})

    def ugsm(self) -> Answer:
        """UGSM and HCL-IDK, and all that the units which build on them need."""
        stages = self.stages
        segmenter, chosen = stages.fit_network(self.data.pool), stages.chosen()
        learned, _ = stages.predict(segmenter, chosen.images)
        known, seconds = stages.predict(segmenter)
        classifier, split = stages.fit_idk(chosen, GlobalStack.of(learned))
        began = time.monotonic()
        partition = hcl_idk.predict(classifier, known, self.settings.idk)
        idk_seconds = (time.monotonic() - began) / known.labels.size
        folder = self.out / self.unit.place
        _keep(folder / "learned.npz", learned, split)
        _keep(folder / "test.npz", known, partition)
        extra = {
            **trust_scores(known, partition, self.data),
            "error_rate_learned_from": error_rate(learned, chosen),
            "idk_seconds_per_pixel": idk_seconds,
            "idk_parameters": cost.parameters(classifier),
            # every layer of the classifier is a product of a matrix with the pixel's features
            "idk_macs_per_pixel": sum(
                weight.numel() for weight in classifier.parameters() if weight.ndim == 2
            ),
            "subset_of_pixels": miou_there(known.labels, self._random_pixels(), self.data),
        }
        return self._of_whole_images(segmenter, known, seconds, extra)

    def mcd_unet(self) -> Answer:
        """UGSM's network with the mean softmax as its answer."""
        stages = self.stages.of_model("mcd_unet")
        segmenter = stages.load_segmenter(self._ugsm_place / "ugsm.safetensors")
        known, seconds = stages.predict(segmenter)
        return self._of_whole_images(segmenter, known, seconds, {})

    def _of_whole_images(
        self,
        segmenter: NetworkSegmenter,
        known: GlobalPrediction,
        seconds: float,
        extra: dict[str, Any],
    ) -> Answer:
        network = segmenter.network
        passes = segmenter.passes_over_a_slice()
        return Answer(
            labels=known.labels,
            probabilities=known.probabilities,
            parameters=cost.parameters(network),
            macs_per_pixel=passes * self.stages.macs_per_pixel(network, segmenter.channels),
            seconds_per_pixel=seconds,
            extra=extra,
        )

    # --- what builds on UGSM and HCL-IDK ------------------------------------------------------

    def local(self, settings: Settings) -> Answer:
        """LCGAR, or what a baseline has in its place, trained on what UGSM does not know."""
        stages = self.stages.with_settings(settings)
        chosen = stages.chosen()
        if settings.data.local_images == self.settings.data.local_images:
            learned, split = _kept(self._ugsm_place / "learned.npz")
        else:
            # other images than those whose answers are kept
            segmenter = self.stages.load_segmenter(self._ugsm_place / "ugsm.safetensors")
            classifier = hcl_idk.build(len(self.data.phases), self.settings.idk)
            load_weights(classifier, self._ugsm_place / "idk.safetensors")
            learned, _ = self.stages.predict(segmenter, chosen.images)
            split = hcl_idk.predict(classifier, learned, self.settings.idk)
        pool = stages.local_pool(chosen, GlobalStack.of(learned), split)
        return self._of_local(local.kind(settings).fit(pool, settings, stages.run), stages)

    def adapted_lcgar(self) -> Answer:
        """MatPhase's LCGAR, asked for every pixel."""
        stages = self.stages.with_settings(self.settings.updated({"model": "adapted_lcgar"}))
        matphase = self.unit.needs
        assert matphase is not None
        network = local.kind(stages.settings).build(len(self.data.phases), stages.settings)
        load_weights(network, self.out / matphase.place / "lcgar.safetensors")
        return self._of_local(network, stages)

    def out_of_fold(self) -> Answer:
        """HCL-IDK and LCGAR that learned from networks which had not seen the slice."""
        settings = self.settings.updated({"idk": {"folds": self.protocol.folds}})
        stages = self.stages.with_settings(settings)
        chosen, learned = stages.fold_predictions(self.data.pool)
        classifier, split = stages.fit_idk(chosen, learned)
        pool = stages.local_pool(chosen, learned, split)
        network = local.kind(settings).fit(pool, settings, stages.run)
        known, _ = _kept(self._ugsm_place / "test.npz")
        partition = hcl_idk.predict(classifier, known, settings.idk)
        answer = self._of_local(network, stages, partition)
        extra = {
            **answer.extra,
            **trust_scores(known, partition, self.data),
            "error_rate_learned_from": error_rate(learned, chosen),
        }
        return replace(answer, extra=extra)

    @property
    def _ugsm_unit(self) -> Unit:
        return Unit(self.unit.split, self.unit.seed, "ugsm")

    @property
    def _ugsm_place(self) -> Path:
        return self.out / self._ugsm_unit.place

    def _of_local(
        self, network: nn.Module, stages: Stages, partition: Partition | None = None
    ) -> Answer:
        known, own = _kept(self._ugsm_place / "test.npz")
        split = partition or own
        composition = registry.composition(stages.settings.model)
        everywhere = composition.everywhere
        # LCGAR is fast enough for every pixel
        thinned = everywhere and composition.local != "lcgar" and self.protocol.patches_per_image
        where = self._random_pixels() if thinned else None
        found = stages.predict_local(network, known, split, where)
        labels, asked = found.labels, found.asked.idk
        share = 1.0 if everywhere else float(asked.mean())
        extra: dict[str, Any] = {}
        in_part = everywhere and not asked.all()
        if in_part:
            labels = only_there(labels, asked)
        elif not everywhere:
            extra["ceiling"] = self._ceilings(known, labels, split)
            # on the pixels that the ResNets name, to compare like with like
            extra["subset_block_confusions"] = confusions_by_block(
                only_there(labels, self._random_pixels()), self.data, self.protocol
            )
        of_ugsm = result_of(self._ugsm_unit, self.out)
        assert of_ugsm is not None  # the unit needs it
        return Answer(
            labels=labels,
            probabilities=None if in_part else found.probabilities,
            parameters=cost.parameters(network) + of_ugsm["parameters"] + of_ugsm["idk_parameters"],
            macs_per_pixel=stages.local_macs_per_pixel(network, share)
            + of_ugsm["macs_per_pixel"]
            + of_ugsm["idk_macs_per_pixel"],
            seconds_per_pixel=share * found.seconds_per_asked_pixel
            + of_ugsm["seconds_per_pixel"]
            + of_ugsm["idk_seconds_per_pixel"],
            extra=extra,
        )

    def _ceilings(
        self, known: GlobalPrediction, labels: NDArray[np.uint8], split: Partition
    ) -> dict[str, Any]:
        """The scores of an oracle that takes the better of both answers, against each truth."""
        n_phases = len(self.data.phases)
        return {
            name: trust.oracle_ceiling(truth, known.labels, labels, split.idk, n_phases)
            for name, truth in self.data.truths
        }

    def _random_pixels(self) -> NDArray[np.bool_]:
        """The random pixels of the test images that a ResNet names."""
        return random_pixels(self.data, self.unit.seed, self.protocol.patches_per_image)


def _keep(path: Path, known: GlobalPrediction, partition: Partition) -> None:
    with atomic_write(path, overwrite=True) as beside:
        np.savez(
            beside,
            labels=known.labels,
            logits=known.logits,
            entropy=known.entropy,
            mutual_information=np.asarray(known.mutual_information),
            idk=partition.idk,
            score=partition.score,
        )


def _kept(path: Path) -> tuple[GlobalPrediction, Partition]:
    with np.load(path) as kept:
        known = GlobalPrediction(
            kept["labels"], kept["logits"], kept["entropy"], kept["mutual_information"]
        )
        return known, Partition(kept["idk"], kept["score"])
