"""How well the base model names the phases of real slices of which it has seen no label.

    python benchmarks/base_model_scores.py DATA [--model FOLDER] [--publish]

DATA is a folder of electrodes, each with the folders images and labels; all slices are scored, by
the model that comes with MatPhase or the one in FOLDER, beside Otsu's thresholds between three
classes, each slice by its own. With --publish the table is written to results/base_model.{json,md}.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import publish
from numpy.typing import NDArray
from skimage.filters import threshold_multiotsu

import matphase as mp
from matphase.reproduce.page import grid
from matphase.scores.evaluation import score_row

LABELS = "active_material=0,carbon_binder=1,pore=2"


def main() -> None:
    """Score each electrode, and print or publish the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="base")
    parser.add_argument("--label-map", default=LABELS)
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    phases = mp.PhaseTable.parse(arguments.label_map)
    model = mp.load(arguments.model)
    found = {
        folder.parent.name: scores_of(folder.parent, model, phases)
        for folder in sorted(arguments.data.glob("*/images"))
    }
    content = {"scores": found, "record": model._trained.record if model._trained else {}}
    if arguments.publish:
        publish("base_model", content, report(content))
    else:
        print(report(content))


def scores_of(
    electrode: Path, model: mp.MatPhase, phases: mp.PhaseTable
) -> dict[str, dict[str, float]]:
    """Scores of both methods over all slices of an electrode."""
    images = mp.open(electrode / "images", name=electrode.name)
    truth = phases.encode(np.asarray(mp.open(electrode / "labels")))
    own = model.predict(images).indices
    order = np.array([phases.index(name) for name in model.phases.names], np.uint8)
    answers = {"base model": order[own], "Otsu": by_thresholds(np.asarray(images), phases)}
    return {
        name: {
            key: round(float(value), 4)
            for key, value in score_row(truth, answer, phases).items()
            if isinstance(value, float)
        }
        for name, answer in answers.items()
    }


def by_thresholds(images: NDArray[Any], phases: mp.PhaseTable) -> NDArray[np.uint8]:
    """Phases by two thresholds of each slice: pore darkest, active material brightest."""
    rising = [phases.index(name) for name in ("pore", "carbon_binder", "active_material")]
    classes = [np.digitize(one, threshold_multiotsu(one, 3)) for one in images]
    return np.array(rising, np.uint8)[np.stack(classes)]


def report(content: Mapping[str, Any]) -> str:
    """A row for each electrode and method."""
    rows = [
        [electrode, name, *(f"{value:.3f}" for value in row.values())]
        for electrode, both in content["scores"].items()
        for name, row in both.items()
    ]
    first = next(iter(next(iter(content["scores"].values())).values()))
    return "\n".join(
        [
            "# The base model on real slices",
            "",
            "`python benchmarks/base_model_scores.py DATA`. All slices of each electrode, of which "
            "the model has seen no label and no image; one model.",
            "",
            grid(["electrode", "method", *first], rows),
        ]
    )


if __name__ == "__main__":
    main()
