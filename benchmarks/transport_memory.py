"""Memory that the tortuosity factor takes, beside its estimate.

    python benchmarks/transport_memory.py [NAME ...]

Each structure, or those that are named, is measured along z in a process of its own. What it takes
is its peak memory, less what it had before it read the labels. The largest takes 8 GB.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from common import in_a_process, publish, recorded
from numpy.typing import NDArray
from scipy import ndimage

import matphase as mp
from matphase.images.mask import region_of
from matphase.properties.front import measure
from matphase.properties.groups import MEMORY
from matphase.properties.groups.subject import Subject
from matphase.properties.labelled import Labelled
from matphase.properties.plan import Plan
from matphase.reproduce.page import grid
from matphase.support.text import times

WORKER = "--worker"


class Structure(NamedTuple):
    """A structure to measure: its shape, and the share and the size of its pores."""

    shape: tuple[int, int, int]
    share: float
    width: float
    """Standard deviation of the Gaussian filter of the noise that is cut off; 0 for noise."""
    cylinder: bool = False
    """Whether only the inscribed cylinder along z is measured."""
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def labels(self) -> NDArray[np.uint8]:
        """0 in the pores, 1 elsewhere."""
        field = np.random.default_rng(0).standard_normal(self.shape, np.float32)
        if self.width:
            field = ndimage.gaussian_filter(field, self.width)
        sample = field.ravel()[:: max(1, field.size // 10**6)]
        return (field > np.quantile(sample, self.share)).astype(np.uint8)


STRUCTURES = {
    "blobs, 15 %": Structure((200, 200, 200), 0.15, 5),
    "blobs, 35 %": Structure((300, 300, 300), 0.35, 4),
    "blobs, 60 %, fine": Structure((160, 220, 220), 0.6, 1.5),
    "noise, 45 %": Structure((200, 200, 200), 0.45, 0),
    "pores only": Structure((150, 150, 150), 1.0, 0),
    "blobs in a cylinder, 40 %": Structure((240, 240, 240), 0.4, 4, cylinder=True),
    "blobs, 40 %, thick slices": Structure((100, 250, 250), 0.4, 4, voxel_size=(5.0, 1.0, 1.0)),
    "blobs, 30 %": Structure((500, 500, 500), 0.3, 5),
}


def worker(labels_file: str, structure: Structure) -> dict[str, Any]:
    """Measure one structure in this process."""
    before = psutil.Process().memory_info().rss
    labels = np.load(labels_file)
    phases = mp.PhaseTable.from_names(["pore", "solid"])
    started = time.perf_counter()
    found = measure(
        labels,
        phases,
        voxel_size=structure.voxel_size,
        unit="um",
        groups="transport",
        axis="z",
        mask="circle" if structure.cylinder else None,
        memory=10**12,
    )
    seconds = time.perf_counter() - started
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    volume = mp.open(labels, voxel_size=structure.voxel_size, unit="um")
    inside = region_of("circle", volume) if structure.cylinder else None
    plan = Plan.checked(phases, "zyx", groups="transport", axes="z")
    subject = Subject(Labelled(volume, phases, inside), plan, in_full=True)
    return {
        "porosity": float(np.mean(labels == 0)),
        "tau": found["tortuosity_factor", "pore", "z"].value,
        "seconds": seconds,
        "taken": taken,
        "estimate": MEMORY["transport"](subject),
    }


def main() -> None:
    """Measure structures, and write results/transport_memory.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="structures; all by default")
    wanted = parser.parse_args().names or list(STRUCTURES)
    rows = recorded("transport_memory").get("structures", {})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "labels.npy"
        for name in wanted:
            np.save(file, STRUCTURES[name].labels())
            rows[name] = in_a_process(__file__, WORKER, file, json.dumps(STRUCTURES[name]))
            print(name, rows[name], flush=True)
    publish("transport_memory", {"structures": rows}, report(rows))


def report(rows: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        [
            name,
            times(STRUCTURES[name].shape),
            f"{row['tau']:.3g}",
            f"{row['taken'] / 1e9:.2f}",
            f"{row['estimate'] / 1e9:.2f}",
            f"{100 * (row['estimate'] / row['taken'] - 1):+.0f} %",
            f"{row['seconds']:.0f}",
        ]
        for name, row in ((name, rows[name]) for name in STRUCTURES if name in rows)
    ]
    heads = ["pores", "voxels", "tau along z", "taken / GB", "estimate / GB", "off by", "time / s"]
    return (
        "# Memory of the tortuosity factor\n\n"
        "`python benchmarks/transport_memory.py`. Taken is the peak memory of a "
        "process that measures the group `transport` along z, less what it had before; the "
        "estimate is what `measure` compares with its limit.\n\n" + grid(heads, lines)
    )


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        shape, *others = json.loads(sys.argv[3])
        print(json.dumps(worker(sys.argv[2], Structure(tuple(shape), *others))))
    else:
        main()
