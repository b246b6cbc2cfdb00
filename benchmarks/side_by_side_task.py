"""One training or prediction for side_by_side.py, with whichever version of MatPhase is imported.

    python benchmarks/side_by_side_task.py train|predict PRESET FOLDER STEPS

FOLDER keeps the models of the version; the electrode lies beside it. Only what all versions have
is used: `MatPhase.fit`, `save`, and `matphase predict`.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

import matphase as mp
from matphase.cli import main as command_line

LEARNED = 12
"""Labelled slices."""


def main() -> None:
    """Run the task, and print its CPU and wall seconds."""
    task, preset, folder, steps = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    data = np.load(folder.parent / "electrode.npz")
    budget = {"min_steps": steps, "samples": 4}
    changes = {"ugsm": budget, "idk": {"epochs": 1}, "lcgar": {"epochs": 1}}
    settings = mp.Settings.preset(preset).updated(changes)
    cpu, wall = time.process_time(), time.perf_counter()
    if task == "train":
        images, labels = data["images"][:LEARNED], data["labels"][:LEARNED]
        model = mp.MatPhase(settings=settings).fit(images, labels, ("pore", "carbon", "nickel"))
    else:
        predict(folder / preset, folder.parent / "scan.tif", folder / "out.tif")
    found = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    if task == "train":
        model.save(folder / preset, overwrite=True)
    print(json.dumps(found))


def predict(model: Path, scan: Path, out: Path) -> None:
    """Predict by the command line, whose options all versions share."""
    sys.argv = ["matphase", "predict", *map(str, (model, scan)), "--out", str(out)]
    sys.argv += ["--overwrite", "--quiet"]
    try:
        command_line()
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    main()
