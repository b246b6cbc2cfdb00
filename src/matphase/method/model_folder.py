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

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w
import torch

from matphase.images.grey_scale import IntensityScale, Kind
from matphase.images.phases import PhaseTable
from matphase.learning.weight_files import check_header, load_weights, save_weights
from matphase.method import segmenters
from matphase.method.calibrator import Calibrator
from matphase.method.conformal import RiskGuarantee
from matphase.method.hcl import HCL
from matphase.method.model import Model
from matphase.method.scaling import Scaling
from matphase.method.segmenter import Segmenter
from matphase.networks import registry
from matphase.scores.validation import Validation
from matphase.settings import Settings
from matphase.support.errors import DivergedError, InputError, ModelError
from matphase.support.files import atomic_write
from matphase.support.manifest import MANIFEST, MODEL, checksum, write_manifest
from matphase.support.records import MAX_JSON, RecordError, brief, json_text, read_json, read_toml
from matphase.support.seeds import checked_seed
from matphase.support.text import one_line

Part = TypeVar("Part")

FORMAT = 1
VALIDATION = "validation.json"
SCALING = "scaling.json"
GUARANTEE = "guarantee.json"
WEIGHTS = ".safetensors"


def write(model: Model, folder: Path, *, overwrite: bool = False) -> None:
    """Write a model folder, which appears under its name only when it is complete.

    Raises:
        DivergedError: a weight, the grey scale or the calibration is not finite.
        OutputError: the folder exists (and `overwrite` is off) or cannot be written.
    """
    if not (math.isfinite(model.scale.low) and math.isfinite(model.scale.high)):
        raise DivergedError(
            f"the grey scale of the model is {model.scale.low} to {model.scale.high}, which is not "
            "finite, so the model is not saved; train again on finite grey values"
        )
    with atomic_write(folder, overwrite=overwrite, replaces=MODEL) as beside:
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
        (beside / "phases.json").write_text(json_text(model.phases.to_json()), "utf-8")
        learned = {
            VALIDATION: model.validation,
            SCALING: model.calibrator.scaling,
            GUARANTEE: model.calibrator.guarantee,
        }
        for name, part in learned.items():
            if part is not None:
                (beside / name).write_text(_finite_json(part.to_json(), name) + "\n", "utf-8")
        for name, network in model.networks.items():
            save_weights(network, beside / f"{name}{WEIGHTS}")
        write_manifest(beside)


def read(folder: Path) -> Model:
    """Read a model folder.

    Raises:
        ModelError: a file is missing, was altered or does not belong to the model, or the folder
            was written by a newer version.
    """
    sums = _listed_sums(folder)
    weights = {name for name in sums if name.endswith(WEIGHTS)}
    for name in sorted(sums.keys() - weights):
        _check_sum(folder / name, sums[name])
    try:
        config = read_toml(folder / "config.toml")
        if config["format"] != FORMAT:
            writer = one_line(str(config["matphase"]))
            raise ModelError(
                f"{folder} was written by MatPhase {writer} in model format "
                f"{brief(config['format'])}, but this version reads format {FORMAT}; "
                "update matphase"
            )
        settings = Settings.from_mapping(config["settings"], where=f"{folder}/config.toml")
        registry.composition(settings.model)  # raises for an unknown model
        phases = PhaseTable.from_json(read_json(folder / "phases.json"))
        ends = config["intensity"]
        low, high, anew = float(ends["low"]), float(ends["high"]), bool(ends.get("anew", False))
        scale = IntensityScale(low, high, _kind(ends), anew)
        if not (math.isfinite(scale.low) and math.isfinite(scale.high)):
            raise ValueError("its grey scale is not finite")
        if scale.channels != settings.data.channels:
            raise ValueError(
                f"its grey scale is of the kind {scale.kind}, but its settings have data.scale = "
                f"{settings.data.scale}"
            )
        seed, record = checked_seed(config["seed"]), dict(config["training"])
        n_phases = len(phases)
        validation = _part(folder / VALIDATION, lambda json: Validation.from_json(json, n_phases))
        scaling = _part(folder / SCALING, lambda json: Scaling.from_json(json, n_phases))
        guarantee = _part(_guarantee_file(folder), RiskGuarantee.from_json)
    except (OSError, KeyError, TypeError, ValueError, InputError) as error:
        raise ModelError(f"{folder} does not describe a model: {error}; train again") from error
    _check_shapes(folder, sums, settings, n_phases)
    for name in sorted(weights):
        _check_sum(folder / name, sums[name])
    segmenter, refiner = _untrained(settings, n_phases)
    calibrator = Calibrator(scaling, guarantee)
    model = Model(settings, phases, scale, seed, segmenter, refiner, calibrator, record, validation)
    for name, network in model.networks.items():
        load_weights(network, folder / f"{name}{WEIGHTS}")
        network.eval()
    return model


