"""Weighted cross-entropy where pixels are unknown, and where all of a batch are."""

import numpy as np
import pytest
import torch
from stages import pool_of
from torch import nn
from torch.nn import functional as F

from matphase.images.phases import IGNORE_INDEX
from matphase.learning.loss import weighted_cross_entropy
from matphase.learning.run import Run
from matphase.method import ugsm
from matphase.settings import DataSettings, UGSMSettings
from samples import striped

WEIGHTS = np.array([0.5, 1.0, 4.0], np.float32)


def case(known: float, shape: tuple[int, ...] = (2, 9, 11)) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, 3, ...) that want gradients, and labels of which a share is known."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape[0], 3, *shape[1:], generator=generator, requires_grad=True)
    labels = torch.randint(3, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) >= known] = IGNORE_INDEX
    return logits, labels


@pytest.mark.parametrize("known", [1.0, 0.3, 0.02])
@pytest.mark.parametrize("shape", [(2, 9, 11), (60,)])
def test_it_is_the_weighted_mean_over_known_pixels(known: float, shape: tuple[int, ...]) -> None:
    logits, labels = case(known, shape)
    assert (labels != IGNORE_INDEX).any()
    expected = F.cross_entropy(
        logits, labels, torch.from_numpy(WEIGHTS), ignore_index=IGNORE_INDEX, reduction="mean"
    )
    found = weighted_cross_entropy(WEIGHTS)(logits, labels)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(loss, logits)[0] for loss in (found, expected)]
    torch.testing.assert_close(slopes[0], slopes[1])


def test_without_a_known_pixel_it_is_zero_and_pulls_nowhere() -> None:
    logits, labels = case(0.0)
    loss = weighted_cross_entropy(WEIGHTS)(logits, labels)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_low_precision_is_summed_in_float32() -> None:
    logits, labels = case(1.0, (1, 64, 64))
    half = weighted_cross_entropy(WEIGHTS)(logits.bfloat16(), labels)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(
        weighted_cross_entropy(WEIGHTS)(logits, labels).item(), rel=1e-2
    )


def test_a_training_with_batches_without_known_pixels_stays_finite() -> None:
    """One of eight slices is known: in batches of two, most have nothing to learn from."""
    made = striped(8, 32, 32)
    labels = made.labels.copy()
    labels[1:] = IGNORE_INDEX
    settings = UGSMSettings(width=4, depth=2, epochs=3, batch_size=2, learning_rate=0.01)
    losses: list[float] = []

    class Noting:
        def start(self, title: str, total: int, done: int = 0) -> None: ...

        def advance(self, steps: int = 1, note: str = "") -> None:
            losses.append(float(note.removeprefix("loss ")))

        def finish(self) -> None: ...

    network: nn.Module = ugsm.fit(
        pool_of(made.images / 100, labels),
        settings,
        DataSettings(crop=0, flips=False),
        Run(precision="float32", reporter=Noting()),
    )
    assert losses.count(0) == 9, "three of four steps in each epoch"
    assert all(np.isfinite(losses))
    assert all(weight.isfinite().all() for weight in network.state_dict().values())
