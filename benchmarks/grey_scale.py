"""One grey scale for a volume, or one a slice? Asked of training slices alone.

    python benchmarks/grey_scale.py DATA OUT

Of the training slices of each electrode the last is predicted and the others train, so the test
slices of `real_slices.py` have no say. Preset quick, one seed. OUT keeps the result of each
electrode.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import publish
from electrodes import Electrode, Split, electrodes_in, split_of

import matphase as mp
from matphase.images import grey_scale as intensity
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import grid
from matphase.scores.evaluation import score_row
from matphase.settings import Settings

VARIANTS = {
    "volume, 0.1 %": ("volume", 0.1),
    "slice, 0.1 %": ("slice", 0.1),
    "slice, 1 %": ("slice", 1.0),
}


def main() -> None:
    """Measure what is missing, and write results/grey_scale.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    cases = [Case(name) for name in electrodes_in(arguments.data)]
    results = run(cases, partial(measured, arguments.data), arguments.out)
    content = {case.condition: result["found"] for case, result in results.items()}
    publish("grey_scale", content, report(content))


def measured(data: Path, case: Case, folder: Path) -> dict[str, Any]:
    """Drift of an electrode's grey values, and the mIU of each variant."""
    *train, left_out = split_of(data / case.condition).train
    with tempfile.TemporaryDirectory(dir=folder) as room:
        split = Electrode(data / case.condition, Split(tuple(train), (left_out,)), Path(room))
        images = np.concatenate([split.images("train"), split.images("test")])
        low, high = np.percentile(images, [0.1, 99.9])
        drift = intensity.drift(list(images), low, high)
        scores = {variant: miu(split, *how) for variant, how in VARIANTS.items()}
    return {"found": {"drift": drift, "miu": scores}}


def report(content: dict[str, Any]) -> str:
    """A row an electrode."""
    rows = [
        [name, f"{entry['drift']:.3f}", *(f"{value:.3f}" for value in entry["miu"].values())]
        for name, entry in content.items()
    ]
    text = [
        "# One grey scale for a volume, or one a slice?",
        "",
        "`python benchmarks/grey_scale.py DATA OUT`. Training slices of LRCS only: three train,",
        "the fourth is predicted; mIU of UGSM, preset quick, one seed. Drift: scatter of the",
        "slices' own 0.1 and 99.9 percentiles in parts of the volume's range. Per cent: clipped",
        "tails.",
        "",
        grid(["", "drift", *VARIANTS], rows),
    ]
    return "\n".join(text)


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
