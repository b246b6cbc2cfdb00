"""Microstructure of a virtual electrode: packed particles with carbon-binder between them.

Particles: radii follow d10/d50/d90 of the volume distribution; the spheres are packed in a
periodic box by relaxing overlaps, then deformed by random spherical harmonics of low degree.
Binder: the part of the space between the particles with the highest score, a mix of bridges, films
and clusters. Both are thresholds by rank, so that volume fractions are exact to one voxel.

Labels depend only on +, -, *, / and square roots in a fixed order, which IEEE arithmetic defines to
the last bit, so that a seed gives the same electrode on every machine.
"""

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.spatial import cKDTree

from matphase.support.checked import CheckedSettings
from matphase.support.errors import InputError
from matphase.support.progress import Reporter, Silent
from matphase.support.seeds import mix
from matphase.virtual.noise import correlated_noise

PORE, CARBON, NICKEL = 0, 1, 2
"""Labels of a virtual electrode, in the order of its phase table."""

MAX_PACKING = 0.70
"""Largest volume fraction of particles. Hard spheres jam at 0.64 if equal and at 0.71 if
log-normal with a spread of 0.5 (Farr, Powder Technology 245, 28, 2013); these are slightly soft."""

_MAX_VOXELS = 2_000_000_000
_MAX_PARTICLES = 200_000
_RELAXATION_STEPS = 240
_REBUILD_EVERY = 8
_SOFTNESS = 0.05
"""Fraction of its radius by which a particle may overlap its neighbour, for flat contacts."""
_DEGREES = (2, 2, 3, 3, 4, 4, 5, 6)
"""Degrees of the zonal harmonics that deform a particle, each about its own random axis."""
_HARMONIC_WEIGHTS = tuple(
    math.sqrt((2 * degree + 1) / math.fsum(1 / d**2 for d in _DEGREES)) / degree
    for degree in _DEGREES
)
"""Weights proportional to 1 / degree; the weighted sum has a mean square of 1 over the sphere."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Floats = NDArray[np.float64]
Labels = NDArray[np.uint8]


class Microstructure(CheckedSettings):
    """Settings of the microstructure. Lengths in micrometres, axes (z, y, x).

    Raises:
        InputError: a value is out of range, the fractions do not sum to 1 or cannot be packed, or
            sizes contradict each other or the voxel grid; the message names the setting.
    """

    shape: tuple[int, int, int] = (133, 224, 256)
    """Number of voxels along z (slices), y and x."""
    voxel_size: Positive = 0.2
    """Edge length of a voxel."""
    pore: Fraction = 0.14
    carbon: Fraction = 0.26
    nickel: Annotated[float, Field(gt=0, le=1)] = 0.60
    """Volume fractions of pore, carbon-binder domain and nickel-rich active material (NMC811)."""
    d10: Positive = 3.0
    d50: Positive = 5.5
    d90: Positive = 8.0
    """Volume-equivalent diameters below which 10, 50 and 90 % of the particle volume lie, as
    reported by laser diffraction."""
    deformation: Annotated[float, Field(ge=0, le=0.2)] = 0.08
    """Standard deviation of the radius over a particle's surface, relative to its mean radius."""
    flattening: Annotated[float, Field(ge=0, le=0.6)] = 0.0
    """Calendering: compressive strain of the structure along `flattening_axis` at constant volume;
    0: isotropic."""
    flattening_axis: Literal["z", "y", "x"] = "z"
    cracked: Fraction = 0.0
    """Fraction of the particles (by number) with a crack; cracks are pores."""
    crack_width: Positive = 0.5
    bridge: Weight = 0.30
    film: Weight = 0.10
    cluster: Weight = 0.60
    """Weights of the places that binder prefers: necks between two particles, particle surfaces,
    and loose clusters. Only their ratios matter."""
    cluster_size: Positive = 1.5
    """Correlation length of the clusters."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        slices, *plane = self.shape
        if slices < 1 or min(plane) < 32:
            raise ValueError(
                f"shape {self.shape} is too small; give at least 1 voxel along z and 32 along "
                "y and x"
            )
        if math.prod(self.shape) > _MAX_VOXELS:
            raise ValueError(
                f"shape {self.shape} has more than {_MAX_VOXELS:.0e} voxels, which needs too much "
                "memory; make it smaller"
            )
        total = self.pore + self.carbon + self.nickel
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(
                f"the fractions pore {self.pore:g}, carbon {self.carbon:g} and nickel "
                f"{self.nickel:g} sum to {total:g}; make them sum to 1"
            )
        if self.nickel > MAX_PACKING:
            raise ValueError(
                f"a nickel fraction of {self.nickel:g} cannot be packed; give at most {MAX_PACKING}"
            )
        if not self.d10 <= self.d50 <= self.d90:
            raise ValueError(
                f"particle sizes must rise from d10 to d90; got d10 {self.d10:g}, "
                f"d50 {self.d50:g}, d90 {self.d90:g} um"
            )
        if self.d10 < 2 * self.voxel_size:
            raise ValueError(
                f"particles of d10 {self.d10:g} um are smaller than two voxels of "
                f"{self.voxel_size:g} um; raise d10 or lower voxel_size"
            )
        if min(plane) * self.voxel_size < self.d50:
            raise ValueError(
                f"a slice of {plane[0]} x {plane[1]} voxels of {self.voxel_size:g} um "
                f"is smaller than a particle of d50 {self.d50:g} um; raise shape or lower d50"
            )
        if self.bridge + self.film + self.cluster == 0:
            raise ValueError(
                "bridge, film and cluster are all 0; give at least one a weight above 0"
            )
        return self

    @property
    def stretch(self) -> Floats:
        """Factors (z, y, x) by which calendering scales lengths; their product is 1."""
        factors = np.full(3, (1 - self.flattening) ** (-1 / 3))
        factors["zyx".index(self.flattening_axis)] = (1 - self.flattening) ** (2 / 3)
        return np.round(factors, 9)


def grow(microstructure: Microstructure, seed: int, reporter: Reporter | None = None) -> Labels:
    """Labels of a simulated electrode.

    Args:
        microstructure: settings.
        seed: random seed; the same seed and settings give the same labels.
        reporter: receives the progress.

    Returns:
        Labels of shape (z, y, x): 0 pore, 1 carbon, 2 nickel. The volume fractions are those of the
        settings, exact to one voxel.

    Raises:
        InputError: the settings need too many particles, or too few reach into the volume.
    """
    reporter = reporter or Silent()
    # Calendering is affine: grow an isotropic structure on a grid stretched the opposite way.
    spacing = microstructure.voxel_size / microstructure.stretch
    field = _particle_field(microstructure, spacing, seed, reporter)
    count = field.first.size
    solid, surface = _lowest(field.first, round(microstructure.nickel * count))
    if surface >= field.reach:
        raise InputError(
            f"too few particles reach into {microstructure.shape} voxels to fill "
            f"{microstructure.nickel:g} of them; raise shape or nickel, lower d50, or try a "
            "different seed"
        )

    void = ~solid
    score = _binder_score(microstructure, field, void, spacing, seed)
    carbon, _ = _lowest(-score, min(round(microstructure.carbon * count), score.size))
    labels = np.full(microstructure.shape, PORE, np.uint8)
    labels[solid] = NICKEL
    labels[void] = np.where(carbon, np.uint8(CARBON), np.uint8(PORE))
    return labels


class _ParticleField:
    """Signed distances (z, y, x) to particle surfaces in um: negative inside, `reach` at most."""

    def __init__(self, shape: tuple[int, int, int], reach: float) -> None:
        self.reach = float(np.float32(reach))  # in the precision of the arrays, for comparisons
        self.first = np.full(shape, reach, np.float32)
        """Distance to the nearest particle."""
        self.second = np.full(shape, reach, np.float32)
        """Distance to the second nearest particle."""
        self.crack = np.zeros(shape, bool)
        """True where a crack was cut out of a particle."""


def _diameters(microstructure: Microstructure) -> Floats:
    """Rising diameters (512,), each of which stands for an equal share of the particle volume.

    Two half log-logistic distributions that meet at d50. Diameters are limited to those of the 3
    and 97 % quantiles, so that sizes are bounded.
    """
    share = (np.arange(512) + 0.5) / 512
    # The logit of 0.9 is log(9), so that the given diameters are at 10, 50 and 90 %.
    position = np.clip(np.log(share / (1 - share)) / math.log(9), -1.6, 1.6)
    below = math.log(microstructure.d50 / microstructure.d10)
    above = math.log(microstructure.d90 / microstructure.d50)
    # Rounded, since the last bits of exp() and log() differ between machines.
    return np.round(microstructure.d50 * np.exp(np.where(position < 0, below, above) * position), 6)


def _radii(diameter: Floats, volume: float, rng: np.random.Generator) -> Floats:
    """Falling radii (n,) of spheres with total volume `volume`, stratified over `diameter`.

    Raises:
        InputError: there would be too many particles.
    """
    frequency = diameter**-3  # equal volumes, so the number goes with 1 / d^3
    frequency /= frequency.sum()
    number = max(1, round(volume / float((frequency * diameter**3).sum() * math.pi / 6)))
    if number > _MAX_PARTICLES:
        raise InputError(
            f"{number} particles of {diameter[0]:g} to {diameter[-1]:g} um are needed, but at most "
            f"{_MAX_PARTICLES} are made; raise d10, or lower d90 or shape"
        )
    ticks = (np.arange(number) + rng.random(number)) / number
    radii = diameter[np.searchsorted(np.cumsum(frequency), ticks).clip(max=511)] / 2
    radii *= (volume / (4 / 3 * math.pi * (radii**3).sum())) ** (1 / 3)
    return np.sort(np.round(radii, 6))[::-1]


def _pack(radii: Floats, box: Floats, rng: np.random.Generator, reporter: Reporter) -> Floats:
    """Centres (n, 3) in a periodic box at which the spheres hardly overlap.

    The spheres start at random points with 70 % of their size and grow; overlapping spheres push
    each other apart, the smaller one further.
    """
    center = rng.random((radii.size, 3)) * box
    skin = 0.25 * float(radii.mean())
    pairs = np.empty((0, 2), np.intp)
    for step in range(_RELAXATION_STEPS):
        if step % _REBUILD_EVERY == 0:
            center -= np.floor(center / box) * box
            center[center >= box] = 0.0
            pairs = _near_pairs(center, radii, box, skin)
        i, j = pairs.T
        growth = (1 - _SOFTNESS) * min(1.0, 0.7 + 0.5 * step / _RELAXATION_STEPS)
        offset, distance = _periodic_offset(center[i], center[j], box)
        overlap = growth * (radii[i] + radii[j]) - distance
        touching = overlap > 0
        i, j, offset = i[touching], j[touching], offset[touching]
        push = (overlap[touching] / np.maximum(distance[touching], 1e-9))[:, None] * offset
        lightness = (radii[j] / (radii[i] + radii[j]))[:, None]
        for axis in range(3):
            # bincount adds in the order of the pairs, so the sum is the same on every machine.
            center[:, axis] -= np.bincount(i, (push * lightness)[:, axis], radii.size)
            center[:, axis] += np.bincount(j, (push * (1 - lightness))[:, axis], radii.size)
        reporter.advance()
    return center


def _near_pairs(center: Floats, radii: Floats, box: Floats, skin: float) -> NDArray[np.intp]:
    """Sorted pairs (n, 2) of spheres that can touch before the next search."""
    # One tree per octave of size: with a single search radius each of the smallest spheres would
    # have as many partners as the largest one.
    octave = np.floor(np.log2(radii[0] / radii)).astype(int)
    starts = [int(np.argmax(octave == level)) for level in np.unique(octave)]
    trees = [
        (start, cKDTree(center[start:stop], boxsize=box))
        for start, stop in zip(starts, [*starts[1:], radii.size], strict=True)
    ]
    found = []
    for n, (start, tree) in enumerate(trees):
        near = tree.query_pairs(2 * radii[start] + skin, output_type="ndarray")
        found.append(near + start)
        for other_start, other in trees[n + 1 :]:
            reach = radii[start] + radii[other_start] + skin
            table = tree.sparse_distance_matrix(other, reach, output_type="ndarray")
            found.append(np.column_stack([table["i"] + start, table["j"] + other_start]))
    pairs = np.concatenate(found)
    _, distance = _periodic_offset(center[pairs[:, 0]], center[pairs[:, 1]], box)
    pairs = pairs[distance < radii[pairs[:, 0]] + radii[pairs[:, 1]] + skin]
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


def _periodic_offset(start: Floats, end: Floats, box: Floats) -> tuple[Floats, Floats]:
    """Vectors (n, 3) from each start to the nearest periodic image of its end, and lengths (n,)."""
    offset = end - start
    offset -= np.round(offset / box) * box
    z, y, x = offset.T
    return offset, np.sqrt(z * z + y * y + x * x)


def _particle_field(
    microstructure: Microstructure, spacing: Floats, seed: int, reporter: Reporter
) -> _ParticleField:
    """Distance field of the sized, packed and deformed particles."""
    rng = np.random.default_rng(mix(seed, "particles"))
    # Larger distances make no difference, not for the binder either.
    reach = max(0.3 * microstructure.d50, 4 * float(spacing.max()))
    diameter = _diameters(microstructure)
    # The field is a window in a larger periodic box: particles are cut at its faces as in a real
    # scan, and no particle re-enters at the opposite face.
    margin = diameter[-1] / 2 * (1 + 3 * microstructure.deformation) + reach
    box = np.array(microstructure.shape) * spacing + 2 * margin
    radii = _radii(diameter, microstructure.nickel * float(box.prod()), rng)

    reporter.start("packing particles", _RELAXATION_STEPS)
    center = _pack(radii, box, rng, reporter)
    reporter.finish()
    # Shift one random particle into the window, so that even the smallest window is not empty.
    anchor = margin + rng.random(3) * (box - 2 * margin)
    center = (center - center[rng.integers(radii.size)] + anchor) % box - margin

    reporter.start("drawing particles", radii.size)
    field = _ParticleField(microstructure.shape, reach)
    for middle, radius in zip(center, radii, strict=True):
        particle = _Particle(microstructure, radius, rng)
        particle.draw(field, middle, spacing)
        reporter.advance()
    reporter.finish()
    return field


class _Particle:
    """Deformed sphere: R(n) = radius (1 + deformation S(n)), with S of unit variance on the sphere.

    S is a sum of zonal harmonics (Legendre polynomials) about random axes; every spherical harmonic
    is such a sum.
    """

    def __init__(
        self, microstructure: Microstructure, radius: float, rng: np.random.Generator
    ) -> None:
        self.radius = radius
        self.amplitude = [microstructure.deformation * weight for weight in _HARMONIC_WEIGHTS]
        self.axes = _random_axes(rng, len(_DEGREES))
        self.reach_factor = 1 + 3 * microstructure.deformation
        self.crack_width = microstructure.crack_width
        self.cracked = rng.random() < microstructure.cracked
        self.crack_axes = _random_axes(rng, 2)
        self.crack_offset = 0.6 * (rng.random() - 0.5) * radius

    def draw(self, field: _ParticleField, center: Floats, spacing: Floats) -> None:
        """Update `field` with the distances to this particle, within its reach."""
        extent = self.radius * self.reach_factor + field.reach
        low = np.maximum(np.ceil((center - extent) / spacing - 0.5), 0).astype(int)
        high = np.minimum(
            np.floor((center + extent) / spacing - 0.5) + 1, field.first.shape
        ).astype(int)
        if (high <= low).any():
            return
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = [
            (np.arange(a, b) + 0.5) * h - c
            for a, b, h, c in zip(low, high, spacing, center, strict=True)
        ]
        square = (
            (grid[0] * grid[0])[:, None, None] + (grid[1] * grid[1])[:, None] + grid[2] * grid[2]
        )
        inside = np.nonzero(square < extent * extent)
        z, y, x = (axis[index] for axis, index in zip(grid, inside, strict=True))
        distance = np.sqrt(square[inside])
        away = np.maximum(distance, 1e-6)
        bump = np.zeros_like(distance)
        for degree, amplitude, axis in zip(_DEGREES, self.amplitude, self.axes, strict=True):
            bump += amplitude * _legendre(degree, (z * axis[0] + y * axis[1] + x * axis[2]) / away)
        distance -= self.radius * (1 + bump)

        first, second = field.first[window][inside], field.second[window][inside]
        if self.cracked:
            across, bend = (z * axis[0] + y * axis[1] + x * axis[2] for axis in self.crack_axes)
            sheet = across - self.crack_offset + 0.3 * bend * bend / self.radius
            opening = self.crack_width / 2 - np.abs(sheet)
            field.crack[window][inside] |= (opening > 0) & (distance < 0)
            distance = np.maximum(distance, opening)
        new = distance.astype(np.float32)
        field.second[window][inside] = np.minimum(second, np.maximum(first, new))
        field.first[window][inside] = np.minimum(first, new)


def _random_axes(rng: np.random.Generator, number: int) -> Floats:
    """Random unit vectors (number, 3), from points in a cube that lie in its inscribed sphere."""
    axes = 2 * rng.random((number, 16, 3)) - 1
    length = np.sqrt(axes[..., 0] ** 2 + axes[..., 1] ** 2 + axes[..., 2] ** 2)
    chosen = ((length < 1) & (length > 0.1)).argmax(axis=1)
    row = np.arange(number)
    return np.asarray(axes[row, chosen] / length[row, chosen, None])


def _legendre(degree: int, x: Floats) -> Floats:
    """Legendre polynomial P_degree(x) by Bonnet's recurrence."""
    previous, current = np.ones_like(x), x
    for n in range(1, degree):
        previous, current = current, ((2 * n + 1) * x * current - n * previous) / (n + 1)
    return current


