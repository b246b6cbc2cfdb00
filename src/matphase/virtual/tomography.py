"""Simulated scan of a labelled volume and its reconstruction.

labels -> path lengths per material -> wave -> propagation -> blur -> photons -> gain errors ->
phase retrieval -> logarithm -> filter -> slices. All arithmetic is in double precision, and sums do
not depend on the number of threads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matphase.support.errors import InputError
from matphase.support.progress import Reporter, Silent
from matphase.support.seeds import mix
from matphase.virtual import detector, materials, projection, propagation
from matphase.virtual.materials import Material
from matphase.virtual.parallel import in_threads
from matphase.virtual.projection import Geometry
from matphase.virtual.recipes import Recipe

Floats = NDArray[np.float64]
Image = NDArray[np.float32]
Labels = NDArray[np.uint8]

_MAX_HALO = 64
"""Largest spread of the wave in pixels; beyond it, the near-field model does not hold."""
_MAX_WIDTH = 8192
"""Largest width of a sample in voxels; beyond it, indices of the projection matrix overflow."""
_PILOT_SLICES = 8
_PILOT_ROUNDS = 4
_PIXEL_CHUNK = 4096
"""Number of pixels that a thread back-projects at a time."""


@dataclass(frozen=True)
class Tomogram:
    """Reconstructed slices and facts about them. Attenuations in 1/cm.

    Attributes:
        image: attenuation coefficients, float32 of shape (z, y, x).
        attenuation: of each material, in the order of the labels; mean over the spectrum.
        photons: expected photons in a pixel of the open beam, per projection; None without noise.
        noise: standard deviation of the noise, measured in the middle slices; 0 without noise.
        angles: number of projections.
    """

    image: Image
    attenuation: tuple[float, ...]
    photons: float | None
    noise: float
    angles: int


def scan(
    labels: Labels,
    phases: list[Material],
    voxel_size: float,
    recipe: Recipe,
    seed: int,
    *,
    reporter: Reporter | None = None,
) -> Tomogram:
    """Simulated scan of a volume, reconstructed.

    Args:
        labels: indices into `phases`, of shape (z, y, x).
        phases: material of each index: pore, carbon, nickel.
        voxel_size: edge length of a voxel in micrometres.
        recipe: sample.width, scan, detector, reconstruction and cnr are used.
        seed: random seed.
        reporter: receives the progress.

    Returns:
        Slices of the shape of `labels`.

    Raises:
        InputError: the distance is beyond the near field, the sample too wide, or `cnr` too low.
    """
    chain = _Chain(labels.shape, phases, voxel_size, recipe, seed, reporter or Silent())
    intensity = chain.intensity(labels)
    photons = recipe.detector.photons
    if recipe.cnr is not None:
        pore, carbon, *_ = chain.attenuation
        photons = chain.photons_for(intensity, abs(carbon - pore) / recipe.cnr)
    slices = chain.reconstruct(intensity, photons, "scan", "reconstructing")
    noise = 0.0
    if photons is not None:
        pilot = chain.pilot
        clean = chain.reconstruct(intensity, None, "scan", "measuring noise", pilot)
        noise = float((slices[:, pilot] - clean).std())
    return Tomogram(
        image=chain.rounded(slices),
        attenuation=tuple(chain.attenuation),
        photons=photons,
        noise=noise,
        angles=chain.geometry.angles.size,
    )


class _Chain:
    """All steps of a scan. Detector images have the shape (columns, slices)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        phases: list[Material],
        voxel_size: float,
        recipe: Recipe,
        seed: int,
        reporter: Reporter,
    ) -> None:
        self.shape = shape
        self.recipe = recipe
        self.seed = seed
        self.reporter = reporter
        self.pixel = voxel_size * 1e-6
        self.spectrum = [
            (
                energy,
                share,
                [100 * materials.attenuation(phase, energy) for phase in phases],
                [materials.refraction(phase, energy) for phase in phases],
            )
            for energy, share in recipe.scan.spectrum
        ]
        self.attenuation = [
            sum(share * mu[index] for _, share, mu, _ in self.spectrum) / 100
            for index in range(len(phases))
        ]
        self.distance = recipe.scan.distance * 1e-3
        self.halo = max(
            propagation.halo(energy, self.distance, self.pixel) for energy, *_ in self.spectrum
        )
        if self.halo > _MAX_HALO:
            raise InputError(
                f"over a distance of {recipe.scan.distance:g} mm the wave spreads over "
                f"{self.halo} voxels of {voxel_size:g} um, too far for this near-field simulation; "
                "lower distance, or raise the energy or the voxel size"
            )
        diagonal = math.hypot(*shape[1:])
        widest = max(recipe.sample.width, 1) * diagonal
        if widest > _MAX_WIDTH:
            raise InputError(
                f"a sample of {widest:.0f} voxels across is too wide, the limit is {_MAX_WIDTH}; "
                "make the slices or sample.width smaller"
            )
        angles = recipe.scan.angles or math.ceil(math.pi / 2 * diagonal)
        self.geometry = Geometry.half_turn(angles, math.ceil(diagonal) + 4)
        middle, depth = shape[0] // 2, min(_PILOT_SLICES, shape[0])
        self.pilot = slice(middle - depth // 2, middle - depth // 2 + depth)

    def intensity(self, labels: Labels) -> Floats:
        """Intensity at the detector (angles, columns, slices), without noise."""
        wide = Geometry(self.geometry.angles, self.geometry.columns + 2 * self.halo)
        lengths, y, x = self._sample(labels)
        result = np.empty((self.geometry.angles.size, self.geometry.columns, self.shape[0]))

        def one(block: slice) -> None:
            projected = projection.project(lengths, y, x, wide, block)
            projected *= self.pixel
            for image, target in zip(projected, result[block], strict=True):
                target[:] = self._detected(image)

        self._threads("projecting", one, wide.blocks)
        return result

    def photons_for(self, intensity: Floats, noise: float) -> float:
        """Number of photons that gives `noise` (1/cm) in the slices, to three digits.

        The variance of a slice is nearly proportional to 1 / photons. A first guess, from an ideal
        ramp filter, is corrected by reconstructions of the middle slices.

        Raises:
            InputError: that noise would need fewer than one photon.
        """
        part = intensity[:, :, self.pilot]
        clean = self.reconstruct(part, None, "pilot", "pilot")
        ray = math.sqrt(float((1 / np.maximum(part, 1e-3)).mean()))
        of_one = math.pi * ray / (math.sqrt(12 * len(part)) * 100 * self.pixel)
        photons = (of_one / noise) ** 2
        for _ in range(_PILOT_ROUNDS):
            photons = max(photons, 1.0)
            trial = self.reconstruct(part, photons, "pilot", "pilot")
            photons *= (float((trial - clean).std()) / noise) ** 2
        if photons < 1:
            raise InputError(
                f"cnr {self.recipe.cnr:g} needs fewer than one photon per pixel and projection; "
                "give a larger cnr"
            )
        return float(f"{photons:.3g}")

    def reconstruct(
        self,
        intensity: Floats,
        photons: float | None,
        draw: str,
        title: str,
        part: slice = slice(None),
    ) -> Floats:
        """Reconstructed slices (pixels, slices) in 1/cm.

        Args:
            intensity: intensity at the detector, (angles, columns, slices).
            photons: photons of the open beam; None: no noise.
            draw: name that seeds the random numbers.
            title: title of the progress bar.
            part: slices to reconstruct; detector images are always processed whole.
        """
        extend = self.recipe.sample.width > 1
        ramp = projection.ramp_filter(
            self.geometry.columns, self.recipe.reconstruction.filter, extend=extend
        )
        depth = len(range(*part.indices(intensity.shape[2])))
        filtered = np.empty((*intensity.shape[:2], depth))
        gain = detector.gains(
            (intensity.shape[1], self.shape[0]),
            self.recipe.detector.gain_error,
            np.random.default_rng(mix(self.seed, "gain")),
        )[:, self.pilot if draw == "pilot" else slice(None)]

        def read(block: slice) -> None:
            for n in range(block.start, block.stop):
                image = intensity[n]
                if photons is not None:
                    rng = np.random.default_rng(mix(self.seed, "photons", draw, n))
                    image = detector.count(image, photons, self.recipe.detector.read_noise, rng)
                image = self._retrieved(image * gain)
                filtered[n] = -np.log(np.maximum(image, 1e-9))[:, part]
            filtered[block] = ramp(filtered[block])

        y, x = (grid.ravel() for grid in projection.centred((self.shape[1], self.shape[2])))
        slices = np.empty((y.size, depth))

        def back(start: int) -> None:
            chunk = slice(start, start + _PIXEL_CHUNK)
            slices[chunk] = projection.back_project(filtered, y[chunk], x[chunk], self.geometry)

        self._threads(f"{title}: filtering", read, self.geometry.blocks)
        self._threads(f"{title}: slices", back, list(range(0, y.size, _PIXEL_CHUNK)))
        slices /= 100 * self.pixel
        return slices

    def rounded(self, slices: Floats) -> Image:
        """Slices as float32 (z, y, x), rounded to about 2^-13 of the strongest attenuation.

        The step is a power of two, far below the noise and far above the rounding differences
        between machines.
        """
        quantum = 2.0 ** (math.floor(math.log2(max(self.attenuation))) - 13)
        image = (np.rint(slices.T / quantum) * quantum).astype(np.float32)
        return np.ascontiguousarray(image.reshape(self.shape))

    def _sample(self, labels: Labels) -> tuple[Floats, Floats, Floats]:
        """Fraction of each material except the first in each pixel of the sample.

        Returns:
            Fractions (pixels, materials x slices + 1), with a last column of ones for the whole
            sample; and y and x of the pixels.
        """
        width = self.recipe.sample.width * self.geometry.columns
        plane = (self.shape[1], self.shape[2])
        margins = [max(0, math.ceil((width - n) / 2)) for n in plane]
        padded = np.pad(labels, [(0, 0), *((m, m) for m in margins)], mode="symmetric")
        y, x = projection.centred((padded.shape[1], padded.shape[2]))
        inside = y * y + x * x <= (width / 2) ** 2 if width else np.ones(y.shape, bool)
        content = padded[:, inside].T
        count = len(self.attenuation)
        shares = np.empty((len(content), (count - 1) * self.shape[0] + 1))
        for index in range(1, count):
            start = (index - 1) * self.shape[0]
            shares[:, start : start + self.shape[0]] = content == index
        shares[:, -1] = 1
        return shares, y[inside], x[inside]

    def _detected(self, lengths: Floats) -> Floats:
        """Intensity (columns, slices) at one angle.

        Args:
            lengths: path lengths in m in each material except the first, then in the sample:
                (columns with halo, materials x slices + 1).
        """
        halo, columns = self.halo, self.geometry.columns
        path = lengths[:, :-1].reshape(len(lengths), -1, self.shape[0])
        blank = lengths[:, -1:] - path.sum(axis=1)
        total = np.zeros((columns, self.shape[0]))
        for energy, share, mu, delta in self.spectrum:
            absorbed, refracted = (
                sum((values[n + 1] * path[:, n] for n in range(path.shape[1])), values[0] * blank)
                for values in (mu, delta)
            )
            if halo == 0:
                total += share * np.exp(-absorbed)
                continue
            # above and below, the sample is continued by its mirror image
            absorbed, refracted = (
                propagation.mirrored(field, 0, halo) for field in (absorbed, refracted)
            )
            wave = propagation.propagate(absorbed, refracted, energy, self.distance, self.pixel)
            total += share * wave[halo:-halo, halo:-halo]
        return detector.blurred(total, self.recipe.detector.blur)

    def _retrieved(self, intensity: Floats) -> Floats:
        if self.recipe.reconstruction.retrieval == "none":
            return intensity
        mu = sum(share * values[-1] for _, share, values, _ in self.spectrum)
        delta = sum(share * values[-1] for _, share, _, values in self.spectrum)
        margin = min(_MAX_HALO, *intensity.shape)
        padded = propagation.mirrored(intensity, margin, margin)
        retrieved = propagation.retrieve(padded, self.distance, delta / mu, self.pixel)
        return retrieved[margin:-margin, margin:-margin]

    def _threads(
        self, title: str, task: Callable[..., None], items: list[slice] | list[int]
    ) -> None:
        self.reporter.start(title, len(items))
        in_threads(task, items, self.reporter)
        self.reporter.finish()
