"""Random recipes: virtual electrodes that differ in all that real scans differ in."""

import math

import numpy as np

from matphase.support.seeds import mix
from matphase.virtual.propagation import wavelength
from matphase.virtual.recipes import Recipe

MATERIALS = {
    "NMC811": 4.75,
    "NMC622": 4.75,
    "NMC111": 4.77,
    "LiCoO2": 5.06,
    "LiNiO2": 4.78,
    "LiMn2O4": 4.28,
    "LiFePO4": 3.60,
    "Li4Ti5O12": 3.49,
    "Si": 2.33,
    "C": 2.26,
}
"""Active materials and their crystal densities in g/cm3; C is graphite."""

_FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")


def random_recipe(seed: int, shape: tuple[int, int, int]) -> Recipe:
    """Recipe whose settings are drawn from wide ranges; the same arguments give the same recipe.

    Lengths are drawn in voxels, since networks see no other scale: particles have median diameters
    from 13 voxels to half of a slice. What varies are volume fractions, sizes, shapes, calendering,
    cracks, where the binder is, materials, the medium in the pores, energy, phase contrast and its
    retrieval, blur, ring artefacts, filters and the number of angles. There is no noise, so that
    one electrode can be shown with many.

    Args:
        seed: random seed.
        shape: number of voxels along z (slices), y and x.
    """
    rng = np.random.default_rng(mix(seed, "random recipe"))
    voxel = round(log_uniform(rng, 0.03, 0.6), 3)
    side = min(shape[1:])
    median = log_uniform(rng, 13, side / 2)
    small = max(4.0, median * rng.uniform(0.2, 0.85))
    large = min(0.8 * side, median * log_uniform(rng, 1.1, 2.5))
    solid = rng.uniform(0.35, 0.68)
    pore = (1 - solid) * rng.uniform(0.15, 0.85)
    bridge, film, cluster = rng.dirichlet((0.6, 0.6, 0.9))
    active = str(rng.choice(list(MATERIALS)))
    energy = log_uniform(rng, 8, 40)
    spread = 0.0 if rng.random() < 0.4 else log_uniform(rng, 0.2, 8)
    return Recipe.from_mapping(
        {
            "microstructure": {
                "shape": shape,
                "voxel_size": voxel,
                "pore": pore,
                "carbon": 1 - solid - pore,
                "nickel": solid,
                "d10": small * voxel,
                "d50": median * voxel,
                "d90": large * voxel,
                "deformation": rng.uniform(0.0, 0.18),
                "flattening": 0.0 if rng.random() < 0.5 else rng.uniform(0.0, 0.45),
                "flattening_axis": str(rng.choice(["z", "y", "x"])),
                "cracked": 0.0 if rng.random() < 0.5 else rng.uniform(0.1, 0.9),
                "crack_width": max(1.0, median * rng.uniform(0.02, 0.12)) * voxel,
                "bridge": bridge,
                "film": film,
                "cluster": cluster,
                "cluster_size": log_uniform(rng, 1.5, 40) * voxel,
            },
            "sample": {
                "active_material": active,
                "active_density": MATERIALS[active],
                "carbon_share": rng.uniform(0.2, 0.8),
                "nanoporosity": rng.uniform(0.0, 0.7),
                "filling": "electrolyte" if rng.random() < 0.25 else "air",
                "width": 0.0 if rng.random() < 0.5 else rng.uniform(1.05, 1.3),
            },
            "scan": {
                "energies": [energy, 1.4 * energy],
                "weights": [1.0, 0.5 if rng.random() < 0.3 else 0.0],
                # so many pixels the wave spreads
                "distance": 1e3 * spread * (voxel * 1e-6) ** 2 / wavelength(energy),
                "angles": round(math.pi / 2 * side * log_uniform(rng, 0.35, 1.2)),
            },
            "detector": {
                "blur": rng.uniform(0.0, 1.6),
                "gain_error": 0.0 if rng.random() < 0.5 else log_uniform(rng, 5e-4, 1e-2),
            },
            "reconstruction": {
                "filter": str(rng.choice(_FILTERS)),
                "retrieval": "paganin" if spread and rng.random() < 0.3 else "none",
            },
        }
    )


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Random number whose logarithm is uniform."""
    return float(low * (high / low) ** rng.random())
