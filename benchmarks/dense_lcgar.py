"""Aggregation with LCGAR patch by patch, and on whole slices: operations and times in one run.

    python benchmarks/dense_lcgar.py [NOTE]

Slices have the size of the virtual electrode's; the uncertain pixels are drawn at random, since
neither way depends on where they are. Networks are not trained, which takes the same time. All
sides of a ratio take turns within a round. NOTE, a sentence on the machine, goes into the results.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from common import publish

from matphase.method import lcgar
from matphase.method.aggregate import aggregate
from matphase.method.results import GlobalPrediction, LocalPrediction, Partition
from matphase.networks import cost
from matphase.networks.dense_lcgar import costs
from matphase.reproduce.page import grid
from matphase.reproduce.timing import median_seconds
from matphase.settings import LCGARSettings, Settings
from matphase.support.device import running

ROUNDS = 3
SLICES, HEIGHT, WIDTH = 2, 224, 256
SHARES = (0.01, 0.05, 0.1, 0.2, 0.4, 1.0)
SHARE_OF_OTHERS = 0.2
SIDES = (17, 25)
"""The other patches of the paper's table 5, measured at one share."""


def main() -> None:
    """Measure, and write results/dense_lcgar.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("note", nargs="?", default="", help="a sentence on the machine")
    note = parser.parse_args().note
    torch.manual_seed(0)
    rows = [measure(11, share) for share in SHARES]
    rows += [measure(h, SHARE_OF_OTHERS) for h in SIDES]
    content: dict[str, Any] = {
        "note": note,
        "threads": torch.get_num_threads(),
        "operations": [operations(h) for h in (11, *SIDES)],
        "aggregation": rows,
    }
    publish("dense_lcgar", content, report(content))


def operations(h: int) -> dict[str, float]:
    """Multiply-accumulates a pixel where every pixel is asked for."""
    settings = Settings(lcgar=LCGARSettings(h=h))
    patch, logits = torch.zeros(1, 4, h, h), torch.zeros(1, 3)
    counted = costs(LCGARSettings(h=h, padding="image"), 3, HEIGHT, WIDTH)
    pixels = HEIGHT * WIDTH
    return {
        "h": h,
        "paper": cost.macs(lcgar.build(3, settings), patch, logits),
        "patches": counted.patch,
        "whole": counted.cheapest(pixels) / pixels,
        "share_from_which_whole": counted.maps / (counted.patch - counted.pixel) / pixels,
    }


def measure(h: int, share: float) -> dict[str, float]:
    """Seconds of all three ways, and how far the last two are apart."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (SLICES, HEIGHT, WIDTH)).astype(np.float32)
    logits = rng.normal(size=(SLICES, 3, HEIGHT, WIDTH)).astype(np.float32)
    known = GlobalPrediction(logits.argmax(1).astype(np.uint8), logits, images)
    partition = Partition(rng.random(images.shape) < share, images)
    stack = images[:, np.newaxis]
    paper = Settings(lcgar=LCGARSettings(h=h))
    image = Settings(lcgar=LCGARSettings(h=h, padding="image"))
    networks = {settings.lcgar.padding: lcgar.build(3, settings) for settings in (paper, image)}

    def predicted(settings: Settings) -> LocalPrediction:
        return lcgar.predict(networks[settings.lcgar.padding], stack, known, partition, settings)

    def one_by_one() -> LocalPrediction:
        inputs = lcgar.LocalInputs.of(stack, known, partition, image.lcgar)
        with running(networks["image"], "auto"):
            batches = inputs.batches(np.nonzero(partition.idk), lcgar.PATCHES_PER_PASS)
            answers = [networks["image"](*batch).float().softmax(1).numpy() for batch in batches]
        probabilities = np.concatenate(answers)
        return LocalPrediction(probabilities.argmax(1).astype(np.uint8), probabilities)

    ways: dict[str, Callable[[], LocalPrediction]] = {
        "paper": lambda: predicted(paper),
        "patches": one_by_one,
        "whole": lambda: predicted(image),
    }
    predicted(image)  # counts operations, once a process
    answers = {}

    def aggregated(name: str) -> None:
        answers[name] = ways[name]()
        aggregate(known, partition, answers[name])

    seconds = median_seconds({name: partial(aggregated, name) for name in ways}, ROUNDS, warm_up=0)
    apart = np.abs(answers["whole"].probabilities - answers["patches"].probabilities).max()
    return {
        "h": h,
        "share": share,
        "pixels": int(partition.idk.sum()),
        **{f"{name}_s": value for name, value in seconds.items()},
        "largest_difference": float(apart),
        "labels_that_differ": int((answers["whole"].labels != answers["patches"].labels).sum()),
    }


def report(content: dict[str, Any]) -> str:
    """The figures as Markdown."""
    counted = grid(
        [
            "h",
            "paper, by patches",
            "without padding, by patches",
            "on whole slices",
            "paper / whole",
            "whole slices are cheaper from",
        ],
        [
            [
                str(row["h"]),
                f"{row['paper']:,.0f}",
                f"{row['patches']:,.0f}",
                f"{row['whole']:,.0f}",
                f"**{row['paper'] / row['whole']:.0f}**",
                f"{100 * row['share_from_which_whole']:.2f} % uncertain",
            ]
            for row in content["operations"]
        ],
    )
    times = grid(
        [
            "h",
            "uncertain",
            "paper, by patches",
            "without padding, by patches",
            "without padding, as `predict` chooses",
            "paper / chosen",
            "by patches / chosen",
        ],
        [
            [
                str(row["h"]),
                f"{100 * row['share']:.0f} %",
                f"{row['paper_s']:.3f} s",
                f"{row['patches_s']:.3f} s",
                f"{row['whole_s']:.3f} s",
                f"**{row['paper_s'] / row['whole_s']:.1f}**",
                f"**{row['patches_s'] / row['whole_s']:.1f}**",
            ]
            for row in content["aggregation"]
        ],
    )
    apart = max(row["largest_difference"] for row in content["aggregation"])
    differ = sum(row["labels_that_differ"] for row in content["aggregation"])
    return f"""# LCGAR on whole slices

`python benchmarks/dense_lcgar.py`; {SLICES} slices of {HEIGHT} x {WIDTH}, three phases, all inputs
on; threads: {content["threads"]}.

{content["note"]}

"Paper" is LCGAR of table 4 (`padding = "zeros"`), which has to go patch by patch; "without padding"
is `padding = "image"`, whose patches are 12 px larger.

## Multiply-accumulates a pixel, every pixel asked for

{counted}

## Seconds of aggregation: LCGAR's inputs, LCGAR, writing back

Medians of {ROUNDS} rounds, sides taking turns.

{times}

By patches and on whole slices the same network's probabilities differ by {apart:.0e} at most,
and the labels of {differ} pixels.
"""


if __name__ == "__main__":
    main()
