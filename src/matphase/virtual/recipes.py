"""Recipes: all settings of a virtual electrode and its image except the seed; stored as TOML.

The named recipes are in the folder `recipes` and differ only in the quality of the scan.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, model_validator

from matphase.support.checked import CheckedSettings, merged
from matphase.support.errors import InputError
from matphase.support.records import parse_toml
from matphase.virtual import materials
from matphase.virtual.materials import Material, Medium
from matphase.virtual.microstructure import Microstructure
from matphase.virtual.projection import FilterName

NAMES = ("easy", "paper", "hard")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Sample(CheckedSettings):
    """Materials of the phases, and size of the sample around the slices."""

    active_material: str = "NMC811"
    """NMC with its digits for Ni, Mn and Co, or a chemical formula."""
    active_density: Positive = 4.75
    """Crystal density in g/cm3; default: NMC811."""
    carbon_share: Share = 0.5
    """Mass fraction of carbon black in carbon black and PVDF."""
    nanoporosity: Annotated[float, Field(ge=0, lt=1)] = 0.47
    """Volume fraction of pores below the resolution in the carbon-binder domain."""
    filling: Medium = "air"
    """Medium in all pores: air, or electrolyte (1 M LiPF6 in EC/EMC)."""
    width: Annotated[float, Field(ge=0, le=4)] = 0.0
    """Diameter of the scanned cylinder in fields of view of the detector: above 1 it is a
    region-of-interest scan, with mirrored slices as surroundings. 0: only the slices, in air."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.material("nickel")
        if 0 < self.width < 1:
            raise ValueError(
                f"a sample of width {self.width:g} is smaller than its slices; give 0 for the "
                "slices only, or at least 1"
            )
        return self

    def material(self, phase: Literal["pore", "carbon", "nickel"]) -> Material:
        """Material of a phase."""
        filling = materials.medium(self.filling)
        match phase:
            case "pore":
                return filling
            case "carbon":
                return materials.carbon_binder(self.carbon_share, self.nanoporosity, filling)
            case "nickel":
                return materials.active_material(self.active_material, self.active_density)


class Scan(CheckedSettings):
    """X-ray beam, angles, and distance to the detector."""

    energies: Annotated[tuple[float, ...], Field(min_length=1)] = (20.0,)
    """Photon energies in keV; more than one form a spectrum."""
    weights: tuple[NotNegative, ...] = (1.0,)
    """Weight of each energy in the detected open beam; only the ratios matter."""
    distance: NotNegative = 0.0
    """Distance from sample to detector in mm."""
    angles: Annotated[int, Field(ge=8)] | None = None
    """Number of projections over 180 degrees; None: pi / 2 per pixel of a slice's diagonal."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for energy in self.energies:
            materials.checked_energy(energy)
        if len(self.weights) != len(self.energies) or not sum(self.weights) > 0:
            raise ValueError(
                f"{len(self.energies)} energies need as many weights, not all 0; "
                f"got {list(self.weights)}"
            )
        return self

    @property
    def spectrum(self) -> list[tuple[float, float]]:
        """Pairs of energy (keV) and weight; the weights sum to 1."""
        total = sum(self.weights)
        pairs = zip(self.energies, self.weights, strict=True)
        return [(energy, weight / total) for energy, weight in pairs if weight > 0]


class Detector(CheckedSettings):
    """Detector properties. The pixels have the size of the voxels."""

    blur: NotNegative = 0.0
    """Standard deviation of the point spread function in pixels."""
    photons: Positive | None = None
    """Expected photons in a pixel of the open beam, per projection; None: no noise."""
    read_noise: NotNegative = 0.0
    """Standard deviation of the camera noise in photons."""
    gain_error: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    """Standard deviation of the gain errors that remain after the flat-field correction."""


class Reconstruction(CheckedSettings):
    """Reconstruction of the slices."""

    filter: FilterName = "ramp"
    """Window that is applied to the ramp filter."""
    retrieval: Literal["none", "paganin"] = "none"
    """Phase retrieval before the reconstruction, for the active material."""


class GroundTruth(CheckedSettings):
    """Simulated measurement of the labels by FIB-SEM with EDS."""

    misregistration: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Root mean square displacement between image and labels in pixels."""
    misregistration_size: Annotated[float, Field(ge=2, le=1000)] = 24.0
    """Correlation length of the displacement within a section, in pixels."""
    eds_blur: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation of the interaction volume of EDS in pixels."""
    eds_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation of the noise of a phase's fraction in that volume."""
    section_spacing: Annotated[int, Field(ge=1)] = 1
    """Every n-th slice is a section; the slices between have no labels."""


class Recipe(CheckedSettings):
    """All settings of a virtual electrode; together with a seed they determine it.

    The noise is set by `cnr` or by `detector.photons`; without either there is no noise.

    Raises:
        InputError: a value is out of range, a name is unknown, or values contradict each other.
    """

    cnr: Positive | None = None
    """Contrast-to-noise ratio of carbon and pore: difference of their attenuations over the
    standard deviation of the noise in a voxel. The number of photons follows from it."""
    microstructure: Microstructure = Microstructure()
    sample: Sample = Sample()
    scan: Scan = Scan()
    detector: Detector = Detector()
    reconstruction: Reconstruction = Reconstruction()
    ground_truth: GroundTruth = GroundTruth()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cnr is not None and self.detector.photons is not None:
            raise ValueError("cnr and detector.photons both set the noise; give one of them")
        return self

    @classmethod
    def named(cls, name: str) -> "Recipe":
        """Recipe `easy`, `paper` or `hard`.

        Raises:
            InputError: there is no recipe of that name.
        """
        if name not in NAMES:
            raise InputError(f"there is no recipe {name!r}; choose {', '.join(NAMES)}")
        source = files("matphase.virtual").joinpath("recipes", f"{name}.toml")
        return cls.from_mapping(parse_toml(source.read_bytes(), name))

    def updated(self, values: Mapping[str, Any]) -> "Recipe":
        """Copy with some settings changed, such as {"scan": {"distance": 0.3}}.

        Raises:
            InputError: a name does not exist, or a value is not allowed.
        """
        return self.from_mapping(merged(self.model_dump(exclude_none=True), values))

    def with_cnr(self, cnr: float) -> "Recipe":
        """Copy with the noise set by `cnr`, also if `detector.photons` set it before.

        Raises:
            InputError: the ratio is not positive.
        """
        values = self.model_dump(exclude_none=True)
        values["detector"].pop("photons", None)
        return self.from_mapping({**values, "cnr": cnr})

    def to_toml(self) -> str:
        """Recipe as TOML; settings that are None are omitted."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))
