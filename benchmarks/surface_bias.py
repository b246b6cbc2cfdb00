"""How far geometric measures are off on bodies whose measures are known.

    python benchmarks/surface_bias.py OUT

Areas of balls, cubes, tilted planes and overlapping balls; triple-phase boundary length where balls
and cut planes meet; thickness of balls, rods and plates; integral range of overlapping balls. Each
at several resolutions, at places and tilts drawn at random. OUT keeps the result of each body and
size; a run that was stopped goes on.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import publish
from numpy.typing import NDArray

from matphase.properties import correlation, interfaces, sizes, triple_lines
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import grid

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

CUBES = (1.0, 1.0, 1.0)
FLAT = (2.0, 1.0, 1.0)
"""Slices twice as far apart as pixels."""
POROSITY = 0.4
DRAWS = 20


Measure = Callable[[int, np.random.Generator], float]
"""Measured over true value of a body of a given size."""


def main() -> None:
    """Measure what is missing, and write results/surface_bias.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    wanted = {
        Case(f"{title}/{body} {size}"): (title, body, size, measure)
        for title, bodies in quantities().items()
        for body, sizes_, measure in bodies
        for size in sizes_
    }
    content: dict[str, list[dict[str, Any]]] = {}
    results = run(list(wanted), partial(measured, wanted), parser.parse_args().out)
    for case, result in results.items():
        title, body, size, _ = wanted[case]
        content.setdefault(title, []).append({"body": body, "size": size, **result["ratio"]})
    publish("surface_bias", content, report(content))


def measured(
    wanted: dict[Case, tuple[str, str, int, Measure]], case: Case, _: Path
) -> dict[str, Any]:
    """Mean and standard deviation over the draws, of one body of one size."""
    _, _, size, measure = wanted[case]
    seen = [measure(size, np.random.default_rng(draw)) for draw in range(DRAWS)]
    return {"ratio": {"mean": float(np.mean(seen)), "sd": float(np.std(seen))}}


def report(content: dict[str, list[dict[str, Any]]]) -> str:
    """A table for each quantity."""
    text = ["# Bias of geometric measures", f"Of {DRAWS} draws each, place and tilt at random."]
    header = ["body", "size (voxels)", "measured / true", "standard deviation"]
    for title, rows in content.items():
        cells = [
            [row["body"], str(row["size"]), f"{row['mean']:.3f}", f"{row['sd']:.3f}"]
            for row in rows
        ]
        text += [f"## {title}", grid(header, cells)]
    return "\n\n".join(text)


def quantities() -> dict[str, list[tuple[str, tuple[int, ...], Measure]]]:
    """By quantity: name of the body, its sizes in voxels, and how it is measured."""
    return {
        "Specific surface area, Cauchy-Crofton in 13 directions": [
            ("ball (radius)", (3, 5, 10, 20), _ball_area),
            ("ball in voxels of 2:1:1 (radius)", (5, 10, 20), partial(_ball_area, spacing=FLAT)),
            ("cube along the axes (edge)", (10, 20, 40), _cube_area),
            ("tilted cube (edge)", (10, 20, 40), _tilted_cube_area),
            ("tilted planes (distance)", (4, 8, 16), _plane_area),
            ("overlapping balls (radius)", (5, 10, 15), _overlapping_area),
        ],
        "Triple-phase boundary length, 2 points per area": [
            ("line along an axis (length)", (10,), _axis_line),
            ("ball cut through its middle (radius)", (5, 10, 20), partial(_rim, height=0.0)),
            ("ball cut at 0.7 radii (radius)", (5, 10, 20), partial(_rim, height=0.7)),
            ("two sets of overlapping balls (radius)", (5, 10, 15), _independent_lines),
        ],
        "Median local thickness": [
            ("ball (radius)", (3, 5, 10), _ball),
            ("tilted rod (radius)", (3, 5, 10), _rod),
            ("tilted plate (width)", (6, 10, 20), _plate),
        ],
        "Integral range of the two-point correlation": [
            ("overlapping balls, window of 8 diameters (radius)", (6,), partial(_range, window=8)),
            ("overlapping balls, window of 16 (radius)", (4,), partial(_range, window=16)),
        ],
    }


