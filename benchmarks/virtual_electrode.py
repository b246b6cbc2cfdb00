"""How real the virtual electrode is: physics, difficulty, cost, and pictures.

    python benchmarks/virtual_electrode.py OUT [physics] [machines] [difficulty] [cost] [unet]
        [pictures] [--steps 3000] [--labels MATBOX.tif]

Without names all parts run, one after the other. OUT keeps the result of each, so that a run that
was stopped goes on; each replaces its part of results/virtual_electrode.json. `unet` takes about
half an hour on two cores. `--labels` is a labelled volume (0 pore, 1 NMC, 2 binder) for the last
picture.
"""

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from common import in_a_process, publish, recorded
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import iradon

import matphase as mp
from matphase.learning.splits import blocked_split
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import grid
from matphase.scores.evaluation import score_row
from matphase.scores.metrics.detection import auroc
from matphase.settings import Settings
from matphase.virtual import Recipe, VirtualElectrode
from matphase.virtual.microstructure import Microstructure, grow
from matphase.virtual.projection import Geometry, back_project, centred, project, ramp_filter
from matphase.virtual.recipes import NAMES
from matphase.virtual.tomography import Tomogram, scan

PHASES: tuple[Literal["pore", "carbon", "nickel"], ...] = ("pore", "carbon", "nickel")
PARTS = ("physics", "machines", "difficulty", "cost", "unet", "pictures")
PICTURES = Path("docs/pictures")
WINDOW = (-60.0, 140.0)
"""Grey values of the pictures, 1/cm."""


def scanned(labels: NDArray[np.uint8], **recipe: Any) -> Tomogram:
    """Image labels (0 pore, 1 carbon, 2 nickel) of 0.2 um voxels."""
    made = Recipe(**recipe)
    return scan(labels, [made.sample.material(name) for name in PHASES], 0.2, made, 0)


def physics() -> dict[str, Any]:
    """Known answers: attenuation, noise, rings, another implementation."""
    labels = grow(Microstructure(shape=(4, 224, 256)), 0)
    clean = scanned(labels)
    step = clean.attenuation[2]
    attenuation: dict[str, dict[str, float]] = {}
    for phase, name in enumerate(PHASES):
        core = ndimage.binary_erosion(labels == phase, np.ones((1, 5, 5)))
        core[:, :8] = core[:, -8:] = core[:, :, :8] = core[:, :, -8:] = False
        mean = float(clean.image[core].mean())
        attenuation[name] = {
            "given_per_cm": clean.attenuation[phase],
            "found_per_cm": mean,
            "error_percent_of_nickel": 100 * (mean - clean.attenuation[phase]) / step,
        }
    y, x = np.mgrid[:96, :96] - 47.5
    radius = np.hypot(y, x)
    for phase in (1, 2):
        body = scanned(np.where(radius < 30, phase, 0).astype(np.uint8)[None])
        error = body.image[0, radius < 26] / body.attenuation[phase] - 1
        attenuation[f"{PHASES[phase]} alone"] = {
            "mean_error_percent": 100 * float(error.mean()),
            "worst_voxel_percent": 100 * float(np.abs(error).max()),
        }
    few, many = (scanned(labels, detector={"photons": n}).noise for n in (4e3, 6.4e4))
    return {
        "attenuation": attenuation,
        "noise_ratio_at_16_times_the_photons": few / many,
        "rings_variance_along_arcs": ring_share(),
        "iradon": peer(),
    }


def ring_share() -> float:
    """Variance along half circles of what gain errors add, over all its variance."""
    labels = np.zeros((1, 128, 128), np.uint8)
    rings = scanned(labels, detector={"gain_error": 0.01}).image[0]
    y, x = np.mgrid[:128, :128] - 63.5
    radius = np.hypot(y, x)
    inside = radius < 62
    shell = (np.rint(radius * 2).astype(int) + 400 * (y > 0))[inside]
    mean = np.bincount(shell, rings[inside]) / np.maximum(np.bincount(shell), 1)
    return float((rings[inside] - mean[shell]).var() / rings[inside].var())


