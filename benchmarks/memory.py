"""Whether prediction keeps to its memory limit, and how memory and time go with the volume.

    python benchmarks/memory.py prediction OUT
    python benchmarks/memory.py training OUT [--quick]

OUT keeps the result of each case; a run that was stopped goes on. The part training is described in
training_memory.py. Prediction has three tables, each case in a process of its own, on one thread,
with random weights. First several networks, volumes and limits, with voxels that are drawn as they
are read, so that no file takes memory; the peak counts from after one small prediction, which loads
libraries and weights, and from after the grey scale was measured. Then cubes of .1, 1 and 8 billion
voxels as OME-Zarr files, of which a few blocks are predicted into a store as `matphase predict`
does; the peak counts from after the small prediction, grey scale and all. Peaks are of resident
memory. Last, over 20,000 small blocks of a tiny network, in the number format that this machine
prefers, the anonymous memory (what the process allocated, without files) after so many blocks.
Linux only. Writes benchmarks/results/memory.json and .md.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import training_memory
from common import in_a_process, publish
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import PhaseTable
from matphase.images.tiles import Maps, Tile, least_core, window_side
from matphase.images.volume import Volume
from matphase.method.calibrator import Calibrator
from matphase.method.hcl import HCL
from matphase.method.model import Model
from matphase.method.ugsm import segmenter_of
from matphase.networks import registry
from matphase.prediction.blocks import (
    Task,
    block_images,
    block_maps,
    blocks_of,
    map_names,
    task_of,
)
from matphase.prediction.maps import written_layers
from matphase.prediction.run import Crew, Job, one_by_one, predict_block, predict_to_files
from matphase.prediction.store import Note, open_store
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import grid
from matphase.settings import Settings
from matphase.support.progress import Silent
from matphase.support.text import times

CASES = [
    # slices, side, width, T, samples kept, limit in MB
    (256, 256, 16, 2, False, 150),
    (2, 512, 16, 2, False, 200),
    (2, 512, 16, 8, True, 200),
    (2, 512, 16, 2, False, 400),
    (2, 512, 32, 2, False, 400),
]
BLOCKS = 2
SIDES = (464, 1000, 2000)
"""Of the cubes, in voxels."""
LIMIT = 2000
"""Of memory for the cubes, in MB."""
BLOCKS_OF_CUBE = 2
SIDE_OF_MANY = 71
"""Blocks along y and x, in each of four slices: 20,164 together."""
COUNTED_AFTER = (100, 300, 1000, 3000, 10_000, 20_000)
UNCERTAIN_SHARE = 0.1
"""About so many of the pixels are uncertain, as with a trained model."""


@dataclass(frozen=True)
class Noise:
    """Voxels that are drawn as they are read."""

    shape: tuple[int, ...]
    depth: int = 1

    @property
    def chunks(self) -> tuple[int, ...]:
        """Slices that are read together."""
        return (self.depth, *self.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels."""
        return np.dtype(np.uint8)

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Draw a block."""
        rng = np.random.default_rng(windows[0].start)
        shape = [part.stop - part.start for part in windows]
        return rng.integers(0, 255, shape, np.uint8)


def model_of(width: int, samples: int, depth: int = 4, precision: str = "float32") -> Model:
    """A model with random weights."""
    unet = {"width": width, "depth": depth, "samples": samples}
    settings = Settings.from_mapping({"ugsm": unet, "precision": precision})
    torch.manual_seed(0)
    phases = PhaseTable.from_names(["pore", "carbon", "nickel"])
    network = registry.segmenter("mcd_unet", 1, len(phases), settings.ugsm).eval()
    refiner = HCL.untrained(len(phases), settings)
    for one in refiner.networks.values():
        one.eval()
    segmenter = segmenter_of(network, len(phases), settings)
    scale = IntensityScale(0, 255)
    return Model(settings, phases, scale, 0, segmenter, refiner, Calibrator(), {})


def memory(key: str) -> int:
    """What Linux says of this process: VmRSS is what it has in memory, VmHWM the most since."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status[key].split()[0])


