"""A model as a folder: safetensors weights, readable settings, and checksums of both.

```
config.toml         settings, intensity scale, seed, version
phases.json         names, label values and colours of the phases
ugsm.safetensors    weights of the segmenter; likewise, for the refiner, idk, lcgar (the local
                    network) and deferral (only with `idk.target = "gain"`)
validation.json     scores on the validation slices, if there were any
scaling.json        scaling of the probabilities, if there is one (`[calibration]`)
guarantee.json      threshold of trusted pixels, if there is one (`calibration.risk`)
manifest.json       SHA-256 of each file above
```

Nothing is ever unpickled.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import PhaseTable
from matphase.learning.trainer import load_weights, save_weights
from matphase.method.calibrator import Calibrator
from matphase.method.conformal import RiskGuarantee
from matphase.method.fit import segmenter_of
from matphase.method.hcl import HCL
from matphase.method.model import Model
from matphase.method.scaling import Scaling
from matphase.method.ugsm import NetworkSegmenter
from matphase.networks import registry
from matphase.scores.validation import Validation
from matphase.settings import Settings
from matphase.support.errors import InputError, ModelError
from matphase.support.files import atomic_write

Part = TypeVar("Part")

FORMAT = 1
MANIFEST = "manifest.json"
VALIDATION = "validation.json"
SCALING = "scaling.json"
GUARANTEE = "guarantee.json"


def write(model: Model, folder: Path, *, overwrite: bool = False) -> None:
    """Write a model folder, which appears under its name only when it is complete.

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
            SCALING: model.calibrator.scaling,
            GUARANTEE: model.calibrator.guarantee,
        }
        for name, part in learned.items():
            if part is not None:
                (beside / name).write_text(json.dumps(part.to_json()) + "\n", "utf-8")
        for name, network in model.networks.items():
            save_weights(network, beside / f"{name}.safetensors")
        sums = {path.name: _checksum(path) for path in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps(sums, indent=2) + "\n", "utf-8")


def read(folder: Path) -> Model:
    """Read a model folder.

    Raises:
        ModelError: a file is missing, was altered or does not belong to the model, or the folder
            was written by a newer version.
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
        registry.composition(settings.model)  # raises for an unknown model
        phases = PhaseTable.from_json(json.loads((folder / "phases.json").read_text("utf-8")))
        ends = config["intensity"]
        scale = IntensityScale(float(ends["low"]), float(ends["high"]), bool(ends["per_slice"]))
        seed, record = int(config["seed"]), dict(config["training"])
        n_phases = len(phases)
        validation = _part(folder / VALIDATION, lambda json: Validation.from_json(json, n_phases))
        scaling = _part(folder / SCALING, lambda json: Scaling.from_json(json, n_phases))
        guarantee = _part(_guarantee_file(folder), RiskGuarantee.from_json)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise ModelError(f"{folder} does not describe a model: {error}; train again") from error
    segmenter, refiner = _untrained(settings, n_phases)
    calibrator = Calibrator(scaling, guarantee)
    model = Model(settings, phases, scale, seed, segmenter, refiner, calibrator, record, validation)
    for name, network in model.networks.items():
        load_weights(network, folder / f"{name}.safetensors")
        network.eval()
    return model


def checksum_of(folder: Path) -> str:
    """Checksum of a complete model folder; equal models have equal checksums."""
    return _checksum(folder / MANIFEST)


def _part(path: Path, parse: Callable[[Any], Part]) -> Part | None:
    """Parse an optional file of a model; None if it does not exist."""
    return parse(json.loads(path.read_text("utf-8"))) if path.exists() else None


def _untrained(settings: Settings, n_phases: int) -> tuple[NetworkSegmenter, HCL | None]:
    """Untrained segmenter and refiner, whose weights are loaded next."""
    composition = registry.composition(settings.model)
    network = registry.segmenter(
        composition.segmenter, settings.ugsm.slices, n_phases, settings.ugsm
    )
    refiner = None if composition.local is None else HCL.untrained(n_phases, settings)
    return segmenter_of(network, n_phases, settings), refiner


def _guarantee_file(folder: Path) -> Path:
    """File of the risk guarantee, which had another name in MatPhase 0.1."""
    before = folder / "promise.json"
    return before if before.exists() else folder / GUARANTEE


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
