"""Recipes: everything that makes a virtual electrode and its image, but the seed; TOML in and out.

Named ones lie in `recipes/`. They differ in the quality of the scan and in nothing else.
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, model_validator

from matphase.support.checked import CheckedSettings, merged, read_toml
from matphase.support.errors import InputError
from matphase.virtual import materials
from matphase.virtual.materials import Material, Medium
from matphase.virtual.microstructure import Microstructure
from matphase.virtual.projection import FilterName

NAMES = ("easy", "paper", "hard")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Sample(CheckedSettings):
    """What the phases are made of, and how much of the sample is beside the slices."""

    active_material: str = "NMC811"
    """NMC with its Ni, Mn and Co digits, or a chemical formula."""
    active_density: Positive = 4.75
    """g/cm3; crystal density of NMC811."""
    carbon_share: Share = 0.5
    """Mass of carbon black in the mass of carbon black and PVDF."""
    nanoporosity: Annotated[float, Field(ge=0, lt=1)] = 0.47
    """Share of the carbon-binder domain that is pores below the resolution."""
    filling: Medium = "air"
    """What fills the pores, small ones included: air, or electrolyte (1 M LiPF6 in EC/EMC)."""
    width: Annotated[float, Field(ge=0, le=4)] = 0.0
    """Diameter of the scanned cylinder, in fields of view of the detector: above 1 a
    region-of-interest scan, whose surroundings are the slices mirrored. 0: the slices alone, free
    in air."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.material("nickel")
        if 0 < self.width < 1:
            raise ValueError(
                f"a sample of width {self.width:g} is smaller than its slices; give 0 for the "
                "slices alone, or at least 1"
            )
        return self

    def material(self, phase: Literal["pore", "carbon", "nickel"]) -> Material:
        """What a phase is made of."""
        filling = materials.medium(self.filling)
        match phase:
            case "pore":
                return filling
            case "carbon":
                return materials.carbon_binder(self.carbon_share, self.nanoporosity, filling)
            case "nickel":
                return materials.active_material(self.active_material, self.active_density)


class Scan(CheckedSettings):
    """The beam and the path to the detector."""

    energies: Annotated[tuple[float, ...], Field(min_length=1)] = (20.0,)
    """keV; more than one make a spectrum."""
    weights: tuple[NotNegative, ...] = (1.0,)
    """Share that each energy has in the detected open beam; only the ratios count."""
    distance: NotNegative = 0.0
    """From sample to detector, mm."""
    angles: Annotated[int, Field(ge=8)] | None = None
    """Projections over 180 degrees; none: pi / 2 for each pixel of a slice's diagonal."""

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
        """Energies, each with its share; the shares sum to 1."""
        total = sum(self.weights)
        pairs = zip(self.energies, self.weights, strict=True)
        return [(energy, weight / total) for energy, weight in pairs if weight > 0]


class Detector(CheckedSettings):
    """What the detector does to the image. Its pixels have the size of the voxels."""

    blur: NotNegative = 0.0
    """Standard deviation of the point spread, pixels."""
    photons: Positive | None = None
    """Expected in a pixel of the open beam, per projection; none: no noise."""
    read_noise: NotNegative = 0.0
    """Standard deviation of the camera's noise, photons."""
    gain_error: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    """Standard deviation of what the flat-field correction leaves of a pixel's gain."""


class Reconstruction(CheckedSettings):
    """How the slices are computed."""

    filter: FilterName = "ramp"
    """Window on the ramp filter."""
    retrieval: Literal["none", "paganin"] = "none"
    """Phase retrieval before the reconstruction, for the active material."""


class GroundTruth(CheckedSettings):
    """How FIB-SEM with EDS sees the electrode."""

    misregistration: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Root mean square distance between a place in the image and its label, pixels."""
    misregistration_size: Annotated[float, Field(ge=2, le=1000)] = 24.0
    """Correlation length of the displacement within a section, pixels."""
    eds_blur: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Standard deviation of the volume that an EDS spectrum comes from, pixels."""
    eds_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation of the noise of a phase's share in that volume."""
    section_spacing: Annotated[int, Field(ge=1)] = 1
    """A section at every n-th slice; slices between have no labels."""


class Recipe(CheckedSettings):
    """How to make a virtual electrode; with a seed it names one electrode.

    The noise is set by `cnr` or by `detector.photons`; with neither there is none.

    Raises:
        InputError: a value out of range, an unknown name, or values that contradict each other.
    """

    cnr: Positive | None = None
    """Contrast-to-noise ratio of carbon and pore in a voxel: difference of their attenuations over
    the standard deviation of the noise in the slices. The photons follow from it."""
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
        """The recipe `easy`, `paper` or `hard`.

        Raises:
            InputError: there is no recipe of that name.
        """
        if name not in NAMES:
            raise InputError(f"there is no recipe {name!r}; choose {', '.join(NAMES)}")
        source = files("matphase.virtual").joinpath("recipes", f"{name}.toml")
        return cls(**tomllib.loads(source.read_text("utf-8")))

    @classmethod
    def from_file(cls, path: Path) -> "Recipe":
        """Read a TOML file; what it leaves out is off or has its default.

        Raises:
            InputError: the file cannot be read, is not TOML, or holds a wrong value.
        """
        values = read_toml(path)
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def updated(self, values: Mapping[str, Any]) -> "Recipe":
        """Put the values of a nested mapping in place of the recipe's own.

        Raises:
            InputError: as for the constructor.
        """
        return Recipe(**merged(self.model_dump(exclude_none=True), values))

    def with_cnr(self, cnr: float) -> "Recipe":
        """Set the noise by `cnr`, whatever set it before.

        Raises:
            InputError: a ratio that is not positive.
        """
        values = self.model_dump(exclude_none=True)
        values["detector"].pop("photons", None)
        return Recipe(**{**values, "cnr": cnr})

    def to_toml(self) -> str:
        """The recipe as TOML; what is off (`None`) is left out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))
