"""ResNet (He et al. 2016) as a patch classifier, instead of LCGAR."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matphase.networks.torchvision_shim import baseline_package
from matphase.settings import PatchSettings

_STRIDED = ((3, 3), (2, 2))


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
        _see_single_pixels(network)
        self.features: nn.Module = network
        self.head = nn.Linear(n_features + n_logits, n_phases)

    def forward(self, patch: Tensor, logits: Tensor | None = None) -> Tensor:
        """Map patches (n, in_channels, h, h) and centre logits (n, n_logits) to (n, n_phases)."""
        x = self.features(patch)
        if logits is not None:
            x = torch.cat([x, logits.to(x.dtype)], dim=1)
        output: Tensor = self.head(x)
        return output


class _Strided(nn.Conv2d):
    """3 x 3 convolution with stride 2, which on a single pixel is one with its middle tap.

    The others then see padding alone. In bfloat16, oneDNN 3.12 leaves their gradients as the memory
    was before, so that training made weights NaN at random. Small patches end in single pixels.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, channels, h / 2, w / 2), rounded up."""
        if image.shape[-2:] == (1, 1):
            return F.conv2d(image, self.weight[..., 1:2, 1:2], self.bias)
        return super().forward(image)


def _see_single_pixels(network: nn.Module) -> None:
    """Put `_Strided` in place of each such convolution, with its weights and name."""
    for block in list(network.modules()):
        for name, layer in block.named_children():
            if isinstance(layer, nn.Conv2d) and (layer.kernel_size, layer.stride) == _STRIDED:
                # without memory, and without random numbers, which other weights are drawn from
                strided = _Strided(
                    *(layer.in_channels, layer.out_channels, 3, 2, 1), bias=False, device="meta"
                )
                strided.weight = layer.weight
                setattr(block, name, strided)


def build(
    depth: str, in_channels: int, n_phases: int, n_logits: int, _settings: PatchSettings
) -> PatchResNet:
    """Build the untrained network; of LCGAR's settings only the inputs apply."""
    return PatchResNet(in_channels, n_phases, int(depth), n_logits)
