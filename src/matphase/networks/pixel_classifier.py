"""Classifier of pixels by multiscale features, which answers images as other networks do."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from matphase.networks.features import FeatureBank, strip_rows
from matphase.networks.reach import Reach


class PixelClassifier(nn.Module):
    """Maps images (n, slices * channels, h, w) to log-probabilities (n, phases, h, w).

    The features are those of the slice in the middle and, where there are neighbours, also those of
    the mean of all slices, in which noise is less. (With the features of every neighbour instead,
    scores on virtual electrodes were lower, and the time is longer.)

    Args:
        channels: images of each slice, by the grey scale.
        slices: slices of an image, odd.
        n_phases: number of phases.
    """

    classifier: nn.Module

    def __init__(self, channels: int, slices: int, n_phases: int) -> None:
        super().__init__()
        self.bank = FeatureBank()
        self.channels = channels
        self.slices = slices
        self.n_phases = n_phases

    @property
    def planes(self) -> int:
        """Number of images whose features are computed."""
        return self.channels * (2 if self.slices > 1 else 1)

    @property
    def features(self) -> int:
        """Number of features of a pixel, the input of the classifier."""
        return self.planes * self.bank.count

    @property
    def reach(self) -> Reach:
        """How far a prediction depends on pixels around it."""
        return self.bank.reach

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes, besides the answer.

        The images at all resolutions take memory for the slice; features, and what they are made
        of, for a strip.
        """
        strip = min(height, strip_rows(width, self.bank.multiple)) * width
        return 4 * (4 * self.planes * height * width + 4 * self.features * strip)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the log-probabilities; see the class."""
        n, _, height, width = images.shape
        answers = images.new_empty(n, self.n_phases, height, width)
        # slice by slice, whose strips stay in the cache
        for image, answer in zip(images, answers, strict=True):
            for rows, values in self.strips(image):
                answer[:, rows] = self.classifier(values).reshape(self.n_phases, -1, width)
        return answers

    def strips(self, image: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Features of an image (slices * channels, h, w), strip by strip.

        Yields:
            the rows of a strip, and the features (features, rows * w) of its pixels.
        """
        planes = image
        if self.slices > 1:
            each = image.reshape(self.slices, self.channels, *image.shape[-2:])
            planes = torch.cat([each[self.slices // 2], each.mean(0)])
        for rows, maps in self.bank.strips(planes[None]):
            yield rows, maps[0].flatten(1)