def _finite_json(content: Any, name: str) -> str:
    try:
        return json.dumps(content, allow_nan=False)
    except ValueError as error:
        raise DivergedError(
            f"{name} would hold a number that is not finite, so the model is not saved; "
            "train again with a lower learning_rate"
        ) from error


def checksum_of(folder: Path) -> str:
    """Checksum of a complete model folder; equal models have equal checksums."""
    return _checksum(folder / MANIFEST)


def _part(path: Path, parse: Callable[[Any], Part]) -> Part | None:
    """Parse an optional file of a model; None if it does not exist."""
    return parse(read_json(path)) if path.exists() else None


def _untrained(settings: Settings, n_phases: int) -> tuple[Segmenter, HCL | None]:
    """Untrained segmenter and refiner, whose weights are loaded next."""
    composition = registry.composition(settings.model)
    refiner = None if composition.local is None else HCL.untrained(n_phases, settings)
    return segmenters.kind(settings).untrained(n_phases, settings), refiner


def _kind(intensity: Mapping[str, Any]) -> Kind:
    """What the grey scale is measured on; MatPhase 0.1 only noted whether it is each slice."""
    if "per_slice" in intensity:
        return "slice" if intensity["per_slice"] else "volume"
    kind: Kind = intensity["kind"]
    if kind not in get_args(Kind):
        raise ValueError(f"its grey scale is of the unknown kind {brief(kind)}")
    return kind


def _guarantee_file(folder: Path) -> Path:
    """File of the risk guarantee, which had another name in MatPhase 0.1."""
    before = folder / "promise.json"
    return before if before.exists() else folder / GUARANTEE


def _check_shapes(folder: Path, sums: Mapping[str, str], settings: Settings, n_phases: int) -> None:
    """Compare the headers of the weight files with the settings, before any memory is taken.

    Raises:
        ModelError: they disagree.
    """
    try:
        with torch.device("meta"):  # tensors without values
            segmenter, refiner = _untrained(settings, n_phases)
    except InputError:
        raise
    except Exception as error:  # torch raises several kinds for sizes beyond all numbers
        raise ModelError(
            f"{folder}/config.toml describes networks that cannot be built; train again"
        ) from error
    networks = {**segmenter.networks, **(refiner.networks if refiner is not None else {})}
    for name, network in networks.items():
        path, expected = folder / f"{name}{WEIGHTS}", network.state_dict()
        try:
            check_header(path, expected)
        except ModelError:
            size = sum(tensor.numel() * tensor.element_size() for tensor in expected.values())
            if path.is_file() and path.stat().st_size <= size + MAX_JSON:
                # a damaged file is the more likely reason
                _check_sum(path, sums[path.name])
            raise


def _listed_sums(folder: Path) -> dict[str, str]:
    """Checksums of the manifest, which lists every file of the folder and no other.

    Raises:
        ModelError: it does not, or cannot be read.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a model folder; give one that `matphase train` wrote")
    try:
        sums = read_json(folder / MANIFEST)
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} has no {MANIFEST}, so it is not a complete model folder; "
            "give one that `matphase train` wrote"
        ) from error
    except (OSError, RecordError) as error:
        raise ModelError(f"{folder / MANIFEST} cannot be read; copy the folder again") from error
    if not isinstance(sums, dict) or not all(isinstance(one, str) for one in sums.values()):
        raise ModelError(f"{folder / MANIFEST} cannot be read; copy the folder again")
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    for name in sorted({"config.toml", "phases.json"} | sums.keys()):
        if name not in present:
            raise ModelError(
                f"{folder}/{one_line(name)} is missing; copy the whole model folder again"
            )
    for name in sorted(present - sums.keys()):
        raise ModelError(
            f"{folder / name} does not belong to the model; move it elsewhere, "
            "or copy the model folder again"
        )
    return sums


def _check_sum(path: Path, expected: str) -> None:
    if _checksum(path) != expected:
        raise ModelError(
            f"{path} was altered after training (its checksum differs); copy the model folder again"
        )


def _checksum(path: Path) -> str:
    try:
        return checksum(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    except RecordError as error:
        raise ModelError(f"{error}; copy the model folder again") from error
