"""ResNet (He et al. 2016) as a patch classifier, instead of LCGAR."""

import torch
from torch import Tensor, nn

from matphase.networks.torchvision_shim import baseline_package
from matphase.settings import PatchSettings


class PatchResNet(nn.Module):
    """ResNet that predicts the phase of a patch's centre pixel.

    It is torchvision's network with random weights, except that the first convolution has
    `in_channels`, and the last layer also sees the logits of the centre.

    Args:
        in_channels: channels of the patch: grey image, one-hot labels, or both.
        n_phases: logits per patch.
        depth: number of layers: 18, 34 or 50.
        n_logits: length of the vector joined after pooling (UGSM logits of the centre), or 0.

    Raises:
        InputError: torchvision is not installed.
    """

    def __init__(
        self,
        in_channels: int,
        n_phases: int,
        depth: int = 18,
        n_logits: int = 0,
    ) -> None:
        super().__init__()
        models = baseline_package("torchvision.models")
        network = getattr(models, f"resnet{depth}")(weights=None)
        network.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        n_features = network.fc.in_features
        network.fc = nn.Identity()
        self.features: nn.Module = network
        self.head = nn.Linear(n_features + n_logits, n_phases)

    def forward(self, patch: Tensor, logits: Tensor | None = None) -> Tensor:
        """Map patches (n, in_channels, h, h) and centre logits (n, n_logits) to (n, n_phases)."""
        x = self.features(patch)
        if logits is not None:
            x = torch.cat([x, logits.to(x.dtype)], dim=1)
        output: Tensor = self.head(x)
        return output


def build(
    depth: str, in_channels: int, n_phases: int, n_logits: int, _settings: PatchSettings
) -> PatchResNet:
    """Build the untrained network; of LCGAR's settings only the inputs apply."""
    return PatchResNet(in_channels, n_phases, int(depth), n_logits)
