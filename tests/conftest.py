"""Small electrodes and models that many tests share."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import matphase as mp
from matphase.settings import Settings

TINY = {
    "data": {"copies": 1, "smooth_labels": False, "crop": 32, "flips": True},
    "ugsm": {
        "width": 4,
        "depth": 2,
        "epochs": 4,
        "batch_size": 8,
        "samples": 3,
        "learning_rate": 0.01,
        "dropout": 0.2,
    },
    "idk": {"epochs": 1, "pixels_per_image": 400},
    "lcgar": {"epochs": 1, "batch_size": 128, "pixels_per_image": 300},
}


@dataclass(frozen=True)
class Sample:
    """Grey slices and their labels (0 pore, 1 carbon, 2 nickel)."""

    images: NDArray[np.float32]
    labels: NDArray[np.uint8]


def striped(n_slices: int, height: int, width: int, seed: int = 0) -> Sample:
    """Three phases in wavy stripes of unlike brightness, with noise: easy, and quick to make."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    phase = rng.uniform(0, 6, (n_slices, 1, 1))
    wave = rows + 4 * np.sin(columns / 7 + phase) + 3 * phase
    labels = (wave // 6 % 3).astype(np.uint8)
    brightness = np.array([10.0, 25.0, 80.0])[labels]
    return Sample((brightness + rng.normal(0, 6, labels.shape)).astype(np.float32), labels)


@pytest.fixture(scope="session")
def tiny_settings() -> Settings:
    """The smallest training that still goes through every stage, in seconds."""
    return Settings.from_mapping(TINY)


@pytest.fixture(scope="session")
def sample() -> Sample:
    """Six slices of 48 x 56 px."""
    return striped(6, 48, 56)


@pytest.fixture(scope="session")
def model(sample: Sample, tiny_settings: Settings) -> mp.MatPhase:
    """A trained model; do not change it."""
    return mp.MatPhase(settings=tiny_settings).fit(
        sample.images, sample.labels, ["pore", "carbon", "nickel"]
    )


@pytest.fixture(scope="session")
def model_folder(model: mp.MatPhase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model on disk; copy it before changing it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save(folder)
    return folder
