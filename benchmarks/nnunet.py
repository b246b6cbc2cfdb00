"""nnU-Net beside MatPhase: the same slices, the same training time, one CPU thread each.

    python benchmarks/nnunet.py OUT --nnunet-python VENV/bin/python [--minutes M] [--workers 2]

nnU-Net has an environment of its own, which knows nothing of MatPhase:

    python -m venv VENV
    VENV/bin/pip install nnunetv2 'torch<2.14'

Electrodes, split and scores are those of ablation.py (recipe `paper`, protocol `small`, split
blocked). nnU-Net gets the training slices with their measured labels: 2d one case a slice,
3d_fullres the whole block as one case. It predicts the test slices; 3d_fullres sees all of the
stack that it was not trained on. Planning, preprocessing, network, loss, augmentation and
prediction are nnU-Net's own. What a CPU and the time force:

- Training ends after a time instead of 1000 epochs, with the learning rate falling over that time
  (nnunet_environment/timed_trainer.py). It is CPU time, so that other work on the machine costs
  nnU-Net nothing; planning and preprocessing are not counted.
- All training cases train, none are held back for its five folds (its fold "all").
- Augmentation runs in the training's thread.

Phases are nnU-Net's labels 1, 2, 3, since its Dice leaves out label 0, the background, of which
there is none here. The default time is the mean that `fit` of the best MatPhase took in
results/ablation.json. OUT keeps the result of each configuration and seed; a run
that was stopped goes on.
Writes results/nnunet.{json,md}; with --preset quick the tables are printed instead.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ablation_tables import (
    BEST,
    DETAILS,
    FIT_LIKE_BEST,
    PAPER,
    PHASES,
    TRUTHS,
    Seeds,
    ablated,
    details,
    gain,
    means,
    reproduced,
    seen_by,
)
from common import publish
from nnunet_cases import GPU_MEMORY, READERS, NnUNet, Stacks, has_nnunet
from numpy.typing import NDArray

from matphase.learning.splits import Split, blocked_split
from matphase.reproduce.data import Source, electrode
from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import difference_cell, grid
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.results import claim
from matphase.reproduce.scoring import scores_by_truth
from matphase.support.seeds import mix
from matphase.support.text import times

COMPARED = "small"
"""The protocol for which rows of MatPhase are recorded."""
MATPHASE = "MatPhase (paper)"


Cases = dict[str, NDArray[np.int64]]
"""The slices of each image that nnU-Net gets, by the image's name."""