def begun() -> int:
    """What is in memory now; the account of the most begins anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def predict(model: Model, volume: Volume, block: Tile, task: Task) -> Maps:
    """The maps of one block."""
    return block_maps(model, block_images(model, volume, block, task), block, task)


def warmed(model: Model, like: Volume) -> Model:
    """Predict a corner, so that whatever is loaded once is loaded.

    Returns:
        the model, with a threshold at which that share of the pixels there is uncertain.
    """
    small = Volume.from_array(like.block(slice(0, 2), slice(0, 64), slice(0, 64)))
    task = task_of(model, small)
    score = predict(model, small, blocks_of(model, small, task)[0], task)["idk_score"]
    threshold = float(np.quantile(score, 1 - UNCERTAIN_SHARE))
    settings = model.settings.updated({"idk": {"threshold": threshold}})
    assert isinstance(model.refiner, HCL)
    return replace(model, settings=settings, refiner=replace(model.refiner, settings=settings))


def limited(case: list[Any]) -> dict[str, Any]:
    """Predict a few blocks of noise, and say what that took."""
    slices, side, width, samples, kept, limit = case
    volume = Volume.from_array(Noise((slices, side, side)))
    model = warmed(model_of(width, samples), volume)
    task = task_of(model, volume, memory=limit * 10**6, keep_samples=kept)
    # the sample of slices that the grey scale is measured on is behind us, too
    before = begun()
    blocks = blocks_of(model, volume, task)
    shares = [float(predict(model, volume, block, task)["idk"].mean()) for block in blocks[:BLOCKS]]
    rows, columns = (part.stop - part.start for part in blocks[0].window[1:])
    return {
        "blocks": len(blocks),
        "window": [blocks[0].shape[0], rows, columns],
        "idk_share": shares[0],
        "peak_mb": (memory("VmHWM") - before) / 1e6,
    }


def cube(case: list[Any]) -> dict[str, Any]:
    """Predict some blocks, spread over a file, into a store."""
    path, side = Path(case[0]), case[1]
    model = warmed(model_of(16, 4), grains((64, 64, 64)))
    before = begun()
    volume = formats.open(path)
    assert volume.shape == (side, side, side)
    began = time.monotonic()
    task = task_of(model, volume, memory=LIMIT * 10**6)
    scale = time.monotonic() - began
    blocks = blocks_of(model, volume, task)
    names = map_names(model, task, probabilities=False, in_memory=False)
    layers = written_layers(names, model.phases, task.kept)
    out = path.with_name("out.ome.zarr")
    store = open_store(out, {}, layers, model.phases, volume, blocks[0].shape)
    job = Job(volume, task, store)
    chosen = [
        blocks[number]
        for number in np.linspace(0, len(blocks) - 1, BLOCKS_OF_CUBE + 2)[1:-1].astype(int)
    ]
    began = time.monotonic()
    notes = [predict_block(model, job, block) for block in chosen]
    seconds = time.monotonic() - began
    voxels = sum(block.voxels for block in chosen)
    seen = sum(block.pixels_seen for block in chosen)
    return {
        "voxels": volume.n_slices * side**2,
        "bytes_on_disk": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "blocks": len(blocks),
        "block": list(blocks[0].shape),
        "share": voxels / np.prod(volume.stack_shape, dtype=float),
        "idk_share": sum(note["masks"]["idk"] for note in notes) / voxels,
        "seconds_of_scale": scale,
        "microseconds_per_voxel": 1e6 * seconds / voxels,
        "microseconds_per_voxel_seen": 1e6 * seconds / seen,
        "peak_mb": (memory("VmHWM") - before) / 1e6,
    }


def many(_case: Any) -> dict[str, Any]:
    """Predict many small blocks into files, and say what memory they left behind."""
    model = model_of(4, 1, depth=1, precision="auto")
    side = least_core(model.halo)
    volume = grains((4, SIDE_OF_MANY * side, SIDE_OF_MANY * side))
    model = warmed(model, volume)
    window = window_side(side, volume.shape[1], model.halo)
    limit = model.pass_bytes(window, window) + window**2 * model.pixel_bytes(0)
    task = task_of(model, volume, memory=limit)
    after: dict[int, float] = {}
    kinds: set[int] = set()

    def crew(job: Job, todo: Sequence[Tile]) -> Iterator[tuple[Tile, Note]]:
        counted: Crew = one_by_one(model)
        for number, (block, note) in enumerate(counted(job, todo), start=1):
            kinds.add(note["masks"]["idk"])
            if number in COUNTED_AFTER:
                after[number] = memory("RssAnon") / 1e6
            yield block, note

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as room:
        out = Path(room) / "out.tif"
        predict_to_files(model, volume, task, out, crew=crew, reporter=Silent())
    blocks = blocks_of(model, volume, task)
    return {
        "blocks": len(blocks),
        "block": list(blocks[0].shape),
        "limit_mb": limit / 1e6,
        "numbers_of_uncertain_voxels": len(kinds),
        "anonymous_mb": after,
        "seconds": time.monotonic() - began,
    }


@dataclass(frozen=True)
class Grains(Noise):
    """A pattern of round grains that repeats; it packs well."""

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Make a block."""
        waves = [
            np.sin(2 * np.pi * np.arange(part.start, part.stop, dtype=np.float32) / length)
            for part, length in zip(windows, (32, 64, 50), strict=True)
        ]
        sums = waves[0][:, None, None] + waves[1][:, None] + waves[2]
        grey = 40 + 80 * np.digitize(sums, (-0.7, 0.5)) + (5 * sums).astype(np.int8)
        return grey.astype(np.uint8)


