"""Tortuosity factors against TauFactor and PoreSpy on real microstructures, and their cost.

    python benchmarks/tortuosity.py FOLDER --reference-python VENV/bin/python

FOLDER holds matbox_nmc_bridge.tif and slicegan_nmc.tif. The references want VTK only for pictures
that are not made here, so their environment may be small:

    python -m venv VENV
    VENV/bin/pip install 'torch<2.14' ipython matplotlib psutil scikit-image scipy tifffile
    VENV/bin/pip install --no-deps taufactor porespy openpnm pypardiso thermo pyevtk
    VENV/bin/pip install connected-components-3d dask deprecated 'edt<3.1' numba pandas rich
    VENV/bin/pip install tomli tqdm pyamg docrep h5py jsonschema transforms3d chemicals fluids

Each figure comes from a process of its own. Nothing else should run meanwhile.
"""

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

THREADS = 2
TIGHT = 1e-8
MATPHASE_TOLERANCE = 1e-4  # the default; of tau
TAUFACTOR_TOLERANCE = 1e-2  # the default; of the flux over cross-sections, whose square is of tau
TAUFACTOR_TIGHT = 1e-3
FILES = {
    "matbox_nmc_bridge.tif": {"pore": [0], "active": [1], "solid": [1, 2]},
    "slicegan_nmc.tif": {"0": [0], "128": [128], "255": [255]},
}