def main() -> None:
    """Run what is missing, and write results/nnunet.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--nnunet-python", required=True, help="has nnunetv2")
    parser.add_argument("--preset", default=COMPARED)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, help="of training")
    parser.add_argument("--configurations", default=",".join(READERS))
    parser.add_argument("--gpu-memory", type=float, default=GPU_MEMORY, help="planned for, in GB")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time, a core each")
    arguments = parser.parse_args()
    configurations = arguments.configurations.split(",")
    if unknown := set(configurations) - set(READERS):
        parser.error(f"no configuration {', '.join(sorted(unknown))}; choose {', '.join(READERS)}")
    minutes = arguments.minutes or recorded_minutes()
    if minutes is None:
        parser.error("results/ablation.json does not say how long MatPhase trains; give --minutes")
    if not has_nnunet(arguments.nnunet_python):
        parser.error(f"{arguments.nnunet_python} cannot import nnunetv2; install it as said above")
    protocol = Protocol.named(arguments.preset)
    conditions = {
        "preset": arguments.preset,
        "minutes": minutes,
        "gpu_memory_gb": arguments.gpu_memory,
    }
    # results of other conditions stay apart
    folder = arguments.out / f"{arguments.preset}_{minutes:g}min_{arguments.gpu_memory:g}GB"
    claim(folder, conditions)
    electrodes = arguments.out / "electrodes"
    for seed in range(arguments.seeds):
        source_of(electrodes, protocol, seed)
    cases = [
        Case(configuration, seed)
        for seed in range(arguments.seeds)
        for configuration in configurations
    ]
    compute = partial(work, conditions, electrodes, arguments.nnunet_python)
    results = run(cases, compute, folder, workers=arguments.workers)
    found: dict[str, list[dict[str, Any]]] = {configuration: [] for configuration in configurations}
    for case, result in results.items():
        found[case.condition].append(result)
    content = {**conditions, "seeds": arguments.seeds, "results": found}
    text = report(content)
    if arguments.preset == "quick":
        print(text)
    else:
        publish("nnunet", content, text)


def recorded_minutes() -> float | None:
    """How long the best MatPhase trained in the ablation, mean over seeds; None if not recorded."""
    rows = ablated(COMPARED).get(PAPER, {}).get(FIT_LIKE_BEST, [])
    found = [one["fit"]["cpu_seconds"] for one in rows]
    seconds = [one for one in found if one is not None]
    return round(float(np.mean(seconds)) / 60, 1) if seconds else None


# --- one run --------------------------------------------------------------------------------------


def source_of(electrodes: Path, protocol: Protocol, seed: int) -> Source:
    """The electrode of a seed, simulated once."""
    return electrode(protocol, seed, electrodes / f"{protocol.preset}_{seed}")


def work(
    conditions: dict[str, Any], electrodes: Path, python: str, case: Case, folder: Path
) -> dict[str, Any]:
    """Hand over the slices, let nnU-Net train and predict, and score."""
    configuration, protocol = case.condition, Protocol.named(conditions["preset"])
    source = source_of(electrodes, protocol, case.seed)
    split = blocked_split(source.images.n_slices)
    tested = split.test[:: protocol.test_every]
    asked = NnUNet(python, configuration, conditions["minutes"], conditions["gpu_memory_gb"])
    known = PHASES.encode(np.stack([source.measured.slice(int(z)) for z in split.train]))
    training = training_cases(configuration, split)
    labels = ((name, known[np.isin(split.train, z)]) for name, z in training.items())
    cases = test_cases(configuration, split, tested)
    found, facts = asked.answer(
        (images_of(source, training), labels),
        images_of(source, cases),
        PHASES,
        source.images.voxel_size or (1.0, 1.0, 1.0),
        seed=mix(case.seed, "nnU-Net", configuration) % 2**32,
        folder=folder,
    )
    by_slice = {
        int(z): found[name][:, index]
        for name, slices in cases.items()
        for index, z in enumerate(slices)
    }
    return {"seed": case.seed, **facts, **scored(source, tested, by_slice, protocol)}


def training_cases(configuration: str, split: Split) -> Cases:
    """A case a slice in 2D; in 3D the whole block, so that patches may be as deep as it is."""
    return one_by_one(split.train) if configuration == "2d" else {"block": split.train}


def test_cases(configuration: str, split: Split, tested: NDArray[np.int64]) -> Cases:
    """The slices that are scored; in 3D all from the end of training on, to see around them."""
    if configuration == "2d":
        return one_by_one(tested)
    return {"block": np.arange(split.train[-1] + 1, split.test[-1] + 1)}


def one_by_one(slices: NDArray[np.int64]) -> Cases:
    """Each slice an image of its own."""
    return {f"slice_{z:04d}": np.array([z]) for z in slices}


def images_of(source: Source, cases: Cases) -> Stacks:
    """Grey stacks (n, h, w) of the cases."""
    for name, slices in cases.items():
        yield name, np.stack([source.images.slice(int(z)) for z in slices])


def scored(
    source: Source,
    tested: NDArray[np.int64],
    by_slice: dict[int, NDArray[np.float32]],
    protocol: Protocol,
) -> dict[str, Any]:
    """Scores and confusions by block, as the ablation has them."""
    probabilities = np.stack([by_slice[int(z)] for z in tested]).astype(np.float32)
    answer = probabilities.argmax(1).astype(np.uint8)
    assert source.exact is not None  # the electrode is virtual
    measured = PHASES.encode(np.stack([source.measured.slice(int(z)) for z in tested]))
    truths = {"measured": measured, "exact": source.exact[tested]}
    return scores_by_truth(truths, answer, probabilities, PHASES, protocol.block)


# --- the tables -----------------------------------------------------------------------------------


def matphase_rows(preset: str, seeds: int) -> dict[str, Seeds]:
    """What MatPhase reached on these seeds, as far as it is recorded."""
    rows = {
        MATPHASE: reproduced(preset).get("lcgar_matphase", {}),
        "MatPhase (best)": seen_by(BEST, ablated(preset).get(PAPER, {})),
    }
    return {title: found for title, found in rows.items() if found.keys() >= set(range(seeds))}


def report(content: dict[str, Any]) -> str:
    """The tables as Markdown."""
    found = content["results"]
    first = next(iter(found.values()))[0]
    planned = content["gpu_memory_gb"]
    memory = (
        f"{planned:g} GB of GPU memory, its default"
        if planned == GPU_MEMORY
        else f"{planned:g} GB of GPU memory in place of {GPU_MEMORY:g}, for more iterations"
    )
    text = [
        "# nnU-Net on the same slices",
        f"nnU-Net {first['nnunetv2']} (torch {first['torch']}), {content['minutes']:g} min of "
        "training on one CPU thread; recipe `paper`, preset "
        f"`{content['preset']}` of `matphase reproduce`, split blocked; mean ± SD over "
        f"{content['seeds']} seeds, and MatPhase minus nnU-Net in mIU, with a 95 % interval "
        "(paired block bootstrap of seeds and blocks). MatPhase was not measured again: its rows "
        "are those of the reproduction and the ablation.",
        scores_table(found, matphase_rows(content["preset"], content["seeds"])),
        "## What nnU-Net planned and did",
        f"Planned for {memory}. Its own schedule is 250 000 iterations. Seconds are those of the "
        "clock, but for training, which is CPU time; means over seeds.",
        plans_table(found),
        "Unlike nnU-Net's defaults: training ends after the time given, over which the learning "
        'rate falls; all training cases train (its fold "all"); augmentation runs in the '
        "training's thread. 3d_fullres sees all slices beyond the training block when it predicts.",
    ]
    return "\n\n".join(text)


def scores_table(found: dict[str, list[dict[str, Any]]], matphase: dict[str, Seeds]) -> str:
    """nnU-Net, then MatPhase with its difference from each configuration."""
    nnunet = {name: {one["seed"]: one for one in seeds} for name, seeds in found.items()}
    header = ["", *(f"mIU {truth}" for truth in TRUTHS), *DETAILS]
    header += [f"minus nnU-Net {name} (exact)" for name in nnunet]
    rows = {**{f"nnU-Net {name}": seeds for name, seeds in nnunet.items()}, **matphase}
    lines = []
    for title, seeds in rows.items():
        gains = (
            difference_cell(gain(seeds, other, "exact")) if title in matphase else ""
            for other in nnunet.values()
        )
        lines.append([title, *means(seeds), *details(seeds), *gains])
    return grid(header, lines)


def plans_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Patch, batch and network, iterations and seconds."""
    steps = {"prepare": "prepare s", "train_cpu": "train s", "predict": "predict s"}
    header = ["", "patch", "batch", "features a stage", "parameters", "iterations", *steps.values()]
    lines = [
        [
            configuration,
            times(seeds[0]["patch"]),
            str(seeds[0]["batch"]),
            ", ".join(map(str, seeds[0]["features"])),
            f"{seeds[0]['parameters'] / 1e6:.1f} M",
            ", ".join(str(one["iterations"]) for one in seeds),
            *(f"{np.mean([one['seconds_by_step'][step] for one in seeds]):.0f}" for step in steps),
        ]
        for configuration, seeds in found.items()
    ]
    return grid(header, lines)


if __name__ == "__main__":
    main()
