import io
import math
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from matphase.learning import loop as training
from matphase.learning import trainer, weight_files
from matphase.learning.batches import Draw, Loss, Shuffled
from matphase.learning.run import Run
from matphase.learning.trainer import epochs_needed, train
from matphase.learning.weight_files import load_weights, save_weights
from matphase.method import hcl_idk
from matphase.networks import registry
from matphase.settings import IDKSettings, LCGARSettings, UNetSettings
from matphase.support.device import best_device, resolve
from matphase.support.errors import DivergedError, InputError, Interrupted, ModelError
from matphase.support.progress import Silent
from matphase.support.seeds import mix
from samples import skip_without


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
    whole = (tmp_path / "w.safetensors").read_bytes()
    load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    for place in (-1, -12, -24):  # one bit of a weight, which is finite all the same
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "w.safetensors").write_bytes(damaged)
        with pytest.raises(ModelError, match="does not hold the weights"):
            load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(save(nn.Linear(2, 2).state_dict()))
    load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"w\.safetensors does not hold"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="is missing"):
        load_weights(nn.Linear(3, 2), tmp_path / "none.safetensors")


# --- trainings that diverge -----------------------------------------------------------------------


class Noise:
    """Random inputs of a shape each, with random targets."""

    def __init__(self, *shapes: tuple[int, ...], target: tuple[int, ...] | None) -> None:
        generator = torch.Generator().manual_seed(0)
        self._inputs = [torch.randn(8, *shape, generator=generator) for shape in shapes]
        if target is None:
            self._target = torch.randint(0, 2, (8,), generator=generator).float()
        else:
            self._target = torch.randint(0, 3, (8, *target), generator=generator)

    def __len__(self) -> int:
        return 8

    def batch(self, draw: Draw) -> tuple[Tensor, ...]:
        chosen = torch.from_numpy(draw.indices)
        return *(part[chosen] for part in self._inputs), self._target[chosen]


def a_network(name: str) -> tuple[nn.Module, Noise, Loss]:
    """A network of the registry, or HCL-IDK, with examples and its loss."""
    torch.manual_seed(0)
    if name == "idk":
        network = hcl_idk.build(3, IDKSettings())
        return network, Noise((4,), target=None), nn.functional.binary_cross_entropy_with_logits
    if name in registry.PATCH_CLASSIFIERS:
        skip_without(registry.PATCH_CLASSIFIERS[name].package or "torch")
        patches = Noise((4, 11, 11), (3,), target=())
        network = registry.patch_classifier(name, 4, 3, 3, LCGARSettings())
        return network, patches, nn.functional.cross_entropy
    skip_without(registry.SEGMENTERS[name].package or "torch")
    network = registry.segmenter(name, 1, 3, UNetSettings(width=2, depth=1))
    return network, Noise((1, 32, 32), target=(32, 32)), nn.functional.cross_entropy


SLOW = {"resnet34", "resnet50", "unetpp", "manet", "deeplabv3"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in (*registry.SEGMENTERS, *registry.PATCH_CLASSIFIERS, "idk")
    ],
)
def test_a_training_that_diverges_is_no_model(name: str, tmp_path: Path) -> None:
    network, examples, loss = a_network(name)
    with pytest.raises(
        DivergedError, match=r"training of it diverged at step \d+ of 12: .* 1e\+30"
    ):
        train(
            network,
            examples,
            Shuffled(8, 4, 0),
            loss,
            name="it",
            epochs=6,
            learning_rate=1e30,
            run=Run(folder=tmp_path, precision="float32"),
        )
    assert not list(tmp_path.iterdir())


