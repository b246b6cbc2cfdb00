"""Several processes that train one model."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

import matphase as mp
from matphase.cli import app
from matphase.learning.batches import Shuffled
from matphase.learning.distributed import SingleProcess, join
from matphase.learning.loop import _BatchSampler
from matphase.learning.run import Run
from matphase.learning.trainer import train
from matphase.support.errors import InputError
from matphase.support.seeds import mix
from samples import Sample

SCRIPT = """
import os
import sys
from pathlib import Path
import torch
from torch import nn
from matphase.learning.distributed import join
from matphase.learning.batches import Shuffled
from matphase.learning.run import Run
from matphase.learning.trainer import train

class Points:
    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(96, 5, generator=generator)
        self.y = self.x @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])[:, None]
    def __len__(self):
        return len(self.x)
    def batch(self, draw):
        return self.x[draw.indices], self.y[draw.indices]

devices, folder = int(sys.argv[1]), Path(sys.argv[2])
team = join(devices)
torch.manual_seed(0)
network = nn.Linear(5, 1)
train(network, Points(), Shuffled(96, 8, 0), nn.functional.mse_loss, name="line", epochs=4,
      learning_rate=0.05, run=Run(folder=folder, team=team, precision="float32"))
said = team.first(lambda: [team.rank, team.size])
# in one piece, which another process's line does not come between
os.write(1, f"process {team.rank} heard {said}\\n".encode())
"""


class Member(SingleProcess):
    """One of several, which here need not be there."""

    def __init__(self, rank: int, devices: int) -> None:
        self.rank, self.devices, self.size = rank, devices, devices


def test_the_processes_share_each_batch() -> None:
    order = Shuffled(24, 6, seed=3)
    alone = [set(draw.indices) for draw in _BatchSampler(order, 4, 0, SingleProcess())]
    parts = [list(_BatchSampler(order, 4, mix(0, rank), Member(rank, 3))) for rank in range(3)]
    for step, together in enumerate(alone):
        shares = [set(part[step].indices) for part in parts]
        assert [len(share) for share in shares] == [2, 2, 2]
        assert set.union(*shares) == together
        assert len({part[step].seed for part in parts}) == 3


def test_a_batch_too_small_to_share_is_refused() -> None:
    run = Run(team=Member(0, 4))
    with pytest.raises(InputError, match="a batch of 6 examples of line is too small for 4"):
        train(
            torch.nn.Linear(1, 1),
            range(24),  # type: ignore[arg-type]
            Shuffled(24, 6, 0),
            torch.nn.functional.mse_loss,
            name="line",
            epochs=1,
            learning_rate=1e-3,
            run=run,
        )


def test_nobody_is_no_team() -> None:
    assert join().size == 1
    assert join().first(lambda: 7) == 7
    with pytest.raises(InputError, match="give at least one"):
        join(0)


def test_two_processes_learn_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folders = [tmp_path / "by1", tmp_path / "by2"]
    for folder in folders:
        folder.mkdir()
    # one process is this one
    monkeypatch.setattr(sys, "argv", [str(script), "1", str(folders[0])])
    runpy.run_path(str(script), run_name="__main__")
    assert capfd.readouterr().out == "process 0 heard [0, 1]\n"
    words = [sys.executable, script, "2", folders[1]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said = sorted(done.stdout.splitlines())
    assert said == ["process 0 heard [0, 2]", "process 1 heard [0, 2]"]
    one, two = (load_file(folder / "line.safetensors") for folder in folders)
    for name, weights in one.items():
        np.testing.assert_allclose(two[name], weights, atol=1e-5)


@pytest.mark.slow
def test_train_on_two_devices(
    tmp_path: Path, sample: Sample, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mp.save(tmp_path / "images.tif", mp.Volume.from_array(sample.images))
    mp.save(tmp_path / "labels.tif", mp.Volume.from_array(sample.labels))
    words = [sys.executable, "-m", "matphase", "train", "--images", "images.tif"]
    words += ["--labels", "labels.tif", "--label-map", "pore=0,carbon=1,nickel=2"]
    words += ["--config", str(settings_of(model_folder, tmp_path)), "--devices", "2"]
    words += ["--out", "model"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "model written to model\n"), done.stderr
    assert done.stderr == ""
    assert not (tmp_path / "model.partial").exists()
    assert mp.load(tmp_path / "model").predict(sample.images).labels.shape == sample.labels.shape
    # refused before any other process is started, so this one can say it
    monkeypatch.chdir(tmp_path)
    again = CliRunner().invoke(app, words[3:])
    assert again.exit_code == 1
    assert again.stderr.count("\n") == 1
    assert "model exists" in again.stderr


def settings_of(model_folder: Path, folder: Path) -> Path:
    """The settings of a model as a file for --config."""
    content = tomllib.loads((model_folder / "config.toml").read_text("utf-8"))["settings"]
    content["align"]["after"] = 0.5
    path = folder / "settings.toml"
    path.write_text(tomli_w.dumps(content), "utf-8")
    return path
