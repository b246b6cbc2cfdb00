"""What the rows of the tables consist of, and how each piece is computed.

A unit is one model, or one variant of LCGAR, on one seed of one split. Rows share units: one UGSM
serves all tables. A unit's folder keeps checkpoints while it works, and what other units need.
"""

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.pairs import Pairs
from matphase.learning.trainer import Run, load_weights
from matphase.learning.weights import phase_weights
from matphase.method import hcl_idk, local, ugsm
from matphase.method.aggregate import aggregate
from matphase.method.fit import partition_to_learn_from, predictions_to_learn_from
from matphase.method.results import GlobalPrediction, Partition
from matphase.networks import zoo
from matphase.networks.dense_lcgar import costs
from matphase.networks.lcgar import LCGAR
from matphase.reproduce import machine
from matphase.reproduce.protocol import Protocol, SplitName
from matphase.reproduce.trial import Source, Trial, trial
from matphase.scores import anatomy, trust
from matphase.scores.evaluation import Row, score_row
from matphase.scores.metrics.confusion import block_confusions
from matphase.settings import Settings, USISettings
from matphase.support.files import atomic_write, remove
from matphase.support.seeds import mix

RESULT = "result.json"
BEGUN = "built_on.txt"
"""Which weights the training in a folder was begun on."""
UNTHINNED = "resnet18_unthinned"
"""A ResNet-18 that learns from as many pixels as LCGAR."""
FULL = "matphase"
"""The variant of LCGAR that is MatPhase."""


@dataclass(frozen=True)
class Times:
    """Stands for a setting times a factor."""

    factor: int


VARIANTS: dict[str, dict[str, Any]] = {
    FULL: {},
    "no_curriculum": {"usi": {"order": "none"}},
    "random_order": {"usi": {"order": "random"}},
    "anti_curriculum": {"usi": {"order": "falling"}},
    **{
        f"pacing_{name}": {"usi": {"pacing": name}}
        for name in get_args(USISettings.model_fields["pacing"].annotation)
        if name != "linear"
    },
    "image": {"lcgar": {"labels": False, "logits": False}},
    "image_labels": {"lcgar": {"logits": False}},
    "image_logits": {"lcgar": {"labels": False}},
    "h17": {"lcgar": {"h": 17}},
    "h25": {"lcgar": {"h": 25}},
    "all_pixels": {"lcgar": {"pixels_per_image": 0}},
    "all_images": {"data": {"local_images": 0}},
    "twice_the_steps": {"lcgar": {"epochs": Times(2)}},
}
"""Variants of LCGAR by what they change."""


@dataclass(frozen=True)
class Unit:
    """One piece of work: a model on one seed of one split."""

    split: SplitName
    seed: int
    name: str

    @property
    def place(self) -> str:
        """Of its results, relative to the output folder."""
        return f"units/{self.split}/seed{self.seed}/{self.name}"

    @property
    def arrays(self) -> tuple[str, ...]:
        """Files of its folder that other units, or figures, read besides the result."""
        if self.name == "ugsm":
            return ("labels.npz", "ugsm.safetensors", "idk.safetensors", "learned.npz", "test.npz")
        if self.name == f"lcgar_{FULL}":
            return ("labels.npz", "lcgar.safetensors")
        return ("labels.npz",)

    @property
    def needs(self) -> "Unit | None":
        """The unit that has to be done before."""
        if self.name == "adapted_lcgar":
            return Unit(self.split, self.seed, f"lcgar_{FULL}")
        local = self.name in zoo.KINDS and zoo.KINDS[self.name].local is not None
        others = ("mcd_unet", "out_of_fold", UNTHINNED)
        if local or self.name.startswith("lcgar_") or self.name in others:
            return Unit(self.split, self.seed, "ugsm")
        return None


@dataclass(frozen=True)
class Answer:
    """What a unit says of the test images.

    Attributes:
        labels: (n, height, width) uint8 phase indices; `IGNORE_INDEX` where it was not asked.
        probabilities: (n, phases, height, width), or none where it was asked in part.
        parameters: of all networks that take part.
        macs_per_pixel: multiply-accumulates of all that takes part, all dropout samples included.
        seconds_per_pixel: of all that takes part.
        extra: what else is to be kept, ready for JSON.
    """

    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None
    parameters: int
    macs_per_pixel: float
    seconds_per_pixel: float
    extra: dict[str, Any]


