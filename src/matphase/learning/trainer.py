"""One training loop for every network here, on Lightning: resumable and reproducible.

All that is random is drawn from seeds that name the network, the epoch and the step. So a
training that was killed and goes on from its last checkpoint ends in the same weights, bit for
bit, as one that was not disturbed.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from matphase.learning.team import Alone, Team, quiet_lightning
from matphase.networks.torchvision_shim import make_torchvision_importable
from matphase.support.device import PrecisionSetting, best_device, resolve
from matphase.support.errors import InputError, Interrupted, ModelError
from matphase.support.files import atomic_write
from matphase.support.progress import Reporter, Silent
from matphase.support.seeds import mix

# Lightning imports torchvision where it is installed (it comes with the extra `baselines`)
make_torchvision_importable()

import lightning.pytorch as L  # noqa: E402
from lightning.pytorch.callbacks import Checkpoint  # noqa: E402
from lightning.pytorch.loggers import Logger, TensorBoardLogger  # noqa: E402

Indices = NDArray[np.int64]
Loss = Callable[[Tensor, Tensor], Tensor]

SECONDS_BETWEEN_CHECKPOINTS = 15.0
WARM_UP = 0.05


@dataclass(frozen=True)
class Draw:
    """Which examples make up one batch, and the seed of all that is random about them."""

    indices: Indices
    seed: int


class Examples(Protocol):
    """Training examples that come a batch at a time, gathered without a loop over them."""

    def __len__(self) -> int:
        """Number of examples."""

    def batch(self, draw: Draw) -> tuple[Tensor, ...]:
        """The network's inputs for these examples, and behind them the target."""


class Order(Protocol):
    """Decides which examples each step sees."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""

    def epoch(self, number: int) -> Iterator[Indices]:
        """The batches of one epoch, as index arrays."""


class Shuffled:
    """Every example once an epoch, in an order drawn anew each epoch."""

    def __init__(self, n_examples: int, batch_size: int, seed: int) -> None:
        self._n = n_examples
        self._size = min(batch_size, n_examples)
        self._seed = seed

    @property
    def steps_per_epoch(self) -> int:
        # a last batch that is not full is left out: batch norm fails on single examples, and
        # over the epochs every example is seen
        return self._n // self._size

    def epoch(self, number: int) -> Iterator[Indices]:
        order = np.random.default_rng(mix(self._seed, "order", number)).permutation(self._n)
        for step in range(self.steps_per_epoch):
            yield order[step * self._size : (step + 1) * self._size]


@dataclass(frozen=True)
class Run:
    """Where and how a training runs; the same for all networks of a model.

    Args:
        seed: names every random draw.
        precision: see `Settings.precision`.
        folder: keeps checkpoints and finished weights, so that a second call goes on where the
            first one stopped; none: nothing is kept.
        reporter: is told of progress.
        tensorboard: folder for TensorBoard logs, or none.
        restart: throw away what `folder` holds of an earlier training.
        team: processes that train together.
    """

    seed: int = 0
    precision: PrecisionSetting = "auto"
    folder: Path | None = None
    reporter: Reporter = field(default_factory=Silent)
    tensorboard: Path | None = None
    restart: bool = False
    team: Team = field(default_factory=Alone)

    def in_full_precision(self) -> "Run":
        """The same run in float32."""
        return replace(self, precision="float32")


def epochs_needed(epochs: int, min_steps: int, steps_per_epoch: int) -> int:
    """`epochs`, or as many as it takes for `min_steps` optimiser steps."""
    return max(epochs, math.ceil(min_steps / steps_per_epoch))


def train(
    network: nn.Module,
    examples: Examples,
    order: Order,
    loss: Loss,
    *,
    name: str,
    epochs: int,
    learning_rate: float,
    run: Run,
    max_steps: int = 0,
) -> None:
    """Train `network` in place by Adam, the rate rising briefly and falling as a cosine.

    With `run.folder`, weights that are there already are loaded instead, and a training that
    was stopped goes on from its last checkpoint.

    Args:
        network: is left in evaluation mode, on the CPU.
        examples: what it learns from.
        order: which examples each step sees.
        loss: maps output and target to a scalar.
        name: of the stage; names its files and its progress bar.
        epochs: passes over the examples.
        learning_rate: highest learning rate of Adam.
        run: seed, precision, folder, reporter.
        max_steps: stop after so many optimiser steps, in the middle of an epoch; 0: do not.

    Raises:
        InputError: a batch has fewer than two examples for each process of the team.
        Interrupted: the user stopped it; the message names the checkpoint that was kept.
    """
    team = run.team
    finished = run.folder / f"{name}.safetensors" if run.folder else None
    if finished is not None and team.first(finished.exists):
        load_weights(network, finished)
        network.eval()
        return
    checkpoint = run.folder / f"{name}.ckpt" if run.folder else None
    seed = mix(run.seed, name)
    if team.size > 1:
        batch = len(next(order.epoch(0)))
        if batch < 2 * team.size:
            raise InputError(
                f"a batch of {batch} examples of {name} is too small for {team.size} processes, "
                "which need two each; raise its batch_size, or train with fewer devices where "
                "there are no more examples"
            )
        # each process augments its own examples, and drops its own activations
        seed = mix(seed, "process", team.rank)
    steps = epochs * order.steps_per_epoch
    if max_steps:
        steps = min(steps, max_steps)
        epochs = math.ceil(steps / order.steps_per_epoch)
    module = _Supervised(network, loss, learning_rate, steps, seed)
    module.to(memory_format=torch.channels_last)
    loader: DataLoader[Any] = DataLoader(
        _Batches(examples), sampler=_Draws(order, steps, seed, team), batch_size=None
    )
    with quiet_lightning():
        trainer = _trainer(name, epochs, steps, run, checkpoint)
        resume = checkpoint if checkpoint is not None and team.first(checkpoint.exists) else None
        try:
            # weights_only: a checkpoint is read as data; nothing in it can run code
            trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
        except SystemExit as error:  # Lightning turns Ctrl-C into exit(1)
            raise Interrupted(f"stopped during {name}; {_kept(checkpoint)}") from error
    network.cpu().eval()
    if finished is not None and checkpoint is not None:
        written, stale = finished, checkpoint

        def keep() -> None:
            save_weights(network, written)
            stale.unlink(missing_ok=True)

        team.first(keep)


def save_weights(network: nn.Module, path: Path, *, overwrite: bool = False) -> None:
    """Write a network's weights and buffers as safetensors."""
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    with atomic_write(path, overwrite=overwrite) as beside:
        # its own writer turns a full disk into an error of another kind, and lets nobody else read
        beside.write_bytes(save(tensors))


