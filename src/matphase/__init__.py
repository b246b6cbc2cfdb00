"""MatPhase: phase prediction for X-ray tomography of battery electrodes.

The public names load on first use, so that `import matphase` is quick.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matphase.images.formats import open  # noqa: A004 - `mp.open` is meant
    from matphase.images.phases import Phase, PhaseTable
    from matphase.images.volume import Volume
    from matphase.model import MatPhase, load
    from matphase.prediction.prediction import Prediction, open_prediction, save
    from matphase.properties.estimate import Measurements
    from matphase.properties.front import measure
    from matphase.settings import Settings
    from matphase.support.errors import MatPhaseError
    from matphase.virtual import VirtualElectrode

__version__ = version("matphase")

__all__ = [
    "MatPhase",
    "MatPhaseError",
    "Measurements",
    "Phase",
    "PhaseTable",
    "Prediction",
    "Settings",
    "VirtualElectrode",
    "Volume",
    "load",
    "measure",
    "open",
    "open_prediction",
    "save",
]

_HOMES = {
    "MatPhase": "model",
    "MatPhaseError": "support.errors",
    "Measurements": "properties.estimate",
    "Phase": "images.phases",
    "PhaseTable": "images.phases",
    "Prediction": "prediction.prediction",
    "Settings": "settings",
    "VirtualElectrode": "virtual",
    "Volume": "images.volume",
    "load": "model",
    "measure": "properties.front",
    "open": "images.formats",
    "open_prediction": "prediction.prediction",
    "save": "prediction.prediction",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'matphase' has no attribute {name!r}")
    return getattr(import_module(f"matphase.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