def main() -> None:
    """Measure, and write results/tortuosity.{json,md}; or, called by itself, measure one case."""
    if sys.argv[1:2] == ["--worker"]:
        print(json.dumps(worker(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reference-python", required=True, help="has taufactor and porespy")
    parser.add_argument("--accuracy-size", type=int, default=128, help="side of the cut-outs")
    parser.add_argument("--speed-size", type=int, default=200, help="side of the volume")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    # Not at the top: the environment of the references has none of it.
    from common import publish

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.reference_python, Path(folder) / "mask.npy")
        content = {
            "accuracy_size": arguments.accuracy_size,
            "accuracy": accuracy(bench, arguments.folder, arguments.accuracy_size),
            "speed": speed(bench, arguments.folder, arguments.speed_size, arguments.rounds),
        }
    publish("tortuosity", content, report(content))


# --- one case in a process of its own -------------------------------------------------------------


class Bench:
    """Runs cases in processes of their own.

    Args:
        reference: the interpreter that has the references.
        mask: file that hands the mask over.
    """

    def __init__(self, reference: str, mask: Path) -> None:
        self.reference = reference
        self.mask = mask

    def run(self, tool: str, mask: Mask, axis: int, tolerance: float) -> dict[str, Any]:
        """What `worker` says of a mask."""
        np.save(self.mask, np.ascontiguousarray(np.moveaxis(mask, axis, 0)))
        from common import in_a_process

        found: dict[str, Any] = in_a_process(
            *(__file__, "--worker", tool, self.mask, tolerance),
            python=sys.executable if tool == "matphase" else self.reference,
            environment={"OMP_NUM_THREADS": str(THREADS)},
        )
        print(tool, mask.shape, axis, found, flush=True)
        return found


def worker(tool: str, file: str, tolerance: str) -> dict[str, Any]:
    """Tortuosity factor of a mask along axis 0, with seconds and peak memory of finding it."""
    mask = np.load(file)
    run = {"matphase": matphase, "taufactor": taufactor, "porespy": porespy}[tool]
    run(np.ones((4, 4, 4), bool), 1e-2)  # imports, and compiles what is compiled
    before = memory("VmRSS")
    began = time.perf_counter()
    tau = run(mask, float(tolerance))
    return {
        "tau": tau,
        "seconds": time.perf_counter() - began,
        "peak_mb": memory("VmHWM"),
        "before_mb": before,
        "version": version(tool),
    }


def memory(kind: str) -> float:
    """Resident memory of this process in MB: VmRSS is now, VmHWM the peak."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1000


def matphase(mask: Mask, tolerance: float) -> float:
    """Ours."""
    from matphase.properties.transport import transport

    found = transport(mask.astype(np.uint8), {1: 1.0}, 0, (1.0, 1.0, 1.0), tolerance)
    return found.tortuosity_factor


def taufactor(mask: Mask, tolerance: float) -> float:
    """Kench, Squires & Cooper 2023."""
    import taufactor as package
    import torch

    torch.set_num_threads(THREADS)
    solver = package.Solver(mask.astype(np.uint8), device="cpu")
    return float(solver.solve(verbose=False, conv_crit=tolerance, iter_limit=100_000)[0])


def porespy(mask: Mask, tolerance: float) -> float:
    """Gostick et al. 2019; with the fraction of all conducting voxels as eps, as the others do."""
    sys.modules.setdefault("pyvista", ModuleType("pyvista"))
    from porespy.simulations import tortuosity_fd

    found = tortuosity_fd(mask, 0, tol=tolerance)
    return float(found.tortuosity / found.effective_porosity * found.original_porosity)


# --- what is measured -----------------------------------------------------------------------------


def masks(folder: Path, size: int) -> dict[str, dict[str, Mask]]:
    """The phases of the first `size` voxels along each axis, by file and name."""
    import tifffile

    found = {}
    for name, phases in FILES.items():
        volume = tifffile.imread(folder / name)[:size, :size, :size]
        found[name] = {phase: np.isin(volume, values) for phase, values in phases.items()}
    return found


def accuracy(bench: Bench, folder: Path, size: int) -> list[dict[str, Any]]:
    """Ours, to the default and to a tight tolerance, and the references on each phase and axis."""
    cases = []
    for name, phases in masks(folder, size).items():
        for phase, mask in phases.items():
            for axis in range(3):
                case: dict[str, Any] = {"file": name, "phase": phase, "axis": "zyx"[axis]}
                exact = bench.run("matphase", mask, axis, TIGHT)["tau"]
                if np.isfinite(exact):
                    case["default"] = bench.run("matphase", mask, axis, MATPHASE_TOLERANCE)["tau"]
                    case["taufactor"] = bench.run("taufactor", mask, axis, TAUFACTOR_TIGHT)["tau"]
                    case["porespy"] = bench.run("porespy", mask, axis, TIGHT)["tau"]
                    cases.append({**case, "tau": exact, "shape": mask.shape})
    return cases


def speed(bench: Bench, folder: Path, size: int, rounds: int) -> dict[str, Any]:
    """The pores of matbox along z, ours and TauFactor by turns; medians."""
    from matphase.reproduce.timing import take_turns

    mask = masks(folder, size)["matbox_nmc_bridge.tif"]["pore"]
    exact = bench.run("matphase", mask, 0, TIGHT)["tau"]
    tolerances = {"matphase": MATPHASE_TOLERANCE, "taufactor": TAUFACTOR_TOLERANCE}
    sides = {
        tool: partial(bench.run, tool, mask, 0, tolerance) for tool, tolerance in tolerances.items()
    }
    runs = take_turns(sides, rounds)
    found: dict[str, Any] = {"shape": mask.shape, "rounds": rounds}
    for tool, several in runs.items():
        found[tool] = {
            "version": several[0]["version"],
            "error": abs(several[0]["tau"] / exact - 1),
            **{
                key: float(np.median([run[key] for run in several]))
                for key in ("tau", "seconds", "peak_mb", "before_mb")
            },
        }
    return found


def report(content: dict[str, Any]) -> str:
    """The figures as Markdown."""
    from matphase.reproduce.page import grid

    def off(case: dict[str, Any], key: str) -> str:
        return f"{100 * (case[key] / case['tau'] - 1):+.3f} %"

    compared = grid(
        ["file", "phase", "axis", "voxels", "tau", "tolerance 1e-4", "TauFactor", "PoreSpy"],
        [
            [
                case["file"],
                case["phase"],
                case["axis"],
                " x ".join(map(str, case["shape"])),
                f"{case['tau']:.4f}",
                *(off(case, key) for key in ("default", "taufactor", "porespy")),
            ]
            for case in content["accuracy"]
        ],
    )
    cost = content["speed"]
    ours, theirs = cost["matphase"], cost["taufactor"]
    ratio = theirs["seconds"] / ours["seconds"]
    costs = grid(
        ["", "seconds", "peak memory", "before the call", "tau", "error of tau"],
        [
            [
                f"{tool} {side['version']}",
                f"{side['seconds']:.1f}",
                f"{side['peak_mb']:.0f} MB",
                f"{side['before_mb']:.0f} MB",
                f"{side['tau']:.5f}",
                f"{side['error']:.1e}",
            ]
            for tool, side in (("matphase", ours), ("taufactor", theirs))
        ],
    )
    return f"""# Tortuosity factor

`python benchmarks/tortuosity.py FOLDER --reference-python PYTHON`.

## Agreement

The first {content["accuracy_size"]} voxels along each axis, each phase that percolates. tau: ours
to a tolerance of {TIGHT:g}; the other columns are relative to it: ours to the default tolerance,
TauFactor with a flux even to {TAUFACTOR_TIGHT:g}, PoreSpy to a residual of {TIGHT:g}. PoreSpy fixes
potentials in the middle of the first and last voxels and not at their outer faces, so that its
volume is one voxel shorter and current spreads freely within these layers; the difference falls as
the axis gets longer. Its own eps leaves out what does not percolate; here it is that of the others.

{compared}

## Cost

Pores of matbox_nmc_bridge, {" x ".join(map(str, cost["shape"]))} voxels along z, up to {THREADS}
threads each, medians of {cost["rounds"]} rounds by turns, each side to its default tolerance; the
error of tau is what that leaves. MatPhase is **{ratio:.1f}** times as fast.

{costs}
"""


if __name__ == "__main__":
    main()