def _binder_score(
    microstructure: Microstructure,
    field: _ParticleField,
    void: NDArray[np.bool_],
    spacing: Floats,
    seed: int,
) -> Floats:
    """Score of each void voxel as a place for binder (1D, in the order of `void`); none in cracks.

    Each preference is a rank from 0 to 1, so that the weights mean the same in every structure.
    """
    first, second = field.first[void], field.second[void]
    rng = np.random.default_rng(mix(seed, "binder"))
    length = microstructure.cluster_size / spacing
    coarse = _rank(correlated_noise(microstructure.shape, length, rng)[void])
    fine = _rank(correlated_noise(microstructure.shape, length / 3, rng)[void])
    score = microstructure.bridge * _rank(-(first + second))
    score += microstructure.film * _rank(-first)
    score += microstructure.cluster * (2 * coarse + fine) / 3
    score[field.crack[void]] = -1.0
    return score


def _rank(values: NDArray[Any]) -> Floats:
    """Fraction of the values below each value; equal values have equal ranks."""
    return np.searchsorted(np.sort(values), values) / max(1, values.size)


def _lowest(values: NDArray[Any], count: int) -> tuple[NDArray[np.bool_], float]:
    """Mask of exactly the `count` lowest values (ties: the first), and the highest of them."""
    if count == 0:
        return np.zeros(values.shape, bool), -math.inf
    flat = values.ravel()
    threshold = np.partition(flat, count - 1)[count - 1]
    mask = flat < threshold
    tied = np.flatnonzero(flat == threshold)
    mask[tied[: count - int(mask.sum())]] = True
    return mask.reshape(values.shape), float(threshold)
