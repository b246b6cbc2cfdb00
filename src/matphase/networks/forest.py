"""Decision trees as arrays, evaluated by torch.

Every tree is a complete binary tree: the children of node `i` are nodes `2 i + 1` and `2 i + 2`.
There are no pointers, so that no file can send the evaluation astray, and all trees of a forest are
evaluated together, level by level.
"""

import torch
from torch import Tensor, nn

CHUNK = 2**13
"""Pixels evaluated at once, whose features stay in the cache."""
GROUP = 8
"""Trees evaluated at once."""
FLOOR = 1e-5
"""Lower limit of probabilities, whose logarithm would be infinite."""
NEVER = torch.finfo(torch.float32).max
"""Threshold that no feature exceeds, so that the left child is taken."""


class Forest(nn.Module):
    """Maps features (features, pixels) to log-probabilities (phases, pixels).

    The probabilities are the mean over the trees of the phase fractions in the leaf of a pixel. A
    pixel goes to the right child of a node if its feature exceeds the threshold.

    Args:
        features: number of features.
        n_phases: number of phases.
        trees: number of trees.
        depth: number of decisions between the root and a leaf.
    """

    feature: Tensor
    threshold: Tensor
    shares: Tensor

    def __init__(self, features: int, n_phases: int, trees: int, depth: int) -> None:
        super().__init__()
        self.features = features
        self.n_phases = n_phases
        self.depth = depth
        nodes, leaves = 2**depth - 1, 2**depth
        self.register_buffer("feature", torch.zeros(trees, nodes, dtype=torch.int16))
        self.register_buffer("threshold", torch.full((trees, nodes), NEVER))
        self.register_buffer("shares", torch.full((trees, leaves, n_phases), 1 / n_phases))
        self.register_load_state_dict_post_hook(_check)  # type: ignore[no-untyped-call]

    def forward(self, values: Tensor) -> Tensor:
        """Compute the log-probabilities; see the class."""
        return self.probabilities(values).clamp_min_(FLOOR).log_()

    def probabilities(self, values: Tensor) -> Tensor:
        """Probabilities (phases, pixels) of pixels with these features (features, pixels)."""
        trees = len(self.feature)
        groups = [self._levels(slice(first, first + GROUP)) for first in range(0, trees, GROUP)]
        chunks = [self._chunk(part.contiguous(), groups) for part in torch.split(values, CHUNK, 1)]
        return torch.cat(chunks, 1) / trees

    def _levels(self, group: slice) -> "_Levels":
        """Tables of some trees by level: feature and threshold of (trees * 2^level) nodes."""
        levels = []
        for level in range(self.depth):
            nodes = slice(2**level - 1, 2 ** (level + 1) - 1)
            feature, threshold = (
                table[group, nodes].reshape(-1) for table in (self.feature, self.threshold)
            )
            # of equal numbers the difference is then +0, whose sign is that of "not greater"
            levels.append((feature.int(), threshold + 0.0))
        return levels, self.shares[group].reshape(-1, self.n_phases)

    def _chunk(self, values: Tensor, groups: "list[_Levels]") -> Tensor:
        """Sum over the trees of the phase fractions, (phases, pixels)."""
        pixels = values.shape[1]
        flat, place = (
            values.reshape(-1),
            torch.arange(pixels, dtype=torch.int32, device=values.device),
        )
        total = torch.zeros(pixels, self.n_phases, dtype=values.dtype, device=values.device)
        for levels, shares in groups:
            trees = len(shares) >> self.depth
            first = torch.arange(trees, dtype=torch.int32, device=values.device)
            node = first.repeat_interleave(pixels)
            for feature, threshold in levels:
                # index_select is several times faster here than any other way to gather
                where = (feature * pixels).index_select(0, node)
                where.view(trees, pixels).add_(place)
                margin = threshold.index_select(0, node).sub_(flat.index_select(0, where))
                # its sign bit, as -1 or 0, says which child comes next
                node.add_(node).sub_(margin.view(torch.int32).bitwise_right_shift_(31))
            total += shares.index_select(0, node).view(trees, pixels, -1).sum(0)
        return total.T


_Levels = tuple[list[tuple[Tensor, Tensor]], Tensor]


def _check(forest: nn.Module, _: object) -> None:
    """Check arrays that were loaded.

    Raises:
        ValueError: they are not those of a forest.
    """
    assert isinstance(forest, Forest)
    if not bool(((forest.feature >= 0) & (forest.feature < forest.features)).all()):
        raise ValueError("a node asks for a feature that does not exist")
    sums = forest.shares.sum(-1)
    if not bool((forest.shares >= 0).all() and ((sums - 1).abs() < 1e-3).all()):
        raise ValueError("the phase fractions of a leaf do not sum to 1")
