"""Real nano-CT slices through the command line, beside Otsu and a random forest.

The slices are those of Su et al., npj Computational Materials 2022 (doi
10.1038/s41524-022-00709-7), from the history of the repository ZeliangSu/LRCS-Xlearn; they are not
part of this project. Run it with the folder that holds electrode_a and electrode_b:

    python benchmarks/lrcs.py DATA OUT [--presets small,best,best:0.5] [--seeds 3]

A number behind a preset is another dropout of UGSM: four slices might need more than many do. The
images are single slices of a stack, so that networks see one at a time whatever the preset says.
OUT keeps the result of each model and seed; a run that was stopped goes on. Writes
results/lrcs.{json,md} from all that is there; with other presets than these the tables are printed
instead.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import publish
from numpy.typing import NDArray
from skimage.feature import multiscale_basic_features
from skimage.filters import threshold_multiotsu
from sklearn.ensemble import RandomForestClassifier

import matphase as mp
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import difference_cell, grid, mean_sd
from matphase.scores.comparison import difference
from matphase.scores.evaluation import Row, score_row
from matphase.scores.metrics.confusion import block_confusions

LABEL_MAP = "active_material=0,carbon_binder=1,pore=2"
SPLITS = {
    "electrode_a": ([1, 100, 200, 300], [400]),
    "electrode_b": ([394, 470, 546, 622], [698, 774]),
}
FOREST_PIXELS = 20_000
PRESETS = ("small", "best", "best:0.5")
BLOCK = (1, 64, 64)
"""Test pixels that the bootstrap draws together."""

Content = dict[str, dict[str, list[Row]]]
"""By electrode and row, seed by seed."""


def main() -> None:
    """Measure what is missing on both electrodes and write results/lrcs.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    presets, seeds = arguments.presets.split(","), range(arguments.seeds)
    methods = ["otsu", "forest", *presets]
    cases = [
        Case(f"{name}/{method.replace(':', '_')}", seed)
        for name in SPLITS
        for method in methods
        for seed in (range(1) if method == "otsu" else seeds)
    ]
    results = run(cases, partial(measure, arguments.data), arguments.out)
    rows: Content = {name: {} for name in SPLITS}
    for case, result in results.items():
        name = case.condition.split("/")[0]
        for title, row in result["rows"].items():
            rows[name].setdefault(title, []).append(row)
    content = {"presets": presets, "seeds": arguments.seeds, "rows": rows}
    text = report(rows, presets, arguments.seeds)
    if tuple(presets) == PRESETS:
        publish("lrcs", content, text)
    else:
        print(text)


def measure(data: Path, case: Case, _: Path) -> dict[str, Any]:
    """The rows of one method on one electrode with one seed."""
    name, method = case.condition.split("/")
    with tempfile.TemporaryDirectory() as folder:
        split = Electrode(data / name, *SPLITS[name], Path(folder))
        if method == "otsu":
            return {"rows": {"Otsu, 3 classes": otsu(split)}}
        if method == "forest":
            return {"rows": {"random forest": random_forest(split, case.seed)}}
        preset = method.replace("_", ":")
        found = matphase(split, preset, case.seed)
    return {"rows": {f"{title}, {titled(preset)}": row for title, row in found.items()}}


def parsed(preset: str) -> tuple[str, str]:
    """The name of a preset, and the dropout behind it, if any."""
    name, _, dropout = preset.partition(":")
    return name, dropout


def titled(preset: str) -> str:
    """A preset as the tables name it."""
    name, dropout = parsed(preset)
    return f"{name} with dropout {dropout}" if dropout else name


class Electrode:
    """Slices of one electrode, in folders of training and test slices as a user would have them."""

    def __init__(self, source: Path, train: list[int], test: list[int], folder: Path) -> None:
        self.folder = folder
        for part, numbers in (("train", train), ("test", test)):
            for kind in ("images", "labels"):
                place = folder / part / kind
                place.mkdir(parents=True)
                for number in numbers:
                    file = f"slice_{number:04d}.tif"
                    (place / file).symlink_to((source / kind / file).resolve())
        self.phases = mp.PhaseTable.parse(LABEL_MAP)

    def images(self, part: str) -> NDArray[np.float32]:
        """Grey slices (n, height, width) of `train` or `test`."""
        return mp.open(self.folder / part / "images").to_array().astype(np.float32)

    def labels(self, part: str) -> NDArray[np.uint8]:
        """Phase indices (n, height, width) of `train` or `test`."""
        return self.phases.encode(mp.open(self.folder / part / "labels").to_array())


def otsu(split: Electrode) -> Row:
    """Two thresholds from the training slices; the order dark to bright is pore, binder, active."""
    began = time.monotonic()
    thresholds = threshold_multiotsu(split.images("train"), classes=3)
    answer = 2 - np.digitize(split.images("test"), thresholds)
    row = scored(split, answer.astype(np.uint8))
    return {**row, "seconds": time.monotonic() - began}


def scored(
    split: Electrode, answer: NDArray[np.uint8], probabilities: NDArray[np.float32] | None = None
) -> Row:
    """Scores of an answer on the test slices, and its confusions by block."""
    truth = split.labels("test")
    blocks = block_confusions(truth, answer, len(split.phases), BLOCK).tolist()
    row = score_row(truth, answer, split.phases, probabilities)
    return {**row, "block_confusions": blocks}