def load_weights(network: nn.Module, path: Path) -> None:
    """Read weights that `save_weights` wrote into a network of the same shape.

    Raises:
        ModelError: the file is missing, damaged, or belongs to another network.
    """
    try:
        network.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; copy the whole model folder again") from error
    except Exception as error:  # safetensors and torch raise several kinds for damaged files
        raise ModelError(
            f"{path} does not hold the weights that its settings describe; "
            "copy the model folder again or train anew"
        ) from error


def _trainer(name: str, epochs: int, steps: int, run: Run, checkpoint: Path | None) -> L.Trainer:
    device = best_device()
    callbacks: list[L.Callback] = [_Report(name, steps, run.reporter)]
    if checkpoint is not None:
        callbacks.append(_KeepGoing(checkpoint, run.team))
    logger: Logger | bool = False
    if run.tensorboard is not None:
        logger = TensorBoardLogger(run.tensorboard, name=name, version="")
    return L.Trainer(
        accelerator=device.type,
        devices=run.team.devices,
        num_nodes=run.team.nodes,
        strategy="ddp" if run.team.size > 1 else "auto",
        precision="bf16-mixed" if resolve(run.precision, device) == "bfloat16" else "32-true",
        max_epochs=epochs,
        callbacks=callbacks,
        logger=logger,
        log_every_n_steps=10,
        enable_checkpointing=checkpoint is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _kept(checkpoint: Path | None) -> str:
    if checkpoint is None:
        return "nothing was kept, since no folder was given"
    if checkpoint.exists():
        return f"the last checkpoint is kept in {checkpoint}"
    if any(checkpoint.parent.glob("*.safetensors")):
        return f"the stages finished before it are kept in {checkpoint.parent}"
    return (
        "there is no checkpoint yet, so the next run starts from the beginning in "
        f"{checkpoint.parent}"
    )


class _Supervised(L.LightningModule):
    def __init__(
        self, network: nn.Module, loss: Loss, learning_rate: float, steps: int, seed: int
    ) -> None:
        super().__init__()
        self.network = network
        self._loss = loss
        self._learning_rate = learning_rate
        self._steps = steps
        self._seed = seed

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # dropout draws from the global generator: naming its state by the step makes a resumed
        # training draw what an undisturbed one would have drawn
        torch.manual_seed(mix(self._seed, self.current_epoch, batch_idx))

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        *inputs, target = batch
        inputs = [
            tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
            for tensor in inputs
        ]
        loss = self._loss(self.network(*inputs), target)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self._learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _rate(self, step: int) -> float:
        warm = max(1, int(WARM_UP * self._steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self._steps - warm)))


class _Batches(Dataset[tuple[Tensor, ...]]):
    """Makes `Examples` look like a dataset whose item is a whole batch."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, ...]:
        return self._examples.batch(draw)


class _Draws(Sampler[Draw]):
    """Hands out the batches of the epoch that Lightning sets, also after a resume.

    Of each batch the processes of a team take turns. The last epoch ends when all `steps` are
    done. (Lightning's own `max_steps` would repeat an epoch after a resume.)
    """

    def __init__(self, order: Order, steps: int, seed: int, team: Team) -> None:
        self._order = order
        self._steps = steps
        self._seed = seed
        self._team = team
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._order.steps_per_epoch

    def __iter__(self) -> Iterator[Draw]:
        before = self._epoch * self._order.steps_per_epoch
        for step, indices in enumerate(self._order.epoch(self._epoch)):
            if before + step == self._steps:
                return
            own = indices[self._team.rank :: self._team.size]
            yield Draw(own, mix(self._seed, "draw", self._epoch, step))


class _Report(L.Callback):
    def __init__(self, name: str, steps: int, reporter: Reporter) -> None:
        self._name = name
        self._steps = steps
        self._reporter = reporter

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._reporter.start(f"train {self._name}", self._steps, done=trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self._reporter.advance(note=f"loss {float(outputs['loss']):.3f}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._reporter.finish()


class _KeepGoing(Checkpoint):
    """Saves at the end of an epoch, now and then; the file is always a whole one."""

    def __init__(self, path: Path, team: Team) -> None:
        super().__init__()
        self._path = path
        self._team = team
        self._saved = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # clocks differ, but all have to take part in it
        if not self._team.first(
            lambda: time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS
        ):
            return
        if self._team.rank == 0:
            with atomic_write(self._path, overwrite=True) as beside:
                trainer.save_checkpoint(beside)
        else:
            trainer.save_checkpoint(self._path)
        self._saved = time.monotonic()