def compute(unit: Unit, protocol: Protocol, source: Source, out: Path) -> None:
    """Do the work of a unit and write its `result.json`, the sign that it is done.

    Args:
        unit: to be computed; what it needs has been.
        protocol: conditions.
        source: slices.
        out: folder of all results.

    Raises:
        Interrupted: the user stopped it; a second call goes on from its last checkpoint.
        InputError: the slices cannot be used.
    """
    folder = out / unit.place
    built_on = _weights_of(unit.needs, out)
    _make_ready(folder, built_on)
    data = trial(source, unit.split, unit.seed, protocol)
    settings = protocol.settings
    run = Run(unit.seed, settings.precision, folder)
    began = time.monotonic()
    work = _Work(unit, protocol, settings, data, run, out)
    answer = work.answer()
    result = {
        "unit": {"split": unit.split, "seed": unit.seed, "name": unit.name},
        "machine": machine.facts(settings.precision),
        "built_on": built_on,
        "weights": work.weights(),
        "phases": list(data.phases.names),
        "seconds": round(time.monotonic() - began, 1),
        "parameters": answer.parameters,
        "macs_per_pixel": answer.macs_per_pixel,
        "seconds_per_pixel": answer.seconds_per_pixel,
        "scores": {name: _scores(truth, answer, data) for name, truth in data.truths},
        "block_confusions": {
            name: _by_block(truth, answer.labels, data, protocol) for name, truth in data.truths
        },
        "on_all_pixels": bool((answer.labels != IGNORE_INDEX).all()),
        "anatomy": _anatomy(answer.labels, data),
        **answer.extra,
    }
    np.savez_compressed(folder / "labels.npz", labels=answer.labels)
    with atomic_write(folder / RESULT, overwrite=True) as beside:
        beside.write_text(json.dumps(result) + "\n", "utf-8")


def _weights_of(unit: Unit | None, out: Path) -> str | None:
    """The checksum of the network of a unit that is done."""
    if unit is None:
        return None
    result = json.loads((out / unit.place / RESULT).read_text("utf-8"))
    weights: str = result["weights"]
    return weights


def _make_ready(folder: Path, built_on: str | None) -> None:
    """Keep what was begun there if it was begun on the same weights, and nothing else."""
    begun = folder / BEGUN
    if folder.exists() and not (begun.exists() and begun.read_text("utf-8") == str(built_on)):
        remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    begun.write_text(str(built_on), "utf-8")