def random_forest(split: Electrode, seed: int) -> Row:
    """100 trees on scikit-image's multiscale features, as in interactive pixel classification."""
    began = time.monotonic()
    rng = np.random.default_rng(seed)
    features, labels = [], []
    for image, label in zip(split.images("train"), split.labels("train"), strict=True):
        chosen = rng.choice(image.size, FOREST_PIXELS, replace=False)
        features.append(pixel_features(image)[chosen])
        labels.append(label.ravel()[chosen])
    forest = RandomForestClassifier(100, n_jobs=-1, random_state=seed, min_samples_leaf=2)
    forest.fit(np.concatenate(features), np.concatenate(labels))
    test = split.images("test")
    probabilities = np.stack(
        [forest.predict_proba(pixel_features(image)).T.reshape(-1, *image.shape) for image in test]
    ).astype(np.float32)
    answer = probabilities.argmax(axis=1).astype(np.uint8)
    return {**scored(split, answer, probabilities), "seconds": time.monotonic() - began}


def pixel_features(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intensity, edges and texture at scales of 1 to 16 px: (pixels, features)."""
    features: NDArray[np.float32] = multiscale_basic_features(image, sigma_min=1, sigma_max=16)
    return features.reshape(image.size, -1)


def matphase(split: Electrode, preset: str, seed: int) -> dict[str, Row]:
    """`matphase train` and `predict`, as a user runs them."""
    folder, (name, dropout) = split.folder, parsed(preset)
    model, out = folder / f"{name}{dropout}_{seed}", folder / f"{name}{dropout}_{seed}.tif"
    config = folder / "changes.toml"
    other = f"dropout = {dropout}\n" if dropout else ""
    config.write_text(f"[ugsm]\nslices = 1\n{other}[lcgar]\nslices = 1\n", "utf-8")
    began = time.monotonic()
    call("train", "--images", folder / "train/images", "--labels", folder / "train/labels",
         "--label-map", LABEL_MAP, "--out", model, "--preset", name, "--config", config,
         "--seed", seed)  # fmt: skip
    trained = time.monotonic()
    call("predict", model, folder / "test/images", "--out", out, "--probabilities")
    found: Row = {"train_seconds": trained - began, "seconds": time.monotonic() - began}
    record = tomllib.loads((model / "config.toml").read_text("utf-8"))["training"]
    if "alignment" in record:
        found["alignment"] = record["alignment"]
    answer = mp.open_prediction(out)
    # a single slice is predicted as one, without an axis z
    stack = (-1, *answer.shape[-2:])
    labels, alone = (np.reshape(part, stack) for part in (answer.indices, answer.global_indices))
    shares = np.reshape(answer.probabilities, (len(split.phases), *stack))
    return {
        "UGSM": scored(split, alone),
        "MatPhase": {**scored(split, labels, np.moveaxis(shares, 0, 1)), **found},
    }


def call(*arguments: object) -> None:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "matphase", *map(str, arguments), "--quiet"]
    subprocess.run(command, check=True)


def report(rows: Content, presets: list[str], seeds: int) -> str:
    """The rows of both electrodes as Markdown."""
    parts = [
        "# Real slices: electrodes of LRCS",
        f"`python benchmarks/lrcs.py DATA OUT --presets {','.join(presets)} --seeds {seeds}`. Mean "
        "± SD over the seeds (Otsu has none), pooled over the test slices. F1 per phase, ACC in "
        "per cent. The last column is the difference in mIU from MatPhase with "
        f"preset {titled(presets[0])}, with a 95 % interval (paired bootstrap of seeds and blocks "
        f"of {BLOCK[1]} x {BLOCK[2]} pixels).",
    ]
    for name, found in rows.items():
        train, test = SPLITS[name]
        parts.append(f"## {name}: trained on {train}, tested on {test}")
        first = found[f"MatPhase, {titled(presets[0])}"]
        header = ["", "F1 active", "F1 binder", "F1 pore", "ACC", "mIU", "fIU", "ECE", "seconds"]
        lines = [
            [title, *cells(seeds), "" if seeds is first else against(seeds, first)]
            for title, seeds in found.items()
        ]
        parts.append(grid([*header, "difference in mIU"], lines))
        parts += moved(found)
    return "\n\n".join(parts)


def moved(found: dict[str, list[Row]]) -> list[str]:
    """How far labels were moved, a line for each method whose training aligns them."""
    lines = []
    for title, rows in found.items():
        if known := [row["alignment"] for row in rows if "alignment" in row]:
            length, changed = (
                np.mean([one[name] for one in known])
                for name in ("mean_displacement_px", "labels_changed")
            )
            lines.append(
                f"{title}: alignment moved labels by {length:.2f} px on average and changed "
                f"{100 * changed:.2f} % of them ({len(known)} trainings)."
            )
    return lines


def against(rows: list[Row], others: list[Row]) -> str:
    """The difference in mIU from others; a row without seeds stands beside each of them."""
    rows = rows * (len(others) // len(rows))
    a, b = (
        {seed: row["block_confusions"] for seed, row in enumerate(side)} for side in (rows, others)
    )
    return difference_cell(difference(a, b, same_pixels=True))


def cells(rows: list[Row]) -> list[str]:
    """Mean and SD of each column."""
    phases = ("active_material", "carbon_binder", "pore")
    columns = [[row["F1_pooled"][phase] for row in rows] for phase in phases]
    columns += [[row[key] for row in rows] for key in ("ACC", "mIU", "fIU", "ECE")]
    out = [mean_sd(values, 2 if number == 3 else 3) for number, values in enumerate(columns)]
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    return [*out, f"{np.mean(seconds):.0f}" if seconds else ""]


if __name__ == "__main__":
    main()
