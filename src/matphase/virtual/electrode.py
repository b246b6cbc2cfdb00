"""A virtual electrode: an image and the labels that it was made of."""

from dataclasses import dataclass, field
from typing import Any, Self

from matphase.phases import PhaseTable
from matphase.progress import Reporter
from matphase.virtual.imaging import Image, Imaging, image_of, measured_labels
from matphase.virtual.microstructure import Labels, Microstructure, grow


@dataclass(frozen=True, eq=False)
class VirtualElectrode:
    """An NMC811 cathode whose phases are known to the voxel. Arrays have the shape (z, y, x)."""

    image: Image
    """Grey values, float32."""
    labels: Labels
    """Exact labels, uint8, by the indices of `phases`."""
    measured_labels: Labels
    """Labels as FIB-SEM with EDS would give them: a little misplaced, with frayed boundaries."""
    voxel_size: float
    """Edge of a voxel, in `unit`."""
    unit: str = "um"
    phases: PhaseTable = field(
        default_factory=lambda: PhaseTable.from_names(["pore", "carbon", "nickel"])
    )

    @classmethod
    def simulate(
        cls,
        shape: tuple[int, int, int] | None = None,
        seed: int = 0,
        *,
        imaging: Imaging | None = None,
        reporter: Reporter | None = None,
        **microstructure: Any,
    ) -> Self:
        """Make an electrode; the same arguments give the same one.

        Args:
            shape: voxels along z (slices), y and x; 133 x 224 x 256 if not given.
            seed: names every random draw.
            imaging: how the electrode is seen; a scan of middling quality if not given.
            reporter: told of the progress.
            microstructure: what it is made of, by the names of `Microstructure`.

        Raises:
            InputError: a setting that is unknown or out of range, or that contradicts another.
        """
        if shape is not None:
            microstructure["shape"] = shape
        settings = Microstructure(**microstructure)
        labels = grow(settings, seed, reporter)
        return cls(
            image=image_of(labels, imaging or Imaging(), seed),
            labels=labels,
            measured_labels=measured_labels(labels, seed),
            voxel_size=settings.voxel_size,
        )
