"""LCGAR: local classification model with global annotated region (paper table 4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.settings import PatchSettings


class LCGAR(nn.Module):
    """Small convolutional network that predicts the phase of a patch's centre pixel.

    It is the network of table 4 of the paper, with a final linear layer from 128 features to the
    phases, which the table leaves out. Poolings of a single pixel (h < 4) are skipped.

    Table 4 pads the border of the patch with zeros, so the features of a pixel depend on the
    border of the patch. Without this padding the patch is larger by what the convolutions remove.
    Maps and weights have the same shapes, and `DenseLCGAR` can share the maps over a whole slice.

    Args:
        in_channels: channels of the patch: grey image, one-hot labels, or both.
        n_phases: logits per patch.
        h: side of the patch in pixels; without padding, side of the part that remains.
        n_logits: length of the vector joined after flattening (UGSM logits of the centre), or 0.
        dropout: dropout probability after the fully connected layer.
        padded: pad with zeros, as in table 4. Without, patches have the side
            `PatchSettings.patch_side`, and h is at least 5.
    """

    def __init__(
        self,
        in_channels: int,
        n_phases: int,
        h: int = 11,
        n_logits: int = 0,
        dropout: float = 0.2,
        *,
        padded: bool = True,
    ) -> None:
        super().__init__()
        self.padded: bool = padded
        self.first = _convolutions(in_channels, 32, kernel=3, padded=padded)
        self.second = _convolutions(32, 16, kernel=3, padded=padded)
        self.third = _convolutions(16, 8, kernel=1, padded=padded)
        self.side: int = _pooled(_pooled(h))
        """Side of the maps that are flattened."""
        self.connected = nn.Linear(8 * self.side**2 + n_logits, 128)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.BatchNorm1d(128)
        self.head = nn.Linear(128, n_phases)

    def forward(self, patch: Tensor, logits: Tensor | None = None) -> Tensor:
        """Map patches (n, in_channels, h, h) and centre logits (n, n_logits) to (n, n_phases)."""
        x = _pool(self.first(patch))
        x = _pool(self.second(x))
        return self.classify(self.third(x).flatten(1), logits)

    def classify(self, x: Tensor, logits: Tensor | None = None) -> Tensor:
        """Map flattened maps (n, 8 side^2) and centre logits (n, n_logits) to (n, n_phases)."""
        if logits is not None:
            x = torch.cat([x, logits.to(x.dtype)], dim=1)
        x = self.dropout(F.leaky_relu(self.connected(x)))
        output: Tensor = self.head(self.norm(x))
        return output


def build(in_channels: int, n_phases: int, n_logits: int, settings: PatchSettings) -> LCGAR:
    """Build the untrained network."""
    return LCGAR(
        in_channels,
        n_phases,
        settings.h,
        n_logits,
        settings.dropout,
        padded=settings.padding == "zeros",
    )


def _convolutions(before: int, after: int, kernel: int, *, padded: bool) -> nn.Sequential:
    padding = kernel // 2 if padded else 0
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, padding=padding),
        nn.LeakyReLU(inplace=True),
        nn.Conv2d(after, after, kernel, padding=padding),
        nn.LeakyReLU(inplace=True),
    )


def _pooled(side: int) -> int:
    return side // 2 if side >= 2 else side


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2) if x.shape[-1] >= 2 else x