def peer() -> dict[str, float]:
    """The clean case by scikit-image, with the same and with another filter; labels as values."""
    labels = grow(Microstructure(shape=(1, 161, 161)), 0)[0]
    values = (labels == 2).astype(float)
    geometry = Geometry.half_turn(360, 233)
    y, x = (grid.ravel() for grid in centred((161, 161)))
    shadow = np.concatenate(
        [project(values.reshape(-1, 1), y, x, geometry, block) for block in geometry.blocks]
    )
    filtered = ramp_filter(233, "ramp", extend=False)(shadow)
    ours = back_project(filtered, y, x, geometry).reshape(161, 161)
    core = ndimage.binary_erosion(labels == 2, np.ones((5, 5)))
    found = {}
    for name in ("ramp", "cosine"):
        degrees = -np.degrees(geometry.angles)
        theirs = iradon(shadow[:, :, 0].T, degrees, 161, name, circle=False)
        found[f"largest_difference_{name}"] = float(np.abs(ours - theirs).max())
        found[f"difference_of_means_away_from_edges_{name}"] = float(
            abs(ours[core].mean() - theirs[core].mean())
        )
    return found


def machines() -> dict[str, Any]:
    """The same electrode on processors that this one can pass for, with 1 and 2 threads."""
    program = (
        "import hashlib; from matphase.virtual import VirtualElectrode as V; "
        "e = V.simulate(shape=(8, 128, 128)); "
        "print(*(hashlib.sha256(a.tobytes()).hexdigest()[:16] "
        "for a in (e.image, e.labels, e.measured_labels)))"
    )
    cores = sorted(os.sched_getaffinity(0))
    found = {}
    for name, disabled, count in (
        ("all instructions, all cores", "", len(cores)),
        ("all instructions, 1 core", "", 1),
        ("without AVX-512", "X86_V4 AVX512_ICL AVX512_SPR", len(cores)),
        ("without AVX2 and FMA", "X86_V3 X86_V4 AVX512_ICL AVX512_SPR", len(cores)),
    ):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled},
            preexec_fn=partial(os.sched_setaffinity, 0, cores[:count]),
            capture_output=True,
            text=True,
            check=True,
        )
        found[name] = done.stdout.split()
    return found


def difficulty() -> dict[str, Any]:
    """The dial: what one voxel tells of carbon and pore, and what is in the image besides."""
    found = {}
    for name in NAMES:
        made = VirtualElectrode.simulate(name, shape=(24, 224, 256))
        void = made.labels < 2
        found[name] = {
            "cnr_asked": made.recipe.cnr,
            **{key: made.facts[key] for key in ("cnr", "noise_per_cm", "photons")},
            "label_agreement": made.facts["label_agreement"],
            "AUC_carbon_pore": auroc(made.image[void], made.labels[void] == 1),
            "mean_per_cm": {
                phase: float(made.image[made.labels == n].mean()) for n, phase in enumerate(PHASES)
            },
        }
    return found


def cost() -> dict[str, Any]:
    """Seconds and peak memory of `matphase simulate` at three numbers of slices."""
    program = (
        "import json, resource, time; from matphase.virtual import VirtualElectrode as V\n"
        "b = time.monotonic(); c = time.process_time(); V.simulate(shape=({n}, 224, 256))\n"
        "print(json.dumps({{'seconds': time.monotonic() - b,\n"
        "  'processor_seconds': time.process_time() - c,\n"
        "  'peak_GB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}}))"
    )
    found = {}
    for slices in (33, 67, 133):
        found[str(slices)] = in_a_process("-c", program.format(n=slices))
    return found


def unet(steps: int) -> dict[str, Any]:
    """A U-Net on recipe `paper`, scored on unseen blocked slices against both kinds of labels."""
    made = VirtualElectrode.simulate("paper")
    split = blocked_split(len(made.image))
    changes = {"model": "ugsm", "ugsm": {"width": 16, "min_steps": steps}}
    model = mp.MatPhase(settings=Settings.preset("small").updated(changes)).fit(
        made.image[split.train], made.measured_labels[split.train], made.phases
    )
    answer = model.predict(made.image[split.test]).indices
    exact, measured = made.labels[split.test], made.measured_labels[split.test]
    return {
        "steps": steps,
        "width": 16,
        "against measured labels": score_row(measured, answer, made.phases),
        "against exact labels": score_row(exact, answer, made.phases),
        "exact labels against measured": score_row(measured, exact, made.phases),
    }


