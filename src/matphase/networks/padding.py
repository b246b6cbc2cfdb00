"""Mirroring of images up to a size that a network can halve often enough."""

from torch import Tensor, nn
from torch.nn import functional as F


def mirrored(image: Tensor, multiple: int) -> Tensor:
    """Mirror (n, c, h, w) at the bottom and right until both sides are multiples of `multiple`.

    Sides of at least `multiple` always work: a mirror image is smaller than what it shows.
    """
    height, width = image.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return image
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="reflect")


class Mirrored(nn.Module):
    """A network that takes images of any size from `multiple` px on.

    Args:
        network: maps (n, c, h, w) to (n, phases, h, w) if both sides are multiples of `multiple`.
        multiple: in pixels.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple: int = multiple

    def forward(self, image: Tensor) -> Tensor:
        """Map grey images (n, c, h, w) to logits (n, phases, h, w)."""
        height, width = image.shape[-2:]
        logits: Tensor = self.network(mirrored(image, self.multiple))
        return logits[..., :height, :width]
