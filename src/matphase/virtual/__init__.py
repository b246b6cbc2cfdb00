"""Virtual electrodes: microstructures with exact labels, and grey images of them."""

from matphase.virtual.electrode import VirtualElectrode
from matphase.virtual.imaging import Imaging
from matphase.virtual.microstructure import Microstructure

__all__ = ["Imaging", "Microstructure", "VirtualElectrode"]
