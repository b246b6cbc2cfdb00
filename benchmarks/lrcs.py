"""Real nano-CT slices through the command line, beside Otsu and a random forest.

The slices are those of Su et al., npj Computational Materials 2022 (doi
10.1038/s41524-022-00709-7), from the history of the repository ZeliangSu/LRCS-Xlearn; they are not
part of this project. Run it with the folder that holds electrode_a and electrode_b:

    python benchmarks/lrcs.py DATA_FOLDER [--preset small] [--seeds 3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import markdown_table, write_results
from numpy.typing import NDArray
from skimage.feature import multiscale_basic_features
from skimage.filters import threshold_multiotsu
from sklearn.ensemble import RandomForestClassifier

import matphase as mp
from matphase.evaluation import Row, score_row

LABEL_MAP = "active_material=0,carbon_binder=1,pore=2"
SPLITS = {
    "electrode_a": ([1, 100, 200, 300], [400]),
    "electrode_b": ([394, 470, 546, 622], [698, 774]),
}
FOREST_PIXELS = 20_000


def main() -> None:
    """Measure every method on both electrodes and write results/lrcs.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    content: dict[str, Any] = {"preset": arguments.preset, "seeds": arguments.seeds}
    for name, (train, test) in SPLITS.items():
        with tempfile.TemporaryDirectory() as folder:
            split = Electrode(arguments.data / name, train, test, Path(folder))
            rows: dict[str, list[Row]] = {"Otsu, 3 classes": [otsu(split)]}
            seeds = range(arguments.seeds)
            rows["random forest"] = [random_forest(split, seed) for seed in seeds]
            for seed in seeds:
                for row_name, row in matphase(split, arguments.preset, seed).items():
                    rows.setdefault(row_name, []).append(row)
        content[name] = {"train": train, "test": test, "rows": rows}
        write_results("lrcs", content, report(content))


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
    row = score_row(split.labels("test"), answer.astype(np.uint8), split.phases)
    return {**row, "seconds": time.monotonic() - began}


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
    row = score_row(split.labels("test"), answer, split.phases, probabilities)
    return {**row, "seconds": time.monotonic() - began}


def pixel_features(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intensity, edges and texture at scales of 1 to 16 px: (pixels, features)."""
    features = multiscale_basic_features(image, sigma_min=1, sigma_max=16)
    return features.reshape(image.size, -1)


def matphase(split: Electrode, preset: str, seed: int) -> dict[str, Row]:
    """`matphase train`, `predict` and `evaluate`."""
    folder = split.folder
    model, out = folder / f"model{seed}", folder / f"prediction{seed}.tif"
    began = time.monotonic()
    call("train", "--images", folder / "train/images", "--labels", folder / "train/labels",
         "--label-map", LABEL_MAP, "--out", model, "--preset", preset, "--seed", seed)  # fmt: skip
    trained = time.monotonic()
    call("predict", model, folder / "test/images", "--out", out, "--probabilities")
    predicted = time.monotonic()
    scores = folder / f"scores{seed}.json"
    call("evaluate", out, folder / "test/labels", "--json", scores)
    content = json.loads(scores.read_text())
    return {
        "UGSM": content["rows"]["UGSM alone"],
        "MatPhase": {
            **content["rows"][out.name],
            "uncertainty": content["uncertainty"],
            "seconds": predicted - began,
            "train_seconds": trained - began,
        },
    }


def call(*arguments: object) -> None:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "matphase", *map(str, arguments), "--quiet"]
    subprocess.run(command, check=True)


def report(content: dict[str, Any]) -> str:
    """The rows of both electrodes as Markdown."""
    parts = [
        "# Real slices: electrodes of LRCS",
        "",
        f"`python benchmarks/lrcs.py DATA --preset {content['preset']} --seeds "
        f"{content['seeds']}`. Mean ± SD over the seeds (Otsu has none), pooled over the test "
        "slices. F1 per phase, ACC in per cent.",
    ]
    for name in SPLITS:
        if name not in content:
            continue
        entry = content[name]
        parts += ["", f"## {name}: trained on {entry['train']}, tested on {entry['test']}", ""]
        header = ["", "F1 active", "F1 binder", "F1 pore", "ACC", "mIU", "fIU", "ECE", "seconds"]
        lines = [[row_name, *cells(rows)] for row_name, rows in entry["rows"].items()]
        parts.append(markdown_table(header, lines))
    return "\n".join(parts)


def cells(rows: list[Row]) -> list[str]:
    """Mean and SD of each column."""
    phases = ("active_material", "carbon_binder", "pore")
    columns = [[row["F1_pooled"][phase] for row in rows] for phase in phases]
    columns += [[row[key] for row in rows] for key in ("ACC", "mIU", "fIU", "ECE")]
    out = [spread(values, 2 if number == 3 else 3) for number, values in enumerate(columns)]
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    return [*out, f"{np.mean(seconds):.0f}" if seconds else ""]


def spread(values: list[float | None], digits: int) -> str:
    """Mean, and SD where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    text = f"{np.mean(known):.{digits}f}"
    return text if len(known) == 1 else f"{text} ± {np.std(known, ddof=1):.{digits}f}"


if __name__ == "__main__":
    main()
