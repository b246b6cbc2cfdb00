"""Whether prediction keeps to its memory limit: peak resident memory over what is loaded anyway.

    python benchmarks/memory.py

Each case runs in a process of its own, on one thread, with random weights and a volume that is made
as it is read, so that neither is loaded. The peak counts from after one small prediction, which
loads libraries and weights. Writes benchmarks/results/memory.json and .md.
"""

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import markdown_table, write_results
from numpy.typing import NDArray

from matphase.data.intensity import IntensityScale
from matphase.inference.predict import block_maps, blocks_of, task_of
from matphase.model_folder import Trained
from matphase.models import zoo
from matphase.phases import PhaseTable
from matphase.settings import Settings
from matphase.stages import hcl_idk, local
from matphase.volume import Volume

CASES = [
    # slices, side, width, T, samples kept, limit in MB
    (16, 256, 16, 2, False, 150),
    (2, 512, 16, 2, False, 100),
    (2, 512, 16, 8, True, 100),
    (2, 512, 16, 2, False, 400),
    (2, 512, 32, 2, False, 300),
]
BLOCKS = 2


@dataclass(frozen=True)
class Noise:
    """Voxels that are drawn as they are read."""

    shape: tuple[int, ...]
    chunk_depth: int = 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the voxels."""
        return np.dtype(np.uint8)

    def read_block(self, z: slice, rows: slice, columns: slice) -> NDArray[Any]:
        """Draw a block."""
        rng = np.random.default_rng(z.start)
        shape = [part.stop - part.start for part in (z, rows, columns)]
        return rng.integers(0, 255, shape, np.uint8)


def model_of(width: int, samples: int) -> Trained:
    """A model with random weights, whose IDK set is a few per cent of noise."""
    settings = Settings.from_mapping(
        {"ugsm": {"width": width, "samples": samples}, "precision": "float32"}
    )
    torch.manual_seed(0)
    network = zoo.segmenter("mcd_unet", 1, 3, settings.ugsm).eval()
    classifier = hcl_idk.build(3, settings.idk).eval()
    scale = IntensityScale(0, 255)
    answering = local.build(3, settings).eval()
    phases = PhaseTable.from_names(["pore", "carbon", "nickel"])
    return Trained(settings, phases, scale, 0, network, classifier, answering, {})


def peak() -> int:
    """Most bytes that this process has had in memory."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measured(case: list[Any]) -> dict[str, Any]:
    """Predict a few blocks, and say what that took."""
    slices, side, width, samples, kept, limit = case
    torch.set_num_threads(1)
    model = model_of(width, samples)
    small = Volume.from_source(Noise((2, 64, 64)))
    task = task_of(model, small)
    block_maps(model, small, blocks_of(model, small, task)[0], task)
    volume = Volume.from_source(Noise((slices, side, side)))
    task = task_of(model, volume, memory=limit * 10**6, keep_samples=kept)
    # the sample of slices that the grey scale is measured on is behind us, too
    before = peak()
    blocks = blocks_of(model, volume, task)
    shares = [
        float(block_maps(model, volume, block, task)["idk"].mean()) for block in blocks[:BLOCKS]
    ]
    rows, columns = (part.stop - part.start for part in blocks[0].window)
    return {
        "blocks": len(blocks),
        "window": [blocks[0].shape[0], rows, columns],
        "idk_share": shares[0],
        "peak_mb": (peak() - before) / 1e6,
    }


def main() -> None:
    """Measure all cases."""
    if len(sys.argv) > 1:
        print(json.dumps(measured(json.loads(sys.argv[1]))))
        return
    rows, results = [], []
    for case in CASES:
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(case)], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        slices, side, width, samples, kept, limit = case
        results.append({"case": case, **found})
        print(case, found, flush=True)
        rows.append(
            [
                f"{slices} x {side} x {side}",
                str(width),
                f"{samples}{', kept' if kept else ''}",
                " x ".join(map(str, found["window"])),
                f"{100 * found['idk_share']:.0f} %",
                f"{limit} MB",
                f"{found['peak_mb']:.0f} MB",
            ]
        )
    header = ["volume", "width", "T", "window of a block", "IDK", "limit", "peak over the rest"]
    write_results("memory", {"cases": results}, markdown_table(header, rows))


if __name__ == "__main__":
    main()
