"""nnU-Net in an environment of its own: images and labels in, probabilities out.

Planning, preprocessing, network, loss, augmentation and prediction are nnU-Net's own, with one
thread. Training ends after a time, see nnunet_environment/timed_trainer.py.
"""

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from matphase.images.phases import IGNORE_INDEX, PhaseTable
from matphase.support.errors import MatPhaseError
from matphase.support.files import remove

# nnU-Net's configurations, and which of its readers takes their images
READERS = {"2d": "NaturalImage2DIO", "3d_fullres": "Tiff3DIO"}
ENVIRONMENT = Path(__file__).parent / "nnunet_environment"
GPU_MEMORY = 8.0
"""In GB: what nnU-Net plans for by default."""

Stacks = Iterable[tuple[str, NDArray[Any]]]
"""Names of cases and their slices (n, height, width); one slice in 2D."""


def has_nnunet(python: str) -> bool:
    """Whether an interpreter can import nnU-Net."""
    try:
        return subprocess.run([python, "-c", "import nnunetv2"], check=False).returncode == 0
    except OSError:
        return False


@dataclass(frozen=True)
class NnUNet:
    """How nnU-Net is run.

    Attributes:
        python: interpreter of its environment.
        configuration: one of `READERS`.
        minutes: of training, in CPU time.
        gpu_memory: in GB, what it plans for; less means smaller patches and more iterations.
    """

    python: str
    configuration: str
    minutes: float
    gpu_memory: float = GPU_MEMORY

    def answer(
        self,
        training: tuple[Stacks, Stacks],
        tested: Stacks,
        phases: PhaseTable,
        spacing: tuple[float | None, ...],
        *,
        seed: int,
        folder: Path,
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """Plan, train and predict.

        Args:
            training: grey slices of the training cases, and their phase indices.
            tested: grey slices to predict.
            phases: the phases.
            spacing: voxel size (z, y, x).
            seed: random seed.
            folder: takes nnU-Net's log, and its other files until it is done.

        Returns:
            Probabilities (phases, n, height, width) by the name of the tested case, and what
            nnU-Net planned and did.

        Raises:
            MatPhaseError: nnU-Net failed.
        """
        room = folder / "work"
        remove(room)
        self._write(room / "raw" / "Dataset001_Electrode", training, tested, phases, spacing)
        predicted = room / "predicted"
        predicted.mkdir()
        self._run(room, predicted, seed, folder / "nnunet.log")
        files = sorted(predicted.glob("*.npz"))
        probabilities = {path.stem: read_probabilities(path) for path in files}
        facts = json.loads((predicted / "facts.json").read_text("utf-8"))
        remove(room)
        # its seconds are by step, those of the engine of all together
        facts["seconds_by_step"] = facts.pop("seconds")
        return probabilities, facts

    def _write(
        self,
        folder: Path,
        training: tuple[Stacks, Stacks],
        tested: Stacks,
        phases: PhaseTable,
        spacing: tuple[float | None, ...],
    ) -> None:
        """Training and test images in nnU-Net's raw format."""
        known = dict(training[1])
        ignores = any((labels == IGNORE_INDEX).any() for labels in known.values())
        labels = ((name, nnunet_labels(one, len(phases))) for name, one in known.items())
        parts = {"imagesTr": training[0], "labelsTr": labels, "imagesTs": tested}
        for part, stacks in parts.items():
            (folder / part).mkdir(parents=True)
            channel = "" if part == "labelsTr" else "_0000"
            for name, stack in stacks:
                self._write_case(folder / part, name, channel, stack, spacing)
        dataset = {
            "channel_names": {"0": "grey"},
            "labels": label_names(phases, ignores=ignores),
            "numTraining": len(known),
            "file_ending": ".tif",
            "overwrite_image_reader_writer": READERS[self.configuration],
        }
        (folder / "dataset.json").write_text(json.dumps(dataset, indent=2) + "\n", "utf-8")

    def _write_case(
        self,
        folder: Path,
        name: str,
        channel: str,
        stack: NDArray[Any],
        spacing: tuple[float | None, ...],
    ) -> None:
        """One image; in 3D with its spacing beside it, where nnU-Net looks for it."""
        flat = self.configuration == "2d"
        image = stack[0] if flat else stack
        tifffile.imwrite(folder / f"{name}{channel}.tif", image, photometric="minisblack")
        if not flat:
            (folder / f"{name}.json").write_text(json.dumps({"spacing": spacing}), "utf-8")

    def _run(self, room: Path, out: Path, seed: int, log: Path) -> None:
        variables = {
            "nnUNet_raw": str(room / "raw"),
            "nnUNet_preprocessed": str(room / "preprocessed"),
            "nnUNet_results": str(room / "results"),
            "nnUNet_extTrainer": str(ENVIRONMENT),
            "nnUNet_n_proc_DA": "1",
            "nnUNet_def_n_proc": "1",
            **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "BLOSC")},
        }
        settings = (self.configuration, 60 * self.minutes, self.gpu_memory, seed, out)
        command = [self.python, str(ENVIRONMENT / "run.py"), *map(str, settings)]
        with log.open("w", encoding="utf-8") as output:
            ended = subprocess.run(
                command,
                env={**os.environ, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if ended.returncode:
            raise MatPhaseError(f"nnU-Net {self.configuration} failed; see {log}")


def nnunet_labels(indices: NDArray[np.uint8], n_phases: int) -> NDArray[np.uint8]:
    """Phase indices as nnU-Net's labels.

    Phases are labels 1, 2, 3 ..., since nnU-Net's Dice leaves out label 0, the background, of which
    there is none here. Pixels of no known phase (`IGNORE_INDEX`) have the label after them.
    """
    known = indices != IGNORE_INDEX
    return np.where(known, indices + 1, n_phases + 1).astype(np.uint8)


def label_names(phases: PhaseTable, *, ignores: bool) -> dict[str, int]:
    """nnU-Net's names of its labels; "ignore" only if used: its presence alone changes losses."""
    names = {"background": 0, **{name: phases.index(name) + 1 for name in phases.names}}
    return {**names, "ignore": len(names)} if ignores else names


def read_probabilities(path: Path) -> NDArray[np.float32]:
    """Probabilities of the phases, (phases, n, h, w); the background has no share."""
    with np.load(path) as file:
        found: NDArray[np.float32] = file["probabilities"][1:].astype(np.float32)
    found /= np.maximum(found.sum(0), np.finfo(found.dtype).tiny)
    return found
