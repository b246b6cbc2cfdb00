"""The U-Nets among the peers of real_slices.py: what a practitioner would write in an afternoon."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from electrodes import Electrode, Images, Labels
from real_slices_peers import Answer, timed
from torch import Tensor
from torch.nn import functional as F

from matphase.images.phases import IGNORE_INDEX
from matphase.networks.unet import UNet
from matphase.support.seeds import mix

WIDTH, DEPTH = 16, 4
STEPS, BATCH, SQUARE = 600, 4, 192
RATE = 1e-3
BLANKED = 0.25
"""Share of the squares without the first channel, and as many without the second."""
TURNS = [(turned, down, right) for turned in (0, 1) for down in (0, 1) for right in (0, 1)]
"""The eight flips and quarter turns: transposed or not, flipped along y and x or not."""


def plain(slices: Electrode, seed: int, _: int) -> dict[str, Answer]:
    """One channel, each slice scaled; asked once, and averaged over flips and turns."""
    network, train = timed(partial(trained, slices.scaled("train")[:, None], slices, seed))
    images = slices.scaled("test")[:, None]
    once, predict_once = timed(partial(predicted, network, images, TURNS[:1]))
    turned, predict_turned = timed(partial(predicted, network, images, TURNS))
    return {
        "unet": Answer.of(once, train, predict_once),
        "unet_turned": Answer.of(turned, train, predict_turned),
    }


def both_scales(slices: Electrode, seed: int, _: int) -> dict[str, Answer]:
    """Two grey scales as two channels, of which one is taken away at random in training."""
    network, train = timed(partial(trained, slices.both_scales("train"), slices, seed))
    images = slices.both_scales("test")
    found, predict = timed(partial(predicted, network, images, TURNS))
    return {"unet_both": Answer.of(found, train, predict)}


@dataclass(eq=False)
class Squares:
    """Draws squares of images (n, channels, height, width) and labels, flipped and turned."""

    images: Images
    labels: Labels
    rng: np.random.Generator

    def batch(self) -> tuple[Tensor, Tensor]:
        """Images (BATCH, channels, SQUARE, SQUARE), phases (BATCH, SQUARE, SQUARE)."""
        images, labels = zip(*(self._one() for _ in range(BATCH)), strict=True)
        return torch.stack(images), torch.stack(labels).long()

    def _one(self) -> tuple[Tensor, Tensor]:
        number = self.rng.integers(len(self.images))
        side = min(SQUARE, *self.images.shape[-2:])
        y, x = (self.rng.integers(length - side + 1) for length in self.images.shape[-2:])
        part = (number, ..., slice(y, y + side), slice(x, x + side))
        image, label = (
            torch.from_numpy(whole[part].copy()) for whole in (self.images, self.labels)
        )
        turn = TURNS[self.rng.integers(len(TURNS))]
        if len(image) > 1 and (draw := self.rng.random()) < len(image) * BLANKED:
            image[int(draw / BLANKED)] = 0
        return turned(image, turn), turned(label, turn)


def turned(maps: Tensor, turn: tuple[int, int, int]) -> Tensor:
    """Maps (..., height, width) after one of `TURNS`."""
    transposed, down, right = turn
    maps = maps.transpose(-1, -2) if transposed else maps
    return maps.flip([axis for axis, flipped in ((-2, down), (-1, right)) if flipped])


def turned_back(maps: Tensor, turn: tuple[int, int, int]) -> Tensor:
    """The maps before that turn."""
    transposed, down, right = turn
    maps = maps.flip([axis for axis, flipped in ((-2, down), (-1, right)) if flipped])
    return maps.transpose(-1, -2) if transposed else maps


def trained(images: Images, slices: Electrode, seed: int) -> UNet:
    """Train from scratch: cross entropy with the inverse fractions of the phases as weights."""
    torch.manual_seed(mix(seed, "U-Net") % 2**32)
    labels, n_phases = slices.labels("train"), len(slices.phases)
    squares = Squares(images, labels, np.random.default_rng(mix(seed, "squares")))
    counts = np.bincount(labels.ravel(), minlength=256)[:n_phases]
    weights = torch.from_numpy(counts.sum() / (n_phases * np.maximum(counts, 1))).float()
    network = UNet(images.shape[1], n_phases, WIDTH, DEPTH, dropout=0)
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        shown, phases = squares.batch()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(shown.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), phases, weights, ignore_index=IGNORE_INDEX)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def predicted(network: UNet, images: Images, turns: list[tuple[int, int, int]]) -> Images:
    """Probabilities (n, phases, height, width), averaged over these flips and turns."""
    found = []
    for image in torch.from_numpy(images):
        total = torch.zeros(())
        for turn in turns:
            shown = turned(image, turn)[None].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(shown)
            total = total + turned_back(logits.float().softmax(1), turn)
        found.append((total / len(turns))[0].numpy())
    return np.stack(found)


METHODS = {"unet": plain, "unet_both": both_scales}
TITLES = {
    "unet": "plain U-Net",
    "unet_turned": "the same, 8 flips and turns",
    "unet_both": "U-Net, two grey scales, one at times blank, 8 flips and turns",
}