@dataclass(frozen=True)
class _Work:
    unit: Unit
    protocol: Protocol
    settings: Settings
    data: Trial
    run: Run
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
        if zoo.KINDS[name].local is None:
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

    def plain(self, network: str) -> Answer:
        """A network without a local part."""
        trained = self._fitted(network)
        known, seconds = self._predicted(trained, "logits")
        return self._of_whole_images(trained, known, seconds, {})

    def ugsm(self) -> Answer:
        """UGSM and HCL-IDK, and all that the units which build on them need."""
        trained = self._fitted("mcd_unet")
        chosen = self.data.pool.spread(self.settings.data.local_images)
        learned, _ = self._predicted(trained, "logits", chosen.images)
        known, seconds = self._predicted(trained, "logits")
        classifier = hcl_idk.fit(learned, chosen.labels, self.settings.idk, self.run)
        split = partition_to_learn_from(classifier, learned, chosen.labels, self.settings)
        began = time.monotonic()
        partition = hcl_idk.predict(classifier, known, self.settings.idk)
        idk_seconds = (time.monotonic() - began) / known.labels.size
        folder = self.out / self.unit.place
        _keep(folder / "learned.npz", learned, split)
        _keep(folder / "test.npz", known, partition)
        extra = self._trust(known, partition)
        extra["error_rate_learned_from"] = _error_rate(learned, chosen)
        extra["idk_seconds_per_pixel"] = idk_seconds
        extra["idk_parameters"] = zoo.parameters(classifier)
        # every layer of the classifier is a product of a matrix with the pixel's features
        extra["idk_macs_per_pixel"] = sum(
            weight.numel() for weight in classifier.parameters() if weight.ndim == 2
        )
        extra["subset_of_pixels"] = self._on_subset(known.labels)
        return self._of_whole_images(trained, known, seconds, extra)

    def mcd_unet(self) -> Answer:
        """UGSM's network, answering by the mean softmax."""
        trained = self._untrained("mcd_unet")
        load_weights(trained, self._ugsm_place / "ugsm.safetensors")
        known, seconds = self._predicted(trained, "softmax")
        return self._of_whole_images(trained, known, seconds, {})

    def _fitted(self, network: str) -> nn.Module:
        return ugsm.fit(
            self.data.pool.images,
            self.data.pool.labels,
            len(self.data.phases),
            self.settings.ugsm,
            self.settings.data,
            self.run,
            network=network,
        )

    def _untrained(self, network: str) -> nn.Module:
        seen = self.settings.ugsm.slices
        return zoo.segmenter(network, seen, len(self.data.phases), self.settings.ugsm)

    def _predicted(
        self, network: nn.Module, average: Any, images: NDArray[np.float32] | None = None
    ) -> tuple[GlobalPrediction, float]:
        """The prediction of the test images (or of others), and seconds per pixel."""
        images = self.data.images if images is None else images
        began = time.monotonic()
        known = ugsm.predict(
            network,
            images,
            self.settings.ugsm,
            seed=self.unit.seed,
            precision=self.settings.precision,
            average=average,
            mutual_information=True,
        )
        return known, (time.monotonic() - began) / known.labels.size

    def _of_whole_images(
        self, network: nn.Module, known: GlobalPrediction, seconds: float, extra: dict[str, Any]
    ) -> Answer:
        passes = self.settings.ugsm.samples if ugsm.draws_samples(network) else 1
        return Answer(
            labels=known.labels,
            probabilities=known.probabilities,
            parameters=zoo.parameters(network),
            macs_per_pixel=passes * self._macs(network, self.settings.ugsm.slices),
            seconds_per_pixel=seconds,
            extra=extra,
        )

    def _macs(self, network: nn.Module, channels: int) -> float:
        height, width = self.data.images.shape[-2:]
        macs = zoo.macs(network, torch.zeros(1, channels, height, width))
        return float(macs / (height * width))

    # --- what builds on UGSM and HCL-IDK ------------------------------------------------------

    def local(self, settings: Settings) -> Answer:
        """LCGAR, or what a baseline has in its place, trained on what UGSM does not know."""
        chosen = self.data.pool.spread(settings.data.local_images)
        if settings.data.local_images == self.settings.data.local_images:
            learned, split = _kept(self._ugsm_place / "learned.npz")
        else:
            learned, split = self._learned_anew(chosen)
        return self._of_local(self._fitted_local(chosen, learned, split, settings), settings)

    def _learned_anew(self, chosen: Pairs) -> tuple[GlobalPrediction, Partition]:
        """UGSM's and HCL-IDK's answers on other images than those kept."""
        network = self._untrained("mcd_unet")
        load_weights(network, self._ugsm_place / "ugsm.safetensors")
        classifier = hcl_idk.build(len(self.data.phases), self.settings.idk)
        load_weights(classifier, self._ugsm_place / "idk.safetensors")
        learned, _ = self._predicted(network, "logits", chosen.images)
        return learned, hcl_idk.predict(classifier, learned, self.settings.idk)

    def adapted_lcgar(self) -> Answer:
        """MatPhase's LCGAR, asked for every pixel."""
        settings = self.settings.updated({"model": "adapted_lcgar"})
        network = local.build(len(self.data.phases), settings)
        matphase = self.unit.needs
        assert matphase is not None
        load_weights(network, self.out / matphase.place / "lcgar.safetensors")
        return self._of_local(network, settings)

    def out_of_fold(self) -> Answer:
        """HCL-IDK and LCGAR that learned from networks which had not seen the slice."""
        settings = self.settings.updated({"idk": {"folds": self.protocol.folds}})
        chosen, learned = predictions_to_learn_from(
            self.data.pool, self._untrained("mcd_unet"), settings, self.data.phases, self.run
        )
        classifier = hcl_idk.fit(learned, chosen.labels, settings.idk, self.run)
        split = partition_to_learn_from(classifier, learned, chosen.labels, settings)
        network = self._fitted_local(chosen, learned, split, settings)
        known, _ = _kept(self._ugsm_place / "test.npz")
        partition = hcl_idk.predict(classifier, known, settings.idk)
        answer = self._of_local(network, settings, partition)
        extra = {
            **answer.extra,
            **self._trust(known, partition),
            "error_rate_learned_from": _error_rate(learned, chosen),
        }
        return replace(answer, extra=extra)

    def weights(self) -> str | None:
        """A checksum of the network that other units build on."""
        for path in (self.out / self.unit.place / name for name in self.unit.arrays):
            if path.suffix == ".safetensors":
                return hashlib.sha256(path.read_bytes()).hexdigest()
        return None

    @property
    def _ugsm_place(self) -> Path:
        return self.out / Unit(self.unit.split, self.unit.seed, "ugsm").place

    def _fitted_local(
        self, chosen: Pairs, learned: GlobalPrediction, split: Partition, settings: Settings
    ) -> nn.Module:
        weights = phase_weights(self.data.pool.labels, len(self.data.phases))
        return local.fit(chosen, learned, split, weights, settings, self.run)

    def _of_local(
        self, network: nn.Module, settings: Settings, partition: Partition | None = None
    ) -> Answer:
        known, own = _kept(self._ugsm_place / "test.npz")
        split, kind = partition or own, zoo.KINDS[settings.model]
        thinned = kind.everywhere and kind.local != "lcgar" and self.protocol.patches_per_image
        began = time.monotonic()
        asked, answers = local.predict(
            network,
            self.data.images,
            known,
            split,
            settings,
            where=self._subset() if thinned else None,
        )
        labels, probabilities = aggregate(known, asked, answers)
        seconds = (time.monotonic() - began) / max(1, int(asked.idk.sum()))
        share = 1.0 if kind.everywhere else float(asked.idk.mean())
        extra: dict[str, Any] = {}
        in_part = kind.everywhere and not asked.idk.all()
        if in_part:
            labels = np.where(asked.idk, labels, np.uint8(IGNORE_INDEX))
        elif not kind.everywhere:
            extra["ceiling"] = self._ceilings(known, labels, split)
            extra["subset_block_confusions"] = self._on_subset_by_block(labels)
        globally = json.loads((self._ugsm_place / RESULT).read_text("utf-8"))
        return Answer(
            labels=labels,
            probabilities=None if in_part else probabilities,
            parameters=zoo.parameters(network)
            + globally["parameters"]
            + globally["idk_parameters"],
            macs_per_pixel=self._local_macs(network, settings, share)
            + globally["macs_per_pixel"]
            + globally["idk_macs_per_pixel"],
            seconds_per_pixel=share * seconds
            + globally["seconds_per_pixel"]
            + globally["idk_seconds_per_pixel"],
            extra=extra,
        )

    def _ceilings(
        self, known: GlobalPrediction, labels: NDArray[np.uint8], split: Partition
    ) -> dict[str, Any]:
        """What an oracle could make of both answers."""
        n_phases = len(self.data.phases)
        return {
            name: trust.oracle_ceiling(truth, known.labels, labels, split.idk, n_phases)
            for name, truth in self.data.truths
        }

    def _local_macs(self, network: nn.Module, settings: Settings, share: float) -> float:
        """Multiply-accumulates of the local network per pixel of the image."""
        n_phases, inputs = len(self.data.phases), settings.lcgar
        channels = inputs.patch_channels(n_phases)
        if settings.model == "local_unet":
            # it computes every pixel, whichever it is asked for
            return self._macs(network, channels + n_phases * inputs.logits)
        if isinstance(network, LCGAR) and not network.padded:
            height, width = self.data.images.shape[-2:]
            pixels: int = height * width
            return costs(inputs, n_phases, height, width).least(share * pixels) / pixels
        side = inputs.patch_side
        tensors = [torch.zeros(1, channels, side, side)]
        if inputs.logits:
            tensors.append(torch.zeros(1, n_phases))
        return share * zoo.macs(network, *tensors)

    def _subset(self) -> NDArray[np.bool_]:
        """The random pixels of the test images that a ResNet names."""
        n, height, width = self.data.measured.shape
        count = min(self.protocol.patches_per_image or height * width, height * width)
        rng = np.random.default_rng(mix(self.unit.seed, "patches"))
        asked = np.zeros((n, height * width), np.bool_)
        for one in asked:
            one[rng.choice(height * width, count, replace=False)] = True
        return asked.reshape(n, height, width)

    # --- figures of trust ---------------------------------------------------------------------

    def _trust(self, known: GlobalPrediction, split: Partition) -> dict[str, Any]:
        found: dict[str, Any] = {"detectors": {}, "reliability": {}, "risk_coverage": {}}
        information = known.mutual_information
        assert information is not None
        for name, truth in self.data.truths:
            counted, wrong = truth != IGNORE_INDEX, truth != known.labels
            found["detectors"][name] = trust.detector_comparison(
                split.idk, split.score, known.entropy, information, wrong, counted
            )
            found["reliability"][name] = trust.reliability(known.probabilities, truth)
            found["risk_coverage"][name] = {
                score_name: trust.risk_coverage_curve(score, wrong, where=counted)
                for score_name, score in (
                    ("entropy", known.entropy),
                    ("mutual_information", information),
                    ("idk_score", split.score),
                )
            }
        return found

    def _on_subset_by_block(self, labels: NDArray[np.uint8]) -> dict[str, Any]:
        """Confusions on the pixels that the ResNets name, to compare like with like."""
        here = np.where(self._subset(), labels, np.uint8(IGNORE_INDEX))
        return {
            name: _by_block(truth, here, self.data, self.protocol)
            for name, truth in self.data.truths
        }

    def _on_subset(self, labels: NDArray[np.uint8]) -> dict[str, Any]:
        """UGSM's mIU on the pixels that the ResNets name: what the subsample changes."""
        asked = self._subset()
        return {
            name: score_row(
                np.where(asked, truth, np.uint8(IGNORE_INDEX)), labels, self.data.phases
            )["mIU"]
            for name, truth in self.data.truths
        }


