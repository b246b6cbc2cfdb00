"""Settings of a model in three kinds: network, training, inference.

Each kind has a module; `model` joins them into the sections of a model's TOML file.
"""

from matphase.settings.inference import (
    AggregatorSettings,
    CalibrationSettings,
    CombinationSettings,
    SamplingSettings,
    ThresholdSettings,
)
from matphase.settings.model import (
    ClassicalSettings,
    IDKSettings,
    LCGARSettings,
    PresetName,
    Settings,
    UGSMSettings,
)
from matphase.settings.network import (
    ClassifierSettings,
    PatchSettings,
    PixelClassifierSettings,
    Slices,
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

__all__ = [
    "AggregatorSettings",
    "AlignSettings",
    "CalibrationSettings",
    "ClassicalSettings",
    "ClassifierSettings",
    "CombinationSettings",
    "DataSettings",
    "IDKSettings",
    "IDKTrainingSettings",
    "LCGARSettings",
    "PatchSettings",
    "PixelClassifierSettings",
    "PixelSampleSettings",
    "PixelTrainingSettings",
    "PresetName",
    "SamplingSettings",
    "SearchSettings",
    "Settings",
    "Slices",
    "ThresholdSettings",
    "TrainingSettings",
    "UGSMSettings",
    "UNetSettings",
    "USISettings",
]
