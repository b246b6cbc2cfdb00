"""Virtual electrode: a simulated X-ray image with the labels that it was made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.images.volume import MIN_SIDE, Volume
from matphase.support.errors import InputError
from matphase.support.files import atomic_write
from matphase.support.manifest import ELECTRODE, write_manifest
from matphase.support.progress import Reporter
from matphase.support.records import json_text
from matphase.virtual.ground_truth import measured_labels
from matphase.virtual.microstructure import Labels, grow
from matphase.virtual.recipes import Recipe
from matphase.virtual.tomography import Image, Tomogram, scan

Role = Literal["pore", "carbon", "nickel"]

_ROLES: dict[str, Role] = {
    "pore": "pore",
    "carbon": "carbon",
    "carbon_binder": "carbon",
    "binder": "carbon",
    "cbd": "carbon",
    "nickel": "nickel",
    "active_material": "nickel",
    "nmc": "nickel",
}
_NAMES = ("pore", "carbon", "nickel")


@dataclass(frozen=True, eq=False)
class VirtualElectrode:
    """Cathode with known phase of every voxel. Arrays have the shape (z, y, x)."""

    image: Image
    """Reconstructed attenuation coefficient in 1/cm; float32."""
    labels: Labels
    """Exact labels as indices into `phases`; uint8."""
    measured_labels: Labels
    """Labels as FIB-SEM with EDS would measure them; `IGNORE_INDEX` where there is no section."""
    voxel_size: float
    """Edge length of a voxel, in `unit`."""
    unit: str
    phases: PhaseTable
    recipe: Recipe
    seed: int
    facts: Mapping[str, Any]
    """Measured facts, as in `electrode.json`: volume fractions, attenuations (1/cm), photons, noise
    (1/cm), contrast-to-noise ratio of carbon and pore."""

    @classmethod
    def simulate(
        cls,
        recipe: str | Recipe = "paper",
        shape: tuple[int, int, int] | None = None,
        seed: int = 0,
        *,
        reporter: Reporter | None = None,
    ) -> Self:
        """Simulate an electrode; the same arguments give the same electrode.

        Args:
            recipe: `easy`, `paper`, `hard`, or a `Recipe`.
            shape: number of voxels along z (slices), y and x; default: the recipe's.
            seed: random seed.
            reporter: receives the progress.

        Raises:
            InputError: there is no such recipe, or settings are out of range or contradictory.
        """
        recipe = _recipe(recipe)
        if shape is not None:
            recipe = recipe.updated({"microstructure": {"shape": shape}})
        labels = grow(recipe.microstructure, seed, reporter)
        phases = PhaseTable.from_names(_NAMES)
        return cls._imaged(labels, phases, recipe, seed, "grown", reporter)

    @classmethod
    def from_labels(
        cls,
        labels: NDArray[Any],
        phases: PhaseTable | Mapping[str, int],
        *,
        voxel_size: float = 0.2,
        recipe: str | Recipe = "paper",
        seed: int = 0,
        reporter: Reporter | None = None,
    ) -> Self:
        """Simulate the X-ray image of a given microstructure.

        Args:
            labels: label values of shape (z, y, x).
            phases: label value of each phase, such as {"pore": 0, "active_material": 1,
                "carbon_binder": 2}; the names decide the materials.
            voxel_size: edge length of a voxel in micrometres.
            recipe: `easy`, `paper`, `hard`, or a `Recipe`; its microstructure is not used.
            seed: random seed.
            reporter: receives the progress.

        Raises:
            InputError: the labels are not a stack or have values without a phase, a material is
                unknown, or the recipe is wrong.
        """
        table = phases if isinstance(phases, PhaseTable) else PhaseTable.from_mapping(phases)
        indices = table.encode(labels)
        if indices.ndim != 3 or min(indices.shape[1:]) < MIN_SIDE or len(indices) == 0:
            raise InputError(
                f"labels must be a stack (z, y, x) with slices of at least {MIN_SIDE} x {MIN_SIDE} "
                f"px; got shape {indices.shape}"
            )
        if (indices == IGNORE_INDEX).any():
            raise InputError(
                "some voxels have the ignore value, but every voxel needs a phase; add that phase"
            )
        # the scan expects the materials in the order pore, carbon, nickel
        roles = np.array([_NAMES.index(_role(name)) for name in table.names], np.uint8)
        if len(set(roles.tolist())) < len(roles):
            raise InputError(f"two of the phases {', '.join(table.names)} are the same material")
        values = {_NAMES[role]: phase.name for role, phase in zip(roles, table.phases, strict=True)}
        names = [values.get(name, name) for name in _NAMES]
        recipe = _recipe(recipe)
        slices, height, width = indices.shape
        recipe = recipe.updated(
            {"microstructure": {"shape": (slices, height, width), "voxel_size": voxel_size}}
        )
        return cls._imaged(
            roles[indices], PhaseTable.from_names(names), recipe, seed, "given", reporter
        )

    @classmethod
    def _imaged(
        cls,
        labels: Labels,
        phases: PhaseTable,
        recipe: Recipe,
        seed: int,
        origin: str,
        reporter: Reporter | None,
    ) -> Self:
        voxel_size = recipe.microstructure.voxel_size
        materials = [recipe.sample.material(_role(name)) for name in phases.names]
        tomogram = scan(labels, materials, voxel_size, recipe, seed, reporter=reporter)
        measured = measured_labels(labels, len(phases), recipe.ground_truth, seed)
        if recipe.ground_truth.section_spacing > 1:
            phases = PhaseTable(phases.phases, (IGNORE_INDEX,))
        return cls(
            image=tomogram.image,
            labels=labels,
            measured_labels=measured,
            voxel_size=voxel_size,
            unit="um",
            phases=phases,
            recipe=recipe,
            seed=seed,
            facts=_facts(labels, measured, phases, tomogram, seed, origin),
        )

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write a folder; it appears under its name only when it is complete.

        It contains images.tif (float32, 1/cm), labels.tif and measured_labels.tif (uint8), all with
        the voxel size; recipe.toml; electrode.json with the phases, the seed and `facts`; and
        manifest.json with the checksums of all these. A folder that holds anything else, or files
        that were changed, is not replaced.

        Raises:
            OutputError: the folder exists or cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {
            "images": self.image,
            "labels": self.labels,
            "measured_labels": self.measured_labels,
        }
        with atomic_write(Path(folder), overwrite=overwrite, replaces=ELECTRODE) as beside:
            beside.mkdir()
            for name, array in arrays.items():
                volume = Volume.from_array(
                    array, voxel_size=self.voxel_size, unit=self.unit, name=name
                )
                formats.save(beside / f"{name}.tif", volume)
            (beside / "recipe.toml").write_text(self.recipe.to_toml(), "utf-8")
            record = {**self.phases.to_json(), **self.facts}
            (beside / "electrode.json").write_text(json_text(record), "utf-8")
            write_manifest(beside)


def _recipe(recipe: str | Recipe) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else Recipe.named(recipe)


def _role(name: str) -> Role:
    """Material of the phase of that name."""
    if name.lower() not in _ROLES:
        raise InputError(
            f"unknown material {name!r}; choose from {', '.join(sorted(_ROLES))} (one name each "
            "for pore, binder and active material)"
        )
    return _ROLES[name.lower()]


def _facts(
    labels: Labels,
    measured: Labels,
    phases: PhaseTable,
    tomogram: Tomogram,
    seed: int,
    origin: str,
) -> dict[str, Any]:
    known = measured[measured != IGNORE_INDEX]
    contrast = abs(tomogram.attenuation[1] - tomogram.attenuation[0])
    return {
        "microstructure": origin,
        "shape": list(labels.shape),
        "seed": seed,
        "fractions": {
            name: float((labels == index).mean()) for index, name in enumerate(phases.names)
        },
        "measured_fractions": {
            name: float((known == index).mean()) for index, name in enumerate(phases.names)
        },
        "label_agreement": float((known == labels[measured != IGNORE_INDEX]).mean()),
        "attenuation_per_cm": dict(zip(phases.names, tomogram.attenuation, strict=True)),
        "angles": tomogram.angles,
        "photons": tomogram.photons,
        # four digits, since the last bits of a standard deviation differ between machines
        "noise_per_cm": float(f"{tomogram.noise:.4g}"),
        "cnr": float(f"{contrast / tomogram.noise:.4g}") if tomogram.noise else None,
        "matphase": version("matphase"),
        "xraydb": version("xraydb"),
    }
