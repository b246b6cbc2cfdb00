"""The base model: a U-Net that learns from virtual electrodes alone, which differ in everything.

    python benchmarks/base_model.py pool OUT      # simulates the electrodes, OUT/pool/*.npz
    python benchmarks/base_model.py train OUT     # trains on them; OUT/STEPS/base.safetensors
    python benchmarks/base_model.py score OUT DATA
    python benchmarks/base_model.py show OUT      # a picture of examples, OUT/examples.png

Every part goes on where it was stopped, and the training may begin while electrodes are still being
simulated. DATA is a folder of electrodes with the folders images and labels, whose slices are
predicted by a network that never saw a label of them.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from base_model_examples import CROP, SIDE, SLICES, Examples, Growing

import matphase as mp
from matphase.images.grey_scale import IntensityScale
from matphase.learning import trainer
from matphase.learning.batches import Draw
from matphase.learning.loss import weighted_cross_entropy
from matphase.learning.run import Run
from matphase.learning.weight_files import load_weights
from matphase.method import model_folder, start, ugsm
from matphase.method.calibrator import Calibrator
from matphase.method.model import Model
from matphase.networks import registry
from matphase.settings import Settings
from matphase.support.errors import InputError
from matphase.support.files import atomic_write
from matphase.support.progress import Reporter
from matphase.support.seeds import mix
from matphase.virtual import VirtualElectrode
from matphase.virtual.variety import random_recipe

ELECTRODES = 144
BATCH_SIZE = 6
WEIGHTS = np.array([1.15, 1.15, 0.7], np.float32)
"""Of pore, carbon-binder, active material: the root of their inverse shares."""
SETTINGS = Settings.from_mapping(
    {
        "model": "unet",
        "data": {
            "copies": 1,
            "smooth_labels": False,
            "crop": CROP,
            "flips": True,
            "scale": "both",
        },
        "ugsm": {
            "width": 16,
            "depth": 4,
            "dropout": 0.0,
            "samples": 1,
            "tta": True,
            "epochs": 1,
            "batch_size": BATCH_SIZE,
            "learning_rate": 2e-3,
        },
    }
)


def path_of(out: Path, electrode: int) -> Path:
    """File of an electrode."""
    return out / "pool" / f"{electrode:04d}.npz"


def simulate(out: Path, electrode: int) -> Path:
    """Simulate an electrode, unless it is there."""
    path = path_of(out, electrode)
    attempt = 0
    while not path.exists():
        seed = mix(electrode, "base model", attempt)
        try:
            made = VirtualElectrode.simulate(random_recipe(seed, (SLICES, SIDE, SIDE)), seed=seed)
        except InputError as error:  # particles that do not fill the space, for instance
            print(f"electrode {electrode}: {error}", file=sys.stderr, flush=True)
            attempt += 1
            continue
        image = (made.image - made.image.mean()) / max(float(made.image.std()), 1e-9)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, overwrite=True) as beside, beside.open("wb") as file:
            np.savez_compressed(file, image=image.astype(np.float16), labels=made.labels)
    return path


def pool(out: Path) -> None:
    """Simulate all electrodes that are missing."""
    for electrode in range(ELECTRODES):
        began = time.monotonic()
        if not path_of(out, electrode).exists():
            simulate(out, electrode)
            print(f"electrode {electrode}: {time.monotonic() - began:.1f} s", flush=True)


class _Log(Reporter):
    """Reporter that prints the mean loss now and then."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._step = 0

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._step = done
        print(f"{title}: step {done} of {total}", flush=True)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._step += steps
        self._losses.append(float(note.removeprefix("loss ")))
        if len(self._losses) == 100:
            loss = np.mean(self._losses)
            print(f"{time.strftime('%H:%M:%S')} step {self._step} loss {loss:.4f}", flush=True)
            self._losses.clear()

    def finish(self) -> None:
        pass


def train(out: Path, steps: int, seed: int, after: int) -> None:
    """Train the network, from random weights or after another training of so many steps."""
    torch.manual_seed(mix(seed, "base", "weights"))
    network = registry.segmenter("unet", 2, 3, SETTINGS.ugsm)
    if after:
        trained_weights(out / str(after), network)
    folder = out / str(steps)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.train(
        network,
        Examples(lambda electrode: simulate(out, electrode), ELECTRODES),
        Growing(ELECTRODES, BATCH_SIZE, mix(seed, "base")),
        weighted_cross_entropy(WEIGHTS),
        name="base",
        epochs=steps,
        learning_rate=SETTINGS.ugsm.learning_rate,
        run=Run(seed, folder=folder, reporter=_Log()),
        max_steps=steps,
    )


def show(out: Path) -> None:
    """Picture of 24 examples: slice's scale, volume's scale, phases."""
    from PIL import Image

    there = len(list((out / "pool").glob("*.npz")))
    examples = Examples(lambda electrode: path_of(out, electrode), there)
    rng = np.random.default_rng(int(time.time()))
    images, labels = examples.batch(
        Draw(rng.integers(len(examples), size=24), int(rng.integers(2**31)))
    )
    grey = (images.numpy() * 127.5 + 127.5).astype(np.uint8)
    tiles = [
        np.concatenate([*pair, (phases * 127).astype(np.uint8)])
        for pair, phases in zip(grey, labels.numpy(), strict=True)
    ]
    rows = [np.concatenate(tiles[n : n + 12], axis=1) for n in range(0, 24, 12)]
    Image.fromarray(np.concatenate(rows)).save(out / "examples.png")


def ship(out: Path, steps: int, seed: int, folder: Path) -> None:
    """Write the model folder: of the finished training, or of its last checkpoint.

    Convolutions are stored with 16 bits; batch norm, whose variances need the range, with 32.
    """
    network = registry.segmenter("unet", 2, 3, SETTINGS.ugsm)
    done = trained_weights(out / str(steps), network)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.half()
    phases = mp.PhaseTable.from_names(("pore", "carbon_binder", "active_material"))
    record = {
        "slices": ELECTRODES * SLICES,
        "virtual_electrodes": ELECTRODES,
        "steps": done,
        "planned_steps": steps,
    }
    model = Model(
        SETTINGS.updated({"ugsm": {"min_steps": steps}}),
        phases,
        IntensityScale(-1.0, 1.0, "both", anew=True),
        seed,
        ugsm.segmenter_of(network, len(phases), SETTINGS),
        None,
        Calibrator(),
        record,
    )
    model_folder.write(model, folder, overwrite=True)


def trained_weights(folder: Path, network: torch.nn.Module) -> int:
    """Load the weights of a training, and say after how many steps they are."""
    finished = folder / "base.safetensors"
    if finished.exists():
        load_weights(network, finished)
        return int(folder.name)
    kept = torch.load(folder / "base.ckpt", weights_only=True)
    weights = kept["state_dict"]
    network.load_state_dict({key.removeprefix("network."): weights[key] for key in weights})
    return int(kept["global_step"])


def main() -> None:
    """Do one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("pool", "train", "show", "ship"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=start.folder_of(start.BASE))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    match arguments.what:
        case "pool":
            pool(arguments.out)
        case "train":
            train(arguments.out, arguments.steps, arguments.seed, arguments.after)
        case "show":
            show(arguments.out)
        case "ship":
            ship(arguments.out, arguments.steps, arguments.seed, arguments.folder)


if __name__ == "__main__":
    main()
