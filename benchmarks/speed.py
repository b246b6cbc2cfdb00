"""Speed, side by side in one run: number formats, LCGAR, dropout, features, forest, start-up.

    python benchmarks/speed.py

Nothing else should run on the machine meanwhile. Each figure is the median of several rounds, and
the two sides of a ratio take turns within a round.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import publish
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import ExtraTreesClassifier
from torch.nn import functional as F

from matphase.method import classical, lcgar
from matphase.method.results import GlobalPrediction, Partition
from matphase.networks.dropout import random_mask
from matphase.networks.features import FINER, SCALES, TRUNCATE, FeatureBank
from matphase.networks.unet import UNet
from matphase.reproduce.page import grid
from matphase.reproduce.timing import median_seconds
from matphase.settings import Settings
from matphase.support.device import running

ROUNDS = 7
SLICES, HEIGHT, WIDTH = 8, 224, 256


def main() -> None:
    """Measure, and write results/speed.{json,md}."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    content = {
        "number_formats": [number_formats(width) for width in (16, 32)],
        "local": local_model(),
        "dropout": dropout_masks(),
        "features": classical_features(),
        "forest": forest(),
        "start_up": start_up(),
    }
    publish("speed", content, report(content))


def number_formats(width: int) -> dict[str, float]:
    """A U-Net in bfloat16 with channels last, against plain float32."""
    sides = {name: unet_steps(width, half=half) for name, half in (("fp32", False), ("bf16", True))}
    out: dict[str, float] = {"width": width}
    for number, work in enumerate(("training", "inference")):
        times = median_seconds({name: steps[number] for name, steps in sides.items()}, ROUNDS)
        for name, seconds in times.items():
            out[f"{work}_{name}_s"] = seconds
        out[f"{work}_ratio"] = times["fp32"] / times["bf16"]
    return out