# --- bodies ---------------------------------------------------------------------------------------


def _places(sides: tuple[int, ...], spacing: tuple[float, ...], random: np.random.Generator) -> Any:
    """Coordinates of the voxel centres from a random point near the middle of the volume."""
    return [
        (axis - (side - 1) / 2 + random.uniform(-0.5, 0.5)) * length
        for axis, side, length in zip(
            np.ogrid[tuple(slice(side) for side in sides)], sides, spacing, strict=True
        )
    ]


def _direction(random: np.random.Generator) -> Floats:
    vector = random.standard_normal(3)
    unit: Floats = vector / np.linalg.norm(vector)
    return unit


def _overlapping_balls(radius: float, side: int, random: np.random.Generator) -> Bools:
    """Boolean model of balls that leaves the share POROSITY free."""
    covered = np.zeros((side,) * 3, np.bool_)
    room = (side + 2 * radius) ** 3
    centres = random.uniform(-radius, side + radius, (random.poisson(_density(radius) * room), 3))
    for centre in centres:
        low = np.ceil(centre - radius - 0.5).clip(0).astype(int)
        high = np.ceil(centre + radius - 0.5).clip(0, side).astype(int)
        box = tuple(slice(*ends) for ends in zip(low, high, strict=True))
        squares = [(p + 0.5 - c) ** 2 for p, c in zip(np.ogrid[box], centre, strict=True)]
        covered[box] |= sum(squares) < radius**2
    return covered


def _density(radius: float) -> float:
    return -math.log(POROSITY) / (4 / 3 * math.pi * radius**3)


def _overlapping_surface(radius: float) -> float:
    return 4 * math.pi * radius**2 * _density(radius) * POROSITY


# --- measured over true ---------------------------------------------------------------------------


def _area(body: Bools, spacing: tuple[float, ...]) -> float:
    """Area of a body as if the volume went on around it: each direction has a pair per voxel."""
    counts = interfaces.interface_counts(body.astype(np.uint8), 2)
    counts[:, 0, 0] += body.size - counts.sum(axis=(1, 2))
    per_volume = interfaces.areas_from_counts(counts, spacing)[0, 1]
    return float(per_volume * body.size * math.prod(spacing))


def _ball_area(
    radius: int, random: np.random.Generator, spacing: tuple[float, ...] = CUBES
) -> float:
    sides = tuple(int(2 * radius / length) + 6 for length in spacing)
    body = sum(p**2 for p in _places(sides, spacing, random)) < radius**2
    return _area(body, spacing) / (4 * math.pi * radius**2)


def _cube_area(edge: int, _: np.random.Generator) -> float:
    return _area(np.pad(np.ones((edge,) * 3, np.bool_), 3), CUBES) / (6 * edge**2)


def _tilted_cube_area(edge: int, random: np.random.Generator) -> float:
    axes = np.linalg.qr(random.standard_normal((3, 3)))[0]
    places = _places((int(1.8 * edge) + 6,) * 3, CUBES, random)
    body = np.ones((), np.bool_)
    for axis in axes:
        body = body & (abs(sum(c * p for c, p in zip(axis, places, strict=True))) < edge / 2)
    return _area(body, CUBES) / (6 * edge**2)


def _plane_area(width: int, random: np.random.Generator) -> float:
    normal, places = _direction(random), _places((64,) * 3, CUBES, random)
    along = sum(c * p for c, p in zip(normal, places, strict=True))
    layers = (np.floor(along / width) % 2).astype(np.uint8)
    found = interfaces.interface_areas(layers, 2, CUBES)[0, 1]
    return float(found / _plane_area_in_window(normal, width, places))


def _plane_area_in_window(normal: Floats, width: float, places: Any) -> float:
    """Area per volume of the planes in the window: a thin layer around them has area by thickness.

    Not 1 / width: how many of them the window holds is chance.
    """
    thickness, inside, samples = 0.25, 0, 0
    for shift in np.linspace(-0.5, 0.5, 8, endpoint=False) + 1 / 16:
        along = sum(c * (p + shift) for c, p in zip(normal, places, strict=True))
        near = abs(along / width - np.rint(along / width)) * width < thickness / 2
        inside, samples = inside + int(np.count_nonzero(near)), samples + near.size
    return inside / samples / thickness


