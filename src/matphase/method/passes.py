"""How a prediction runs its networks."""

from dataclasses import dataclass

DEFAULT_MEMORY = 2 * 10**9
"""Default limit of the memory of a tile, in bytes."""


@dataclass(frozen=True)
class Passes:
    """Passes of a prediction.

    Attributes:
        samples: number of stochastic passes T; None: as in the settings. Without dropout there is
            only one pass.
        seed: random seed of the dropout masks.
        memory: bytes that the passes may take, which limits the batches.
        mutual_information: also compute the mutual information.
        keep_samples: also keep the result of each sample.
        tta: average over flips and quarter turns; None: as in the settings.
    """

    samples: int | None = None
    seed: int = 0
    memory: int = DEFAULT_MEMORY
    mutual_information: bool = False
    keep_samples: bool = False
    tta: bool | None = None