def pictures(labels: Path | None) -> dict[str, Any]:
    """Draw the recipes side by side, and the chain on another microstructure."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(13, 12.5), layout="constrained")
    rows = figure.subplots(len(NAMES), 3)
    for row, name in zip(rows, NAMES, strict=True):
        made = VirtualElectrode.simulate(name, shape=(9, 224, 256))
        draw_row(row, made, 4, f"{name}: cnr {made.facts['cnr']:.3g}")
    figure.savefig(PICTURES / "virtual_electrode.png", dpi=70)
    if labels is None:
        return {}
    table = mp.PhaseTable.parse("pore=0,nmc=1,binder=2")
    volume = mp.open(labels).to_array()[100:109]
    made = VirtualElectrode.from_labels(volume, table, voxel_size=0.4)
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    draw_row(figure.subplots(1, 3), made, 4, "MATBOX electrode, recipe paper")
    figure.savefig(PICTURES / "virtual_matbox.png", dpi=70)
    return {"matbox": made.facts}


def draw_row(panels: Any, made: VirtualElectrode, z: int, title: str) -> None:
    """Image, exact and measured labels of a slice."""
    panels[0].imshow(made.image[z], cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
    panels[1].imshow(made.phases.to_rgb(made.labels[z]))
    panels[2].imshow(made.phases.to_rgb(made.measured_labels[z]))
    for panel, name in zip(panels, (title, "exact labels", "measured labels"), strict=True):
        panel.set_title(name)
        panel.set_axis_off()


def report(content: dict[str, Any]) -> str:
    """All parts as Markdown."""
    text = ["# Virtual electrode"]
    if found := content.get("physics"):
        rows = [
            [name, *(f"{value:.4g}" for value in values.values())]
            for name, values in found["attenuation"].items()
            if len(values) == 3
        ]
        header = ["phase", "given (1/cm)", "found (1/cm)", "error (% of nickel)"]
        text += ["## Physics, clean scan away from edges", grid(header, rows)]
        text += [
            f"- {name}: mean error {values['mean_error_percent']:.3f} %, worst voxel "
            f"{values['worst_voxel_percent']:.2f} %"
            for name, values in found["attenuation"].items()
            if len(values) == 2
        ]
        text += [
            f"- noise at n photons over noise at 16 n: "
            f"{found['noise_ratio_at_16_times_the_photons']:.3f} (4 expected)",
            f"- share of the variance of rings that is along them: "
            f"{found['rings_variance_along_arcs']:.3f}",
            *(f"- iradon, {name}: {value:.2g}" for name, value in found["iradon"].items()),
        ]
    if found := content.get("machines"):
        rows = [[name, *digests] for name, digests in found.items()]
        header = ["processor", "image", "labels", "measured labels"]
        text += ["## Digests", grid(header, rows)]
    if found := content.get("difficulty"):
        rows = [
            [
                name,
                *(f"{part[key]:.4g}" for key in ("cnr_asked", "cnr", "noise_per_cm", "photons")),
                f"{part['AUC_carbon_pore']:.3f}",
                f"{part['label_agreement']:.3f}",
            ]
            for name, part in found.items()
        ]
        header = ["recipe", "cnr asked", "cnr", "noise (1/cm)", "photons", "AUC", "labels agree"]
        text += ["## Difficulty", grid(header, rows)]
    if found := content.get("cost"):
        rows = [[n, *(f"{value:.2f}" for value in part.values())] for n, part in found.items()]
        header = ["slices", "seconds", "processor seconds", "peak GB"]
        text += ["## Cost (224 x 256 pixels, two cores)", grid(header, rows)]
    if found := content.get("unet"):
        rows = [
            [
                name,
                f"{part['ACC']:.2f}",
                f"{part['mIU']:.3f}",
                *(f"{part['F1'][phase]:.3f}" for phase in PHASES),
            ]
            for name, part in found.items()
            if isinstance(part, dict)
        ]
        header = ["", "ACC (%)", "mIU", *(f"F1 {phase}" for phase in PHASES)]
        title = f"## U-Net of width {found['width']}, {found['steps']} steps, recipe paper"
        text += [title, grid(header, rows)]
    return "\n\n".join(text)


def main() -> None:
    """Run what is missing, and write results/virtual_electrode.{json,md} and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--labels", type=Path)
    arguments = parser.parse_args()
    parts = {
        "physics": physics,
        "machines": machines,
        "difficulty": difficulty,
        "cost": cost,
        "unet": partial(unet, arguments.steps),
        "pictures": partial(pictures, arguments.labels),
    }
    results = run(
        [Case(part) for part in arguments.parts],
        lambda case, _: {"found": parts[case.condition]()},
        arguments.out,
    )
    content = recorded("virtual_electrode")
    content.pop("machine", None)
    content |= {case.condition: result["found"] for case, result in results.items()}
    publish("virtual_electrode", content, report(content))


if __name__ == "__main__":
    main()
