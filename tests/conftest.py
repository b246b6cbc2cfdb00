"""Small electrodes and models that many tests share."""

import os

# Networks this small gain nothing from a second thread, and two threads that wait for each other
# on a busy machine lose a factor of ten. Set before torch is imported; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest

import matphase as mp
from matphase.settings import Settings
from samples import Sample, striped

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


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power; `power.py` watches what would be on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(os, "sync", lambda: None, raising=False)
        yield


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