def test_the_checkpoint_before_a_training_diverged_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    real, bad = Line.batch, [float("nan")]

    def batch(self: Line, draw: Draw) -> tuple[Tensor, Tensor]:
        nonlocal steps
        steps += 1
        x, y = real(self, draw)
        return x, y * (bad[0] if steps > 9 else 1)

    steps = 0
    monkeypatch.setattr(Line, "batch", batch)
    with pytest.raises(DivergedError, match=r"step 10 of 16: its loss is nan; .*line\.ckpt"):
        fitted(Run(folder=tmp_path), epochs=4)
    assert [path.name for path in tmp_path.iterdir()] == ["line.ckpt"]
    # two epochs of four steps are kept, and whoever mends the cause goes on from there
    bad[0] = 1
    steps = 0
    resumed = fitted(Run(folder=tmp_path), epochs=4)
    assert steps == 8
    monkeypatch.setattr(Line, "batch", real)
    assert torch.equal(resumed.weight, fitted(Run(), epochs=4).weight)


def test_a_loss_that_explodes_stops_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Line.batch

    def batch(self: Line, draw: Draw) -> tuple[Tensor, Tensor]:
        x, y = real(self, draw)
        return x, y + 1e6 * (draw.seed == last)

    last = mix(mix(0, "line"), "draw", 1, 3)
    monkeypatch.setattr(Line, "batch", batch)
    with pytest.raises(DivergedError, match=r"step 8 of 16: its loss rose to 1e\+12"):
        fitted(Run(), epochs=4)


@pytest.mark.parametrize("short", [torch.float16, torch.bfloat16])
def test_weights_may_be_stored_with_16_bits(tmp_path: Path, short: torch.dtype) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    network[0].to(short)
    path = tmp_path / "w.safetensors"
    save_weights(network, path)
    found = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    load_weights(found, path)
    assert found[0].weight.dtype == torch.float32
    assert torch.equal(found[0].weight, network[0].weight.float())
    whole = path.read_bytes()
    for damaged in (whole[:-2], whole + b"\0\0", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"w\.safetensors does not hold"):
            load_weights(found, path)
    # whole numbers are no fractions, and numbers of 16 bits are not those of 32
    counts = {**network.state_dict(), "1.num_batches_tracked": torch.zeros((), dtype=short)}
    path.write_bytes(save(counts))
    with pytest.raises(ModelError, match=r"w\.safetensors does not hold"):
        load_weights(found, path)
    path.write_bytes(save(found.state_dict()))
    with pytest.raises(ModelError, match=r"w\.safetensors does not hold"):
        load_weights(network, path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_neither_written_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    network = nn.BatchNorm1d(3)
    network.running_var[1] = value
    path = tmp_path / "w.safetensors"
    with pytest.raises(DivergedError, match="not finite; train again with a lower learning_rate"):
        save_weights(network, path)
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(weight_files, "are_finite", lambda _: True)
        save_weights(network, path)
    with pytest.raises(ModelError, match=r"w\.safetensors holds weights that are not finite"):
        load_weights(nn.BatchNorm1d(3), path)


def test_ctrl_c_works_again_after_a_training_that_was_stopped() -> None:
    """Lightning ignores it from the first one on, and would do so for ever."""

    class Stopping(Silent):
        def advance(self, steps: int = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(Interrupted, match="stopped during line"):
            fitted(Run(reporter=Stopping()))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


# --- damaged checkpoints --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0)
        patch.setattr(trainer, "save_weights", None)
        with pytest.raises(TypeError):  # stopped at the very end
            fitted(Run(folder=folder), epochs=2)
    return (folder / "line.ckpt").read_bytes()


def foreign(_: bytes) -> bytes:
    """A file that torch can read, but holds something else."""
    beside = io.BytesIO()
    torch.save({"state_dict": {"weight": torch.zeros(3)}, "epoch": -7}, beside)
    return beside.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: content[:900] + bytes([content[900] ^ 1]) + content[901:],
        foreign,
    ],
)
def test_a_damaged_checkpoint_is_one_sentence(
    checkpoint: bytes, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "line.ckpt"
    path.write_bytes(damage(checkpoint))
    with pytest.raises(InputError, match=r"line\.ckpt is damaged; remove this file") as caught:
        fitted(Run(folder=tmp_path), epochs=4)
    assert "\n" not in str(caught.value)
    path.unlink()
    fitted(Run(folder=tmp_path), epochs=4)
    assert (tmp_path / "line.safetensors").exists()
