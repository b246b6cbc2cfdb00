"""Peak memory of a training from a large stack: it grows neither with its slices nor their number.

    python benchmarks/memory.py training OUT [--quick]

A stack of 2000 slices of 1024 x 1024 voxels (mirrored tiles of a virtual electrode), of which 20
are labelled, is written into a temporary folder, slab by slab, as an uncompressed BigTIFF. Preset
`best`, which sees five neighbouring slices, is trained from it; then from 10 of the labelled
slices, and from a stack of half the side.
"""

import json
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from common import in_a_process, publish
from numpy.typing import NDArray

import matphase as mp
from matphase.images.grey_scale import IntensityScale
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import grid
from matphase.reproduce.results import claim
from matphase.settings import Settings

PROGRAM = Path(__file__).with_name("memory.py")
DEPTH = 2000
TRAININGS = ((1024, 20), (1024, 10), (512, 20))
"""Side in pixels, and number of labelled slices."""
TILE = (64, 128, 128)
SLAB = 50
"""Slices that are written at a time."""
QUICK: dict[str, Any] = {
    "ugsm": {"min_steps": 60, "samples": 4},
    "idk": {"epochs": 1},
    "lcgar": {"epochs": 1},
}
"""Fewer steps and samples; no array becomes smaller."""


def write_stack(folder: Path, side: int, labelled: list[int]) -> None:
    """Write `images.tif`, and `labels.tif` with the labelled slices alone."""
    electrode = mp.VirtualElectrode.simulate("easy", TILE, 0)
    scale = IntensityScale.of(mp.Volume.from_array(electrode.image))
    grey = (127.5 * (scale.apply(electrode.image) + 1)).astype(np.uint8)
    with tifffile.TiffWriter(folder / "images.tif", bigtiff=True) as file:
        file.write(
            (plane for z in range(0, DEPTH, SLAB) for plane in tiled(grey, z, z + SLAB, side)),
            shape=(DEPTH, side, side),
            dtype=np.uint8,
            photometric="minisblack",
        )
    known = np.concatenate([tiled(electrode.measured_labels, z, z + 1, side) for z in labelled])
    tifffile.imwrite(folder / "labels.tif", known, photometric="minisblack")


def tiled(voxels: NDArray[Any], first: int, last: int, side: int) -> NDArray[Any]:
    """Slices `first` to `last` of a volume that is mirrored at each of its faces without end."""
    z, y, x = (
        np.pad(np.arange(length), (0, length), mode="symmetric")[
            np.arange(start, stop) % (2 * length)
        ]
        for length, start, stop in zip(voxels.shape, (first, 0, 0), (last, side, side), strict=True)
    )
    return voxels[np.ix_(z, y, x)]


def train(case: list[Any]) -> dict[str, Any]:
    """Train in this process, and give its peak memory."""
    folder, n_labelled, quick = case
    labelled = list(range(0, DEPTH, DEPTH // n_labelled))
    settings = Settings.preset("best").updated(QUICK if quick else {})
    before = peak_gb()
    began = time.monotonic()
    mp.MatPhase(settings=settings).fit(
        Path(folder) / "images.tif",
        Path(folder) / "labels.tif",
        ("pore", "carbon", "nickel"),
        label_slices=labelled,
        folder=Path(folder) / "training",
    )
    return {"before_gb": before, "peak_gb": peak_gb(), "seconds": time.monotonic() - began}


def peak_gb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(out: Path, quick: bool) -> None:
    """Train what is missing, and write results/training_memory.{json,md}."""
    claim(out, {"quick": quick})
    cases = {
        Case(f"{side} px, {n_labelled} labelled"): (side, n_labelled)
        for side, n_labelled in TRAININGS
    }
    results = run(list(cases), partial(measured, cases, quick), out)
    found = [
        {"side": cases[case][0], "labelled": cases[case][1], **result["found"]}
        for case, result in results.items()
    ]
    content = {"quick": quick, "changes": QUICK if quick else {}, "trainings": found}
    publish("training_memory", content, report(content))


def measured(
    cases: dict[Case, tuple[int, int]], quick: bool, case: Case, folder: Path
) -> dict[str, Any]:
    """Train in a process of its own, from a stack that is removed afterwards."""
    side, n_labelled = cases[case]
    with tempfile.TemporaryDirectory(dir=folder) as room:
        write_stack(Path(room), side, list(range(0, DEPTH, DEPTH // n_labelled)))
        return {"found": in_a_process(PROGRAM, "train", json.dumps([room, n_labelled, quick]))}


def report(content: dict[str, Any]) -> str:
    """A row a training."""
    quick = content["quick"]
    lines = [
        [
            f"{DEPTH} x {one['side']} x {one['side']}",
            str(one["labelled"]),
            f"{one['peak_gb']:.2f} GB",
            f"{one['before_gb']:.2f} GB",
            f"{one['seconds'] / 60:.0f} min",
        ]
        for one in content["trainings"]
    ]
    steps = "fewer steps and samples (`--quick`)" if quick else "its own steps and samples"
    return (
        "# Memory of trainings\n\n"
        f"`python benchmarks/memory.py training OUT{' --quick' * quick}`: preset `best` (five "
        f"neighbouring slices) with {steps}, each training in a process of its own.\n\n"
        + grid(["stack", "labelled slices", "peak", "of it before training", "time"], lines)
    )