def grains(shape: tuple[int, int, int]) -> Volume:
    """A volume of them."""
    return Volume.from_array(Grains(shape, 32), "zyx", (0.1, 0.1, 0.1), "um", "grains")


# --- cases in processes of their own, undisturbed by what others left in memory ------------------


def measured_limit(case: Case, _: Path) -> dict[str, Any]:
    """Measure the case of `CASES` with the number in front."""
    one = CASES[int(case.condition.split()[0])]
    return {"found": {"case": one, **in_a_process(__file__, "limited", json.dumps(one))}}


def measured_cube(case: Case, folder: Path) -> dict[str, Any]:
    """Write a cube of that side, measure, and remove it."""
    side = int(case.condition)
    with tempfile.TemporaryDirectory(dir=folder) as room:
        path = Path(room) / "cube.ome.zarr"
        formats.save(path, grains((side,) * 3))
        return {"found": in_a_process(__file__, "cube", json.dumps([str(path), side]))}


def measured_many(_case: Case, _: Path) -> dict[str, Any]:
    """Measure many blocks in a process of its own."""
    return {"found": in_a_process(__file__, "many", "null")}


def table_of_limits(results: list[dict[str, Any]]) -> str:
    """The cases with limits."""
    rows = []
    for found in results:
        slices, side, width, samples, kept, limit = found["case"]
        rows.append(
            [
                f"{slices} x {side} x {side}",
                str(width),
                f"{samples}{', kept' if kept else ''}",
                times(found["window"]),
                f"{100 * found['idk_share']:.0f} %",
                f"{limit} MB",
                f"{found['peak_mb']:.0f} MB",
            ]
        )
    header = ["volume", "width", "T", "window of a block", "uncertain", "limit", "peak added"]
    return grid(header, rows)


def table_of_cubes(results: list[dict[str, Any]]) -> str:
    """The cubes."""
    rows = [
        [
            f"{round(found['voxels'] ** (1 / 3))}^3 ({found['voxels'] / 1e9:.1f} x 10^9)",
            f"{found['bytes_on_disk'] / 1e6:.0f} MB",
            f"{found['blocks']} of {times(found['block'])}",
            f"{100 * found['share']:.2g} %",
            f"{100 * found['idk_share']:.0f} %",
            f"{found['microseconds_per_voxel']:.1f} us",
            f"{found['microseconds_per_voxel_seen']:.1f} us",
            f"{found['microseconds_per_voxel'] * found['voxels'] / 3.6e9:.1f} h",
            f"{found['seconds_of_scale']:.0f} s",
            f"{found['peak_mb']:.0f} MB",
        ]
        for found in results
    ]
    header = ["cube", "file", "blocks", "predicted", "uncertain", "a voxel", "a voxel with halo"]
    return grid([*header, "all of it", "grey scale", "peak added"], rows)


def table_of_many(found: dict[str, Any]) -> str:
    """Memory over many blocks."""
    counts = found["anonymous_mb"]
    rows = [["anonymous memory", *(f"{amount:.0f} MB" for amount in counts.values())]]
    return grid(["after blocks", *(f"{int(number):,}" for number in counts)], rows)


def report(content: dict[str, Any]) -> str:
    """All tables."""
    many = content["many"][0]
    return (
        f"# Memory of predictions\n\n{table_of_limits(content['limits'])}\n\n"
        f"Cubes, width 16, T = 4, a limit of {LIMIT} MB, one thread:\n\n"
        f"{table_of_cubes(content['cubes'])}\n\n"
        f"{many['blocks']:,} blocks of {times(many['block'])} voxels, width 4, "
        f"depth 1, a limit of {many['limit_mb']:.1f} MB; {many['numbers_of_uncertain_voxels']} "
        f"different numbers of uncertain voxels, {many['seconds'] / 60:.0f} minutes:\n\n"
        f"{table_of_many(many)}"
    )


def main() -> None:
    """Measure what is missing, and write results/memory.{json,md}, or those of trainings."""
    parts = {"limited": limited, "cube": cube, "many": many, "train": training_memory.train}
    if len(sys.argv) == 3 and sys.argv[1] in parts:
        if sys.argv[1] != "train":
            torch.set_num_threads(1)
        print(json.dumps(parts[sys.argv[1]](json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("prediction", "training"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="train with fewer steps and samples")
    arguments = parser.parse_args()
    if arguments.part == "training":
        training_memory.measure(arguments.out, arguments.quick)
        return
    limits = [Case(f"{number} {one}") for number, one in enumerate(CASES)]
    cubes = [Case(str(side)) for side in SIDES]
    content = {
        name: [result["found"] for result in run(cases, compute, arguments.out / name).values()]
        for name, cases, compute in (
            ("limits", limits, measured_limit),
            ("cubes", cubes, measured_cube),
            ("many", [Case("20,000 blocks")], measured_many),
        )
    }
    publish("memory", content, report(content))


if __name__ == "__main__":
    main()
