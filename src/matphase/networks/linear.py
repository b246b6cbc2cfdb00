"""Multinomial logistic regression of pixels by their features."""

from torch import Tensor, nn


class Linear(nn.Module):
    """Maps features (features, pixels) to log-probabilities (phases, pixels).

    Args:
        features: number of features.
        n_phases: number of phases.
    """

    def __init__(self, features: int, n_phases: int) -> None:
        super().__init__()
        self.layer = nn.Linear(features, n_phases)

    def forward(self, values: Tensor) -> Tensor:
        """Compute the log-probabilities; see the class."""
        return (self.layer.weight @ values).add_(self.layer.bias[:, None]).log_softmax(0)
