"""Classifier of pixels by multiscale features, which answers images as other networks do."""

from torch import Tensor, nn

from matphase.networks.features import FeatureBank, strip_rows
from matphase.networks.reach import Reach


class PixelClassifier(nn.Module):
    """Maps images (n, channels, h, w) to log-probabilities (n, phases, h, w).

    Args:
        bank: features of the pixels.
        classifier: maps features (features, pixels) to log-probabilities (phases, pixels).
        channels: of the images.
        n_phases: number of phases.
    """

    def __init__(
        self, bank: FeatureBank, classifier: nn.Module, channels: int, n_phases: int
    ) -> None:
        super().__init__()
        self.bank = bank
        self.classifier = classifier
        self.channels = channels
        self.n_phases = n_phases

    @property
    def reach(self) -> Reach:
        """How far a prediction depends on pixels around it."""
        return self.bank.reach

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass over one slice, in bytes.

        The image at all resolutions and the answer take memory for the slice; features, and what
        they are made of, for a strip.
        """
        features = self.channels * self.bank.count
        strip = min(height, strip_rows(width, self.bank.multiple)) * width
        return 4 * (height * width * (4 * self.channels + 2 * self.n_phases) + 4 * strip * features)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the log-probabilities; see the class."""
        n, _, height, width = images.shape
        answers = images.new_empty(n, self.n_phases, height, width)
        # slice by slice, whose strips stay in the cache
        for image, answer in zip(images, answers, strict=True):
            for rows, maps in self.bank.strips(image[None]):
                found: Tensor = self.classifier(maps[0].reshape(maps.shape[1], -1))
                answer[:, rows] = found.reshape(self.n_phases, -1, width)
        return answers
