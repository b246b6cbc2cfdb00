"""Mirror padding of images to a size that a network can halve several times."""

from torch import Tensor, nn
from torch.nn import functional as F


def mirrored(image: Tensor, multiple: int) -> Tensor:
    """Pad (n, c, h, w) by mirroring at the bottom and right to multiples of `multiple`.

    Both sides have to be at least `multiple`, so that the padding is smaller than the image.
    """
    height, width = image.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return image
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="reflect")


class Mirrored(nn.Module):
    """Wrapper that lets a network take images of any size of at least `multiple` pixels.

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
