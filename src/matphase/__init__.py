"""MatPhase: phase prediction for X-ray tomography of battery electrodes.

The public names load on first use, so that `import matphase` is quick.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matphase.errors import MatPhaseError
    from matphase.formats import open, save  # noqa: A004 - `mp.open` is meant
    from matphase.measuring import measure
    from matphase.phases import Phase, PhaseTable
    from matphase.pipeline import MatPhase, load
    from matphase.prediction import Prediction
    from matphase.properties.estimate import Measurements
    from matphase.settings import Settings
    from matphase.virtual import VirtualElectrode
    from matphase.volume import Volume

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
    "save",
]

_HOMES = {
    "MatPhase": "pipeline",
    "MatPhaseError": "errors",
    "Measurements": "properties.estimate",
    "Phase": "phases",
    "PhaseTable": "phases",
    "Prediction": "prediction",
    "Settings": "settings",
    "VirtualElectrode": "virtual",
    "Volume": "volume",
    "load": "pipeline",
    "measure": "measuring",
    "open": "formats",
    "save": "formats",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'matphase' has no attribute {name!r}")
    return getattr(import_module(f"matphase.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
