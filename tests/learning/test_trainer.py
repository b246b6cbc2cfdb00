import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from matphase.learning import trainer as training
from matphase.learning.trainer import (
    Draw,
    Run,
    Shuffled,
    epochs_needed,
    load_weights,
    save_weights,
    train,
)
from matphase.support.device import best_device, resolve
from matphase.support.errors import ModelError


class Line:
    """y = 3 x + 1, with the noise that the draw's seed names."""

    def __len__(self) -> int:
        return 64

    def batch(self, draw: Draw) -> tuple[Tensor, Tensor]:
        x = torch.linspace(-1, 1, 64)[torch.from_numpy(draw.indices), None]
        generator = torch.Generator().manual_seed(draw.seed)
        return x, 3 * x + 1 + 0.01 * torch.randn(x.shape, generator=generator)


def fitted(run: Run, epochs: int = 60) -> nn.Linear:
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    order = Shuffled(64, 16, run.seed)
    train(
        network,
        Line(),
        order,
        nn.functional.mse_loss,
        name="line",
        epochs=epochs,
        learning_rate=0.1,
        run=run,
    )
    return network


def test_learns() -> None:
    network = fitted(Run(precision="float32"))
    assert network.weight.item() == pytest.approx(3, abs=0.05)
    assert network.bias.item() == pytest.approx(1, abs=0.05)
    assert not network.training


def test_seed_decides() -> None:
    first, again, other = (fitted(Run(seed), epochs=2).weight.item() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_state_of_the_global_generator_does_not_matter() -> None:
    first = fitted(Run(), epochs=2).weight.item()
    torch.rand(100)
    assert fitted(Run(), epochs=2).weight.item() == first


def test_a_finished_stage_is_read_back_and_its_checkpoint_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    first = fitted(Run(folder=tmp_path), epochs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["line.safetensors"]
    monkeypatch.setattr(training, "_trainer", None)
    assert torch.equal(fitted(Run(folder=tmp_path)).weight, first.weight)


def test_tensorboard_logs_the_loss(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    fitted(Run(tensorboard=tmp_path), epochs=3)
    assert list(tmp_path.glob("line/events.*"))


def test_shuffled_shows_each_example_once_an_epoch() -> None:
    order = Shuffled(12, 4, seed=0)
    epochs = [np.concatenate(list(order.epoch(number))) for number in range(2)]
    assert sorted(epochs[0]) == list(range(12))
    assert not np.array_equal(*epochs)
    assert Shuffled(3, 20, seed=0).steps_per_epoch == 1


def test_few_slices_train_as_long_as_many() -> None:
    assert epochs_needed(100, 0, 7) == 100
    assert epochs_needed(1, 600, 7) == math.ceil(600 / 7)


def test_auto_precision_is_bfloat16_only_where_the_machine_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for has, expected in (({"avx512_bf16": True}, "bfloat16"), ({}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has, raising=False)
        assert resolve("auto", cpu) == expected
    assert resolve("float32", best_device()) == "float32"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"w\.safetensors does not hold"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="is missing"):
        load_weights(nn.Linear(3, 2), tmp_path / "none.safetensors")
