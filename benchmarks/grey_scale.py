"""One grey scale for a volume, or one a slice? Asked of the training slices of LRCS alone.

    python benchmarks/grey_scale.py DATA_FOLDER

Of the four training slices of each electrode three train and the fourth is predicted, so the test
slices of `lrcs.py` have no say. Preset quick, one seed.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import publish
from lrcs import SPLITS, Electrode

import matphase as mp
from matphase.images import grey_scale as intensity
from matphase.reproduce.page import grid
from matphase.scores.evaluation import score_row
from matphase.settings import Settings

VARIANTS = {
    "volume, 0.1 %": ("volume", 0.1),
    "slice, 0.1 %": ("slice", 0.1),
    "slice, 1 %": ("slice", 1.0),
}


def main() -> None:
    """Measure, and write results/grey_scale.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    content: dict[str, Any] = {}
    for name, (train, _) in SPLITS.items():
        with tempfile.TemporaryDirectory() as folder:
            split = Electrode(arguments.data / name, train[:3], train[3:], Path(folder))
            images = np.concatenate([split.images("train"), split.images("test")])
            low, high = np.percentile(images, [0.1, 99.9])
            content[name] = {
                "drift": intensity.drift(list(images), low, high),
                "miu": {variant: miu(split, *how) for variant, how in VARIANTS.items()},
            }
    rows = [
        [name, f"{entry['drift']:.3f}", *(f"{value:.3f}" for value in entry["miu"].values())]
        for name, entry in content.items()
    ]
    text = [
        "# One grey scale for a volume, or one a slice?",
        "",
        "`python benchmarks/grey_scale.py DATA`. Training slices of LRCS only: three train, the",
        "fourth is predicted; mIU of UGSM, preset quick, one seed. Drift: scatter of the slices'",
        "own 0.1 and 99.9 percentiles in parts of the volume's range. Per cent: clipped tails.",
        "",
        grid(["", "drift", *VARIANTS], rows),
    ]
    publish("grey_scale", content, "\n".join(text))


def miu(split: Electrode, scale: str, tail: float) -> float:
    """MIU of UGSM on the held-out slice."""
    intensity.TAIL_PERCENT = tail
    settings = Settings.preset("quick").updated({"data": {"scale": scale}})
    model = mp.MatPhase(settings=settings).fit(
        split.images("train"), split.labels("train"), split.phases.names
    )
    truth = split.labels("test")
    result = model.predict(split.images("test"), intensity="volume")
    score: float = score_row(truth, result.global_labels, split.phases)["mIU"]
    return score


if __name__ == "__main__":
    main()