def unet_steps(width: int, *, half: bool) -> tuple[Callable[[], None], Callable[[], None]]:
    """One training step and one inference pass over 8 slices."""
    torch.manual_seed(0)
    layout = torch.channels_last if half else torch.contiguous_format
    network, still = UNet(1, 3, width), UNet(1, 3, width).eval()
    for one in (network, still):
        one.to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters())
    images = torch.rand(SLICES, 1, HEIGHT, WIDTH).contiguous(memory_format=layout)
    labels = torch.randint(0, 3, (SLICES, HEIGHT, WIDTH))

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(network(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def infer() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            still(images)

    return train, infer


def local_model() -> dict[str, float]:
    """LCGAR on the uncertain pixels of 8 slices, and its network alone on ready patches."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (SLICES, HEIGHT, WIDTH)).astype(np.float32)
    logits = rng.normal(size=(SLICES, 3, HEIGHT, WIDTH)).astype(np.float32)
    idk = rng.random(images.shape) < 0.2
    known = GlobalPrediction(logits.argmax(1).astype(np.uint8), logits, images)
    partition, stack = Partition(idk, images), images[:, np.newaxis]
    settings = Settings()
    network = lcgar.build(3, settings)
    inputs = lcgar.LocalInputs.of(stack, known, partition, settings.lcgar)
    ready = list(inputs.batches(np.nonzero(idk), lcgar.PATCHES_PER_PASS))

    def alone() -> None:
        with running(network, "auto"):
            for batch in ready:
                network(*batch)

    def whole() -> None:
        lcgar.predict(network, stack, known, partition, settings)

    times = median_seconds({"network_alone": alone, "whole": whole}, ROUNDS)
    return {
        "pixels": int(idk.sum()),
        "network_alone_pixels_per_s": idk.sum() / times["network_alone"],
        "whole_pixels_per_s": idk.sum() / times["whole"],
        "share_of_network_speed": times["network_alone"] / times["whole"],
    }


def dropout_masks() -> dict[str, float]:
    """A mask for 8 slices of 16 channels: torch's bernoulli against 16-bit parts of words."""
    shape = (SLICES, HEIGHT, WIDTH, 16)
    cpu = torch.device("cpu")
    return median_seconds(
        {
            "bernoulli_s": lambda: torch.empty(shape, dtype=torch.bool).bernoulli_(0.5),
            "random_mask_s": lambda: random_mask(shape, 0.5, cpu),
        },
        ROUNDS,
    )


def classical_features() -> dict[str, float]:
    """Pixels of the slice per second: our features, and those of two libraries."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(512, 640)).astype(np.float32)
    bank, planes = FeatureBank().eval(), torch.from_numpy(image)[None, None]
    both = planes.repeat(1, 2, 1, 1)

    def ours(planes: torch.Tensor) -> None:
        with torch.inference_mode():
            for _ in bank.strips(planes):
                pass

    sides: dict[str, Callable[[], object]] = {
        "one_scale": lambda: ours(planes),
        "two_scales": lambda: ours(both),
        # each filter by itself, in C
        "scipy": lambda: scipy_features(image),
        # other features, with as many threads as there are cores
        "skimage": lambda: multiscale_basic_features(image, sigma_min=1, sigma_max=8),
    }
    times = median_seconds(sides, ROUNDS)
    return {
        "threads": torch.get_num_threads(),
        "count": bank.count,
        **{f"{name}_pixels_per_s": image.size / seconds for name, seconds in times.items()},
    }


def scipy_features(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The features of `FeatureBank`, on the image itself at all scales."""
    found = [image]
    for sigma in (sigma for level in SCALES for sigma in level):

        def smooth(order: tuple[int, int], width: float = sigma) -> NDArray[np.float32]:
            return gaussian_filter(image, width, order, truncate=TRUNCATE)

        plain, y, x = smooth((0, 0)), smooth((1, 0)), smooth((0, 1))
        yy, xx, yx = smooth((2, 0)), smooth((0, 2)), smooth((1, 1))
        middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
        finer = smooth((0, 0), FINER * sigma)
        found += [plain, plain - finer, np.hypot(y, x), yy + xx, middle + half, middle - half]
    return found


def forest() -> dict[str, float]:
    """Pixels per second of a forest: as arrays, and by scikit-learn, with one thread."""
    rng = np.random.default_rng(0)
    settings = Settings().classical
    values = rng.normal(size=(20_000, 2 * FeatureBank().count)).astype(np.float32)
    labels = np.digitize(values[:, :9].sum(axis=1) + rng.normal(0, 3, 20_000), [-3, 3])
    model = ExtraTreesClassifier(
        settings.trees,
        max_depth=settings.depth,
        min_samples_leaf=classical.LEAF,
        random_state=0,
    ).fit(values, labels)
    network = classical.fit(values, labels.astype(np.uint8), 3, settings, 0)
    new = rng.normal(size=(2**17, values.shape[1])).astype(np.float32)
    columns = torch.from_numpy(new.T.copy())
    threads = torch.get_num_threads()

    def arrays() -> None:
        with torch.inference_mode():
            network(columns)

    torch.set_num_threads(1)
    try:
        times = median_seconds(
            {"arrays": arrays, "scikit-learn": lambda: model.predict_proba(new)}, ROUNDS
        )
    finally:
        torch.set_num_threads(threads)
    return {f"{name}_pixels_per_s": len(new) / seconds for name, seconds in times.items()}


def start_up() -> dict[str, float]:
    """Seconds for help, and for importing the package."""
    commands = {
        "help_s": ["-m", "matphase", "--help"],
        "import_s": ["-c", "import matphase"],
        "python_s": ["-c", ""],
    }

    def runner(arguments: list[str]) -> Callable[[], object]:
        command = [sys.executable, *arguments]
        return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return median_seconds({name: runner(words) for name, words in commands.items()}, ROUNDS)


def report(content: dict[str, Any]) -> str:
    """The figures as Markdown."""
    formats = grid(
        ["U-Net width", "training fp32 / bf16", "ratio", "inference fp32 / bf16", "ratio"],
        [
            [
                str(row["width"]),
                *(
                    text
                    for work in ("training", "inference")
                    for text in (
                        f"{row[f'{work}_fp32_s']:.3f} s / {row[f'{work}_bf16_s']:.3f} s",
                        f"**{row[f'{work}_ratio']:.2f}**",
                    )
                ),
            ]
            for row in content["number_formats"]
        ],
    )
    local, start, drawn = content["local"], content["start_up"], content["dropout"]
    maps, trees = content["features"], content["forest"]
    gain = drawn["bernoulli_s"] / drawn["random_mask_s"]
    return f"""# Speed

`python benchmarks/speed.py`; medians of {ROUNDS} rounds, sides taking turns.

## Number formats

One training step and one pass over {SLICES} slices of {HEIGHT} x {WIDTH}: float32, against bfloat16
autocast with channels last (what MatPhase uses where the CPU has bfloat16 instructions).

{formats}

## LCGAR: patches, network, writing back

{local["pixels"]} uncertain pixels of {SLICES} slices, h = 11: the network alone on ready patches
{local["network_alone_pixels_per_s"]:,.0f} pixels/s, gathering and network and writing back
{local["whole_pixels_per_s"]:,.0f} pixels/s:
**{local["share_of_network_speed"]:.2f}** of the network's own speed.

## Dropout masks

A mask for {SLICES} maps of 16 channels: `torch.bernoulli` {drawn["bernoulli_s"]:.3f} s,
`random_mask` {drawn["random_mask_s"]:.3f} s: **{gain:.1f}** times as fast.

## Classical features

{maps["count"]} maps of a slice of 512 x 640, {maps["threads"]} threads:
{maps["one_scale_pixels_per_s"]:,.0f} pixels/s at one grey scale,
{maps["two_scales_pixels_per_s"]:,.0f} at two. The same features by scipy.ndimage, one thread:
{maps["scipy_pixels_per_s"]:,.0f}. scikit-image's `multiscale_basic_features`, fewer maps:
{maps["skimage_pixels_per_s"]:,.0f}.

A forest as arrays, one thread: {trees["arrays_pixels_per_s"]:,.0f} pixels/s; scikit-learn's own:
{trees["scikit-learn_pixels_per_s"]:,.0f}.

## Start-up

`matphase --help` {start["help_s"]:.2f} s, `import matphase` {start["import_s"]:.2f} s,
Python itself {start["python_s"]:.2f} s.
"""


if __name__ == "__main__":
    main()
