"""A model as a folder: safetensors weights, readable settings, and checksums of both.

```
config.toml         settings, intensity scale, seed, version
phases.json         names, label values and colours of the phases
ugsm.safetensors    weights of the global network; likewise idk, lcgar (the local network)
                    and deferral, which chooses between both (`idk.target = "gain"`)
validation.json     how it fared on validation slices, where it was given any
scaling.json        how its probabilities are scaled, where they are (`[calibration]`)
promise.json        from which probability on its pixels are trusted, where they may be
manifest.json       SHA-256 of each file above
```

Nothing is ever unpickled.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from torch import nn

from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import PhaseTable
from matphase.learning.trainer import load_weights, save_weights
from matphase.method import deferral, hcl_idk, local
from matphase.method.conformal import Promise
from matphase.method.scaling import Scaling
from matphase.networks import zoo
from matphase.networks.idk import IDKClassifier
from matphase.scores.validation import Validation
from matphase.settings import Settings
from matphase.support.errors import InputError, ModelError
from matphase.support.files import atomic_write

Part = TypeVar("Part")

FORMAT = 1
MANIFEST = "manifest.json"
VALIDATION = "validation.json"
SCALING = "scaling.json"
PROMISE = "promise.json"


@dataclass(frozen=True)
class Trained:
    """All that a trained model consists of; a baseline may have no local part."""

    settings: Settings
    phases: PhaseTable
    scale: IntensityScale
    seed: int
    ugsm: nn.Module
    """The global network: UGSM, or what a baseline has in its place."""
    idk: IDKClassifier | None
    lcgar: nn.Module | None
    """The local network: LCGAR, or what a baseline has in its place."""
    record: dict[str, Any]
    """Of the training data: slices, volume fractions, what label smoothing changed."""
    validation: Validation | None = None
    """How it fared on slices that none of its networks learned from."""
    scaling: Scaling | None = None
    """Of the answer's probabilities."""
    promise: Promise | None = None
    """About the pixels that may be trusted."""
    deferral: IDKClassifier | None = None
    """Chooses between UGSM and LCGAR; none: LCGAR answers wherever it is asked."""

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that there are, by the names of their files."""
        named = {
            "ugsm": self.ugsm,
            "idk": self.idk,
            "lcgar": self.lcgar,
            "deferral": self.deferral,
        }
        return {name: network for name, network in named.items() if network is not None}


def write(model: Trained, folder: Path, *, overwrite: bool = False) -> None:
    """Write a model folder; it appears under its name when it is complete.

    Raises:
        OutputError: the folder exists (and `overwrite` is off) or cannot be written.
    """
    with atomic_write(folder, overwrite=overwrite) as beside:
        beside.mkdir()
        config = {
            "format": FORMAT,
            "matphase": version("matphase"),
            "seed": model.seed,
            "intensity": asdict(model.scale),
            "settings": model.settings.model_dump(mode="json"),
            "training": model.record,
        }
        (beside / "config.toml").write_text(tomli_w.dumps(config), "utf-8")
        phases = json.dumps(model.phases.to_json(), indent=2, ensure_ascii=False)
        (beside / "phases.json").write_text(phases + "\n", "utf-8")
        learned = {
            VALIDATION: model.validation,
            SCALING: model.scaling,
            PROMISE: model.promise,
        }
        for name, part in learned.items():
            if part is not None:
                (beside / name).write_text(json.dumps(part.to_json()) + "\n", "utf-8")
        for name, network in model.networks.items():
            save_weights(network, beside / f"{name}.safetensors")
        sums = {path.name: _checksum(path) for path in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps(sums, indent=2) + "\n", "utf-8")


def read(folder: Path) -> Trained:
    """Read a model folder.

    Raises:
        ModelError: a file is missing, altered, or does not belong there, or the folder was
            written by a newer version.
    """
    _check(folder)
    try:
        config: dict[str, Any] = tomllib.loads((folder / "config.toml").read_text("utf-8"))
        if config["format"] != FORMAT:
            raise ModelError(
                f"{folder} was written by MatPhase {config['matphase']} in model format "
                f"{config['format']}, but this version reads format {FORMAT}; update matphase"
            )
        settings = Settings.from_mapping(config["settings"], where=f"{folder}/config.toml")
        phases = PhaseTable.from_json(json.loads((folder / "phases.json").read_text("utf-8")))
        ends = config["intensity"]
        scale = IntensityScale(float(ends["low"]), float(ends["high"]), bool(ends["per_slice"]))
        seed, record = int(config["seed"]), dict(config["training"])
        n_phases = len(phases)
        validation = _part(folder / VALIDATION, lambda json: Validation.from_json(json, n_phases))
        scaling = _part(folder / SCALING, lambda json: Scaling.from_json(json, n_phases))
        promise = _part(folder / PROMISE, Promise.from_json)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise ModelError(f"{folder} does not describe a model: {error}; train anew") from error
    network, classifier, answerer, chooser = _untrained(settings, n_phases)
    model = Trained(
        *(settings, phases, scale, seed, network, classifier, answerer, record),
        *(validation, scaling, promise, chooser),
    )
    for name, network in model.networks.items():
        load_weights(network, folder / f"{name}.safetensors")
        network.eval()
    return model


def checksum_of(folder: Path) -> str:
    """A checksum of a model folder that has been written whole: the same for the same model."""
    return _checksum(folder / MANIFEST)


def _part(path: Path, parse: Callable[[Any], Part]) -> Part | None:
    """A part that a model may lack."""
    return parse(json.loads(path.read_text("utf-8"))) if path.exists() else None


def _untrained(
    settings: Settings, n_phases: int
) -> tuple[nn.Module, IDKClassifier | None, nn.Module | None, IDKClassifier | None]:
    """The networks that a model of these settings consists of."""
    kind = zoo.KINDS[settings.model]
    network = zoo.segmenter(kind.network, settings.ugsm.slices, n_phases, settings.ugsm)
    if kind.local is None:
        return network, None, None, None
    classifier = hcl_idk.build(n_phases, settings.idk)
    chooser = deferral.build(n_phases, settings.idk) if settings.idk.target == "gain" else None
    return network, classifier, local.build(n_phases, settings), chooser


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a model folder; give one that `matphase train` wrote")
    try:
        sums: dict[str, str] = json.loads((folder / MANIFEST).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} has no {MANIFEST}, so it is not a complete model folder; "
            "give one that `matphase train` wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / MANIFEST} cannot be read; copy the folder again") from error
    if not isinstance(sums, dict):
        raise ModelError(f"{folder / MANIFEST} cannot be read; copy the folder again")
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    needed = {"config.toml", "phases.json"}
    for name in sorted(needed | set(sums)):
        if name not in present:
            raise ModelError(f"{folder / name} is missing; copy the whole model folder again")
    for name in sorted(present):
        if name not in sums:
            raise ModelError(
                f"{folder / name} does not belong to the model; move it elsewhere, "
                "or copy the model folder again"
            )
        if _checksum(folder / name) != sums[name]:
            raise ModelError(
                f"{folder / name} was altered after training (its checksum differs); "
                "copy the model folder again"
            )


def _checksum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
