"""Options of a training that all networks of a model share."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from matphase.learning.distributed import SingleProcess, Team
from matphase.support.device import PrecisionSetting
from matphase.support.progress import Reporter, Silent


@dataclass(frozen=True)
class Run:
    """Options of a training that all networks of a model share.

    Args:
        seed: random seed.
        precision: see `Settings.precision`.
        folder: folder for checkpoints and finished weights, from which a second call resumes;
            None: nothing is kept.
        reporter: receives progress.
        tensorboard: folder for TensorBoard logs; None: no logs.
        restart: delete an earlier training in `folder`.
        team: processes that train together.
    """

    seed: int = 0
    precision: PrecisionSetting = "auto"
    folder: Path | None = None
    reporter: Reporter = field(default_factory=Silent)
    tensorboard: Path | None = None
    restart: bool = False
    team: Team = field(default_factory=SingleProcess)

    def in_full_precision(self) -> "Run":
        """Same run in float32."""
        return replace(self, precision="float32")
