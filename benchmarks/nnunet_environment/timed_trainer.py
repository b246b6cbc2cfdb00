"""A trainer that nnU-Net finds by its environment variable nnUNet_extTrainer."""

import time

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

POWER = 0.9
"""Of nnU-Net's learning rate: it starts at 1e-2 and falls with (1 - share done)^0.9."""


class TimedTrainer(nnUNetTrainer):  # type: ignore[misc]
    """Trains for some seconds of CPU time in place of 1000 epochs of 250 iterations.

    The share of the time stands where nnU-Net has the share of the epochs, so that the learning
    rate has fallen to nearly 0 at the end whatever an iteration takes. Epochs, and the checks on
    validation batches between them, fall away: nnU-Net predicts with the last weights, which these
    do not change. All else is nnU-Net's own.

    Attributes:
        budget: seconds; set before training.
        iterations: how many were done.
        seconds: of CPU time that they took.
    """

    budget: float
    iterations = 0
    seconds = 0.0

    def run_training(self) -> None:
        """Train until another iteration would take more than the time left."""
        self.on_train_start()
        self.network.train()
        began = time.process_time()
        while self.seconds + self.seconds / max(self.iterations, 1) < self.budget:
            rate = self.initial_lr * (1 - self.seconds / self.budget) ** POWER
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self.train_step(next(self.dataloader_train))["loss"]
            self.iterations += 1
            self.seconds = time.process_time() - began
            self.print_to_log_file(
                f"iteration {self.iterations}: {self.seconds:.0f} of {self.budget:.0f} s, "
                f"learning rate {rate:.5f}, loss {loss:.4f}"
            )
        self.on_train_end()
