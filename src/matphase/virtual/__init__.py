"""Virtual electrodes: simulated microstructures with exact labels, and X-ray images of them."""

from matphase.virtual.electrode import VirtualElectrode
from matphase.virtual.microstructure import Microstructure
from matphase.virtual.recipes import Recipe

__all__ = ["Microstructure", "Recipe", "VirtualElectrode"]
