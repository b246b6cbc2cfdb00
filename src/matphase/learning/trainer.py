"""Training of all networks: resumable and reproducible.

Random seeds are derived from the network, the epoch and the step. A training that was killed and
resumes from its last checkpoint therefore ends with bit-identical weights.
"""

import math

from torch import nn

from matphase.learning.batches import Examples, Loss, Order
from matphase.learning.run import Run
from matphase.learning.weight_files import load_weights, save_weights
from matphase.support.errors import InputError
from matphase.support.seeds import mix


def epochs_needed(epochs: int, min_steps: int, steps_per_epoch: int) -> int:
    """Number of epochs: `epochs`, or more if `min_steps` optimiser steps need more."""
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
    """Train `network` in place by Adam, with linear warm-up and cosine decay of the rate.

    With `run.folder`, finished weights are loaded instead, and an interrupted training resumes
    from its last checkpoint.

    Args:
        network: network to train; afterwards in evaluation mode, on the CPU.
        examples: training examples.
        order: order of the examples.
        loss: maps output and target to a scalar.
        name: name of the stage, for its files and progress bar.
        epochs: passes over the examples.
        learning_rate: maximum learning rate of Adam.
        run: seed, precision, folder, reporter.
        max_steps: maximum number of optimiser steps; 0: no limit.

    Raises:
        InputError: a batch has fewer than two examples per process of the team, or the checkpoint
            is damaged.
        DivergedError: the loss or the weights are no longer finite, or the loss exploded; the last
            checkpoint is kept.
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
                "which need two examples each; raise its batch_size, or use fewer devices"
            )
        # augmentation and dropout differ between processes
        seed = mix(seed, "process", team.rank)
    steps = epochs * order.steps_per_epoch
    if max_steps:
        steps = min(steps, max_steps)
    # Lightning takes seconds to import, which a command that trains nothing need not wait for
    from matphase.learning import loop

    loop.fit(
        network,
        examples,
        order,
        loss,
        name=name,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        run=run,
        checkpoint=checkpoint,
    )
    if finished is not None and checkpoint is not None:
        written, stale = finished, checkpoint

        def keep() -> None:
            save_weights(network, written)
            stale.unlink(missing_ok=True)

        team.first(keep)
