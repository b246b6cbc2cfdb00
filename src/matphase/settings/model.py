"""All settings of a model, in the sections of its TOML file, and the presets."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import model_validator

from matphase.settings.bounds import BatchSize, Epochs, Steps
from matphase.settings.inference import (
    AggregatorSettings,
    CalibrationSettings,
    CombinationSettings,
    SamplingSettings,
    ThresholdSettings,
)
from matphase.settings.network import (
    ClassifierSettings,
    PatchSettings,
    PixelClassifierSettings,
    UNetSettings,
)
from matphase.settings.training import (
    AlignSettings,
    DataSettings,
    IDKTrainingSettings,
    PixelSampleSettings,
    PixelTrainingSettings,
    SearchSettings,
    TrainingSettings,
    USISettings,
)
from matphase.support.checked import CheckedSettings, merged, read_toml
from matphase.support.errors import InputError
from matphase.support.records import parse_toml

PresetName = Literal["auto", "quick", "small", "best", "paper"]


class UGSMSettings(UNetSettings, TrainingSettings, SamplingSettings):
    """Section `ugsm`: uncertainty-aware global segmentation model (paper section 3.1)."""

    epochs: Epochs = 100
    batch_size: BatchSize = 20
    max_steps: Steps = 0
    """Most optimiser steps, whatever the epochs; 0: no limit."""
    start: str = ""
    """Weights that a U-Net starts from, whose width and depth it then has: `base`, or the folder of
    a trained model; empty: random weights."""
    phase_weights: Literal["inverse", "none"] = "inverse"
    """Weigh the loss of each phase by its inverse frequency (the paper), or not. Without weights,
    probabilities are those of the phases, and rare phases do not grow."""


class ClassicalSettings(PixelClassifierSettings, PixelSampleSettings):
    """Section `classical`: classical features and a classifier of pixels; the paper has none."""


class IDKSettings(ClassifierSettings, IDKTrainingSettings, ThresholdSettings):
    """Section `idk`: the "I don't know" classifier of the coarse curriculum (paper section 3.2)."""

    epochs: Epochs = 15
    batch_size: BatchSize = 1024


class LCGARSettings(PatchSettings, PixelTrainingSettings):
    """Section `lcgar`: local classifier with global annotated region (paper section 3.3)."""

    epochs: Epochs = 15
    batch_size: BatchSize = 1024


class Settings(CheckedSettings):
    """All settings of a model. The defaults are the paper's; see `preset` for others."""

    model: str = "matphase"
    """MatPhase or a baseline; the names are those of the registry of networks."""
    data: DataSettings = DataSettings()
    align: AlignSettings = AlignSettings()
    ugsm: UGSMSettings = UGSMSettings()
    classical: ClassicalSettings = ClassicalSettings()
    idk: IDKSettings = IDKSettings()
    usi: USISettings = USISettings()
    lcgar: LCGARSettings = LCGARSettings()
    aggregator: AggregatorSettings = AggregatorSettings()
    combination: CombinationSettings = CombinationSettings()
    search: SearchSettings = SearchSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the convolutions; auto: bfloat16 where the CPU or GPU supports it."""

    @model_validator(mode="after")
    def _search_chooses_the_model(self) -> Self:
        if self.search.is_on and self.model != "combined":
            raise ValueError(
                f"search.is_on chooses the model, but model is {self.model!r}; leave out one of "
                "them (preset small, say, trains the model that you name)"
            )
        return self

    @property
    def channels(self) -> int:
        """Number of images that the network of the segmenter sees at once."""
        return self.ugsm.slices * self.data.channels

    @property
    def slices(self) -> int:
        """Number of neighbouring slices that the networks need at most."""
        return max(self.ugsm.slices, self.lcgar.slices)

    @classmethod
    def preset(cls, name: str) -> Self:
        """Settings of the preset `auto`, `quick`, `small`, `best` or `paper`.

        Raises:
            InputError: there is no preset of that name.
        """
        names = get_args(PresetName)
        if name not in names:
            choices = f"{', '.join(names[:-1])} or {names[-1]}"
            raise InputError(f"there is no preset {name!r}; choose {choices}")
        source = files("matphase.settings").joinpath("presets", f"{name}.toml")
        where = f"preset {name}"
        return cls.from_mapping(parse_toml(source.read_bytes(), where), where=where)

    @classmethod
    def usual(cls, *named: Mapping[str, Any]) -> Self:
        """Settings of the preset that is taken where none is given.

        It is `auto`, which chooses the model; or `small` if one of the mappings names a model.
        """
        return cls.preset("small" if any("model" in values for values in named) else "auto")

    def updated(self, values: Mapping[str, Any], *, where: str = "settings") -> Self:
        """Copy with some settings changed.

        Args:
            values: nested mapping, such as {"ugsm": {"width": 32}}.
            where: what it was read from; the error message begins with it.

        Raises:
            InputError: a name does not exist, or a value is not allowed.
        """
        return self.from_mapping(merged(self.model_dump(), values), where=where)

    def with_file(self, path: Path) -> Self:
        """Copy with the settings of a TOML file.

        Raises:
            InputError: the file cannot be read, is not TOML, or has a wrong name or value.
        """
        return self.updated(read_toml(path), where=str(path))