def _overlapping_area(radius: int, random: np.random.Generator) -> float:
    body = _overlapping_balls(radius, 8 * radius, random)
    found = interfaces.interface_areas(body.astype(np.uint8), 2, CUBES)[0, 1]
    return float(found / _overlapping_surface(radius))


def _axis_line(length: int, _: np.random.Generator) -> float:
    volume = np.zeros((length, 10, 10), np.uint8)
    volume[:, :5, 5:], volume[:, 5:, 5:] = 1, 2
    return triple_lines.triple_line_length(volume, CUBES) * 9 * 9


def _rim(radius: int, random: np.random.Generator, height: float) -> float:
    """A ball, cut by a plane with a phase on either side: the rim of the cut."""
    places = _places((2 * radius + 6,) * 3, CUBES, random)
    along = sum(c * p for c, p in zip(_direction(random), places, strict=True))
    volume = (along > height * radius).astype(np.uint8)
    volume[sum(p**2 for p in places) < radius**2] = 2
    counts = triple_lines.triple_line_counts(volume)
    counts[:, 1] = volume.size  # as if the volume went on
    found = triple_lines.triple_lines_from_counts(counts, CUBES) * volume.size
    return float(found / (2 * math.pi * radius * math.sqrt(1 - height**2)))


def _independent_lines(radius: int, random: np.random.Generator) -> float:
    """Phase 2 in one set of balls; elsewhere 1 in the other set and 0 outside both.

    Surfaces of two independent isotropic structures cross along pi / 4 S S' of line per volume, and
    on the surface of phase 2 the boundary of the others is a triple line (Underwood 1970).
    """
    first, second = (_overlapping_balls(radius, 8 * radius, random) for _ in range(2))
    volume = np.where(first, 2, second).astype(np.uint8)
    found = triple_lines.triple_line_length(volume, CUBES)
    return float(found / (math.pi / 4 * _overlapping_surface(radius) ** 2))


def _ball(radius: int, random: np.random.Generator) -> float:
    body = sum(p**2 for p in _places((2 * radius + 6,) * 3, CUBES, random)) < radius**2
    return sizes.size_distribution(body, CUBES).d50 / (2 * radius)


def _rod(radius: int, random: np.random.Generator) -> float:
    normal, places = _direction(random), _places((6 * radius,) * 3, CUBES, random)
    along = sum(c * p for c, p in zip(normal, places, strict=True))
    body = sum(p**2 for p in places) - along**2 < radius**2
    return _median_inside(body, radius) / (2 * radius)


def _plate(width: int, random: np.random.Generator) -> float:
    normal, places = _direction(random), _places((3 * width,) * 3, CUBES, random)
    along = sum(c * p for c, p in zip(normal, places, strict=True))
    return _median_inside(abs(along) < width / 2, width) / width


def _median_inside(body: Bools, margin: int) -> float:
    """Median thickness away from the border, where nothing limits it."""
    inner = (slice(margin, -margin),) * 3
    thickness = sizes.local_thickness(body, CUBES)[inner]
    return sizes.distribution_of_thickness(thickness).d50


def _range(radius: int, random: np.random.Generator, window: int) -> float:
    free = ~_overlapping_balls(radius, 2 * radius * window, random)
    counts = correlation.correlation_counts(free, (3 * radius,) * 3)
    r = np.linspace(0, 2 * radius, 1000)
    x = r / radius
    s2 = np.exp(math.log(POROSITY) * (1 + 3 / 4 * x - x**3 / 16))
    rho = (s2 - POROSITY**2) / (POROSITY - POROSITY**2)
    exact = np.trapezoid(4 * math.pi * r**2 * rho, r)
    return float(correlation.integral_range(counts, CUBES) / exact)


if __name__ == "__main__":
    main()
