"""Slices that are quick to make and easy to learn."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray


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


class Counted:
    """Voxels that note which slices were read."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.read: list[int] = []

    def __getitem__(self, windows: tuple[slice, ...]) -> np.ndarray:
        self.read.extend(range(windows[0].start, windows[0].stop))
        return self._array[windows]


def skip_without(package: str) -> None:
    """Skip the test if a package is not installed; torchvision cannot be imported everywhere."""
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")
