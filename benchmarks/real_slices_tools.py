"""The programs among the rows of real_slices.py: MatPhase's command line, and nnU-Net."""

import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from electrodes import Electrode, Images, Labels
from nnunet_cases import NnUNet
from numpy.typing import NDArray
from real_slices_peers import Answer, timed

import matphase as mp
from matphase.settings import Settings
from matphase.support.seeds import mix

NNUNET_MEMORY = 1.0
"""In GB: what nnU-Net plans for; smaller patches than by default, for more iterations."""


def matphase(preset: str, slices: Electrode, seed: int, _: int) -> dict[str, Answer]:
    """`matphase train` and `predict`, as a user runs them.

    Args:
        preset: name of a preset; behind a colon another dropout of UGSM.
        slices: of an electrode.
        seed: random seed.

    Returns:
        The final answer, and that of UGSM where a refiner stands behind it.
    """
    folder = slices.folder
    name, _colon, dropout = preset.partition(":")
    model, out = folder / f"model_{seed}", folder / f"phases_{seed}.tif"
    settings = {"ugsm.dropout": dropout} if dropout else {}
    if Settings.preset(name).slices > 1:
        # the images are single slices of a stack, and not neighbours
        settings |= {"ugsm.slices": "1", "lcgar.slices": "1"}
    train = [
        *("train", "--images", folder / "train/images", "--labels", folder / "train/labels"),
        *("--label-map", slices.label_map, "--out", model, "--preset", name, "--seed", seed),
        *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
    ]
    predict = ["predict", model, folder / "test/images", "--out", out, "--probabilities"]
    trained = timed(partial(call, train))[1]
    predicted = timed(partial(call, predict))[1]
    found = mp.open_prediction(out)
    record = tomllib.loads((model / "config.toml").read_text("utf-8"))["training"]
    # a single slice is predicted as one, without an axis z
    stack = (-1, *found.shape[-2:])
    labels, alone, entropy = (
        np.reshape(one, stack) for one in (found.indices, found.global_indices, found.entropy)
    )
    shares = np.reshape(found.probabilities, (len(slices.phases), *stack))
    facts = {key: record[key] for key in ("alignment", "search") if key in record}
    answers = {
        preset: Answer(labels, trained, predicted, np.moveaxis(shares, 0, 1), entropy, facts)
    }
    if not np.array_equal(labels, alone):
        answers[f"{preset}_ugsm"] = Answer(alone, trained, predicted, uncertainty=entropy)
    return answers


def call(words: Iterable[object]) -> None:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "matphase", *map(str, words), "--quiet"]
    subprocess.run(command, check=True)


def nnunet(
    python: str, minutes: str, folder: Path, slices: Electrode, seed: int, _: int
) -> dict[str, Answer]:
    """nnU-Net 2D, trained for some minutes.

    Args:
        python: interpreter of its environment.
        minutes: of training, in CPU time.
        folder: takes its files while it runs, and its log.
        slices: of an electrode.
        seed: random seed.
    """
    labels = slices.labels("train")
    files = slices.split.test
    found, facts = NnUNet(python, "2d", float(minutes), NNUNET_MEMORY).answer(
        (one_by_one(slices.images("train")), one_by_one(labels)),
        one_by_one(slices.images("test")),
        slices.phases,
        (1.0, 1.0, 1.0),
        seed=mix(seed, "nnU-Net") % 2**32,
        folder=folder,
    )
    probabilities = np.stack([found[f"slice_{z}"][:, 0] for z in range(len(files))])
    seconds = facts["seconds_by_step"]
    train, predict = (
        {"cpu": round(seconds[f"{step}_cpu"], 2), "clock": round(seconds[step], 2)}
        for step in ("train", "predict")
    )
    return {f"nnunet:{minutes}": Answer.of(probabilities, train, predict, nnunet=facts)}


def one_by_one(stack: NDArray[Any]) -> Iterator[tuple[str, Images | Labels]]:
    """Each slice as a stack of its own."""
    for z, plane in enumerate(stack):
        yield f"slice_{z}", plane[np.newaxis]


def title(row: str) -> str:
    """A row as the tables name it."""
    name, _, number = row.removesuffix("_ugsm").partition(":")
    if name == "nnunet":
        return f"nnU-Net 2D, {number} min"
    text = f"preset `{name}`" + (f" with dropout {number}" if number else "")
    return f"UGSM, {text}" if row.endswith("_ugsm") else f"MatPhase, {text}"
