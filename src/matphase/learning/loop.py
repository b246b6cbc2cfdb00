"""The training loop itself, on Lightning, whose import takes seconds."""

import math
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from matphase.learning.batches import Draw, Examples, Loss, Order
from matphase.learning.distributed import Team, quiet_lightning
from matphase.learning.run import Run
from matphase.learning.weight_files import are_finite
from matphase.networks.torchvision_shim import make_torchvision_importable
from matphase.support import interrupts
from matphase.support.device import best_device, resolve
from matphase.support.errors import DivergedError, InputError, Interrupted, MatPhaseError
from matphase.support.files import atomic_write
from matphase.support.progress import Reporter
from matphase.support.seeds import mix

# Lightning imports torchvision where it is installed (it comes with the extra `baselines`)
make_torchvision_importable()

import lightning.pytorch as L  # noqa: E402
from lightning.pytorch.callbacks import Checkpoint  # noqa: E402
from lightning.pytorch.loggers import Logger, TensorBoardLogger  # noqa: E402

SECONDS_BETWEEN_CHECKPOINTS = 15.0
WARM_UP = 0.05
EXPLODED = 1e4
"""Factor by which the loss may exceed the first one, or 1 if that is less."""


def fit(
    network: nn.Module,
    examples: Examples,
    order: Order,
    loss: Loss,
    *,
    name: str,
    steps: int,
    learning_rate: float,
    seed: int,
    run: Run,
    checkpoint: Path | None,
) -> None:
    """Train a network in place, from the checkpoint if there is one.

    Args:
        network: network to train; afterwards in evaluation mode, on the CPU.
        examples: training examples.
        order: order of the examples.
        loss: maps output and target to a scalar.
        name: name of the stage.
        steps: number of optimiser steps.
        learning_rate: maximum learning rate of Adam.
        seed: of the augmentation and dropout of this process.
        run: precision, reporter and team.
        checkpoint: file of the checkpoint; None: none is kept.

    Raises:
        InputError: the checkpoint is damaged.
        DivergedError: the loss or the weights are no longer finite, or the loss exploded.
        Interrupted: the user stopped it.
    """
    team = run.team
    epochs = math.ceil(steps / order.steps_per_epoch)
    module = _Supervised(network, loss, learning_rate, steps, seed)
    watch = _Watch(name, steps, learning_rate, checkpoint, team)
    module.to(memory_format=torch.channels_last)
    loader: DataLoader[Any] = DataLoader(
        _Batches(examples), sampler=_BatchSampler(order, steps, seed, team), batch_size=None
    )
    with quiet_lightning():
        trainer = _trainer(name, epochs, steps, run, checkpoint, watch)
        resume = checkpoint if checkpoint is not None and team.first(checkpoint.exists) else None
        if resume is not None:
            check_checkpoint(resume)
        try:
            # weights_only: a checkpoint is read as data, so it cannot run code
            trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
        except SystemExit as error:  # Lightning turns Ctrl-C into exit(1)
            interrupts.restore()
            raise Interrupted(f"stopped during {name}; {_kept_text(checkpoint)}") from error
        except (MatPhaseError, MemoryError):
            raise
        except Exception as error:  # torch and Lightning raise several kinds for a foreign file
            if resume is None or watch.has_begun:
                raise
            raise _damaged(resume) from error
    network.cpu().eval()
    watch.check_weights(network)


def check_checkpoint(path: Path) -> None:
    """Check that a checkpoint is whole, by the checksums of its parts.

    Raises:
        InputError: it is not.
    """
    try:
        with zipfile.ZipFile(path) as parts:  # the format of torch
            damaged = parts.testzip()
    except Exception as error:  # zipfile raises several kinds for damaged files
        raise _damaged(path) from error
    if damaged is not None:
        raise _damaged(path)


def _damaged(checkpoint: Path) -> InputError:
    return InputError(
        f"{checkpoint} is damaged; remove this file and continue, which begins this stage again"
    )


def _trainer(
    name: str, epochs: int, steps: int, run: Run, checkpoint: Path | None, watch: "_Watch"
) -> L.Trainer:
    device = best_device()
    callbacks: list[L.Callback] = [watch, _ReportProgress(name, steps, run.reporter)]
    if checkpoint is not None:
        callbacks.append(_SaveCheckpoints(checkpoint, run.team, watch))
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


def _kept_text(checkpoint: Path | None) -> str:
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
        # dropout uses the global generator: seeding it at each step makes a resumed training
        # bit-identical
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
    """Dataset whose items are whole batches of `Examples`."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, ...]:
        return self._examples.batch(draw)


class _BatchSampler(Sampler[Draw]):
    """Sampler of the batches of the current epoch, also after resuming.

    The processes of a team share the examples of each batch. The last epoch ends when all `steps`
    are done. (Lightning's own `max_steps` would repeat an epoch after resuming.)
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


class _ReportProgress(L.Callback):
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


class _Watch(L.Callback):
    """Callback that stops a training that has diverged.

    Attributes:
        has_begun: whether a step has been started, so that a checkpoint has been read.
    """

    def __init__(
        self, name: str, steps: int, learning_rate: float, checkpoint: Path | None, team: Team
    ) -> None:
        self._name = name
        self._steps = steps
        self._learning_rate = learning_rate
        self._checkpoint = checkpoint
        self._team = team
        self._first: float | None = None
        self._step = 0
        self.has_begun = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.has_begun = True
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self._step += 1
        loss = outputs["loss"].detach()
        if self._team.size > 1:
            # all processes have to stop at the same step, or the others would wait for ever
            loss = torch.as_tensor(pl_module.all_gather(loss)).max()
        value = float(loss)
        if self._first is None and math.isfinite(value):
            self._first = abs(value)
        if not math.isfinite(value):
            raise self._diverged(f"its loss is {value}")
        if self._first is not None and abs(value) > EXPLODED * max(1.0, self._first):
            raise self._diverged(f"its loss rose to {value:.3g}")

    def check_weights(self, network: nn.Module) -> None:
        """Check the weights after the steps so far.

        Raises:
            DivergedError: they are not finite.
        """
        if not are_finite(network):
            raise self._diverged("its weights are not finite")

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(
            f"the training of {self._name} diverged at step {self._step} of {self._steps}: {what}; "
            f"train again from the beginning with a lower learning_rate than "
            f"{self._learning_rate:g} ({_kept_text(self._checkpoint)}, but the same settings would "
            "diverge again)"
        )


class _SaveCheckpoints(Checkpoint):
    """Callback that saves a checkpoint at the end of an epoch, but not too often."""

    def __init__(self, path: Path, team: Team, watch: _Watch) -> None:
        super().__init__()
        self._path = path
        self._team = team
        self._watch = watch
        self._saved = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # all processes have to take part, but their clocks differ
        if not self._team.first(
            lambda: time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS
        ):
            return
        # a checkpoint from which training cannot go on must not replace one from which it can
        self._watch.check_weights(pl_module)
        if self._team.rank == 0:
            with atomic_write(self._path, overwrite=True) as beside:
                trainer.save_checkpoint(beside)
        else:
            trainer.save_checkpoint(self._path)
        self._saved = time.monotonic()
