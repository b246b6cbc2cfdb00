"""The binary feed-forward network of HCL-IDK."""

from torch import Tensor, nn


class IDKClassifier(nn.Module):
    """Feed-forward network n-16-32-1 with ReLU, batch norm and dropout (paper section 3.2).

    Args:
        n_features: number of input features; for UGSM's mean logits and uncertainty, 4 for three
            phases.
        dropout: dropout probability after each hidden layer.
    """

    def __init__(self, n_features: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(16, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(32, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (n, n_features) to the logit (n,) of "UGSM is wrong here"."""
        logits: Tensor = self.layers(features)
        return logits.squeeze(1)