def varied(settings: Settings, changes: dict[str, Any]) -> Settings:
    """The settings with `changes` in place of their own."""
    values = settings.model_dump()
    return settings.updated(
        {
            section: {
                name: values[section][name] * value.factor if isinstance(value, Times) else value
                for name, value in part.items()
            }
            for section, part in changes.items()
        }
    )


def _error_rate(known: GlobalPrediction, pairs: Pairs) -> float:
    """How often UGSM is wrong on labelled images."""
    counted = pairs.labels != IGNORE_INDEX
    return float((known.labels != pairs.labels)[counted].mean())


def _scores(truth: NDArray[np.uint8], answer: Answer, data: Trial) -> Row:
    asked = answer.labels != IGNORE_INDEX
    row = score_row(
        np.where(asked, truth, np.uint8(IGNORE_INDEX)),
        answer.labels,
        data.phases,
        answer.probabilities,
    )
    if not asked.all():
        # outlines cannot be drawn from scattered pixels, and the best and the lowest images of
        # a few pixels each are those with luck
        row["boundary_F1"] = None
        row["ACC_best5"] = row["ACC_low5"] = {"mean": None, "sd": None}
    return row


def _by_block(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], data: Trial, protocol: Protocol
) -> list[Any]:
    block = (data.groups, *protocol.block[1:])
    counts: list[Any] = block_confusions(truth, labels, len(data.phases), block).tolist()
    return counts


def _anatomy(labels: NDArray[np.uint8], data: Trial) -> dict[str, Any]:
    """Where the errors are, and how many of them are the labels' own."""
    if (labels == IGNORE_INDEX).any():
        return {}
    n = len(data.phases)
    found: dict[str, Any] = {
        name: {
            "by_distance": anatomy.error_by_distance(truth, labels, n),
            "confusions": anatomy.confusion_shares(truth, labels, data.phases),
        }
        for name, truth in data.truths
    }
    if data.exact is not None:
        found["label_noise"] = anatomy.label_noise(data.measured, data.exact)
        found["misregistration"] = anatomy.misregistration_share(data.measured, data.exact, labels)
    return found


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
