"""The segmenter of a model: a network, classical features, or several of them combined."""

from typing import Protocol

from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.method import classical, combined, ugsm
from matphase.method.segmenter import Segmenter
from matphase.networks import registry
from matphase.settings import Settings


class Kind(Protocol):
    """A kind of segmenter; the modules `ugsm`, `classical` and `combined` are three."""

    def untrained(self, n_phases: int, settings: Settings) -> Segmenter:
        """Build the segmenter, whose weights are then loaded from files."""

    def train(
        self,
        pool: Pool,
        settings: Settings,
        run: Run,
        *,
        name: str = "ugsm",
        start: Segmenter | None = None,
        share: float = 1.0,
    ) -> Segmenter:
        """Train the segmenter of `settings.model`.

        Args:
            pool: training images and labels.
            settings: settings of all stages.
            run: seed, precision, folder, reporter.
            name: of the stage, for its files and random seed.
            start: segmenter of the same settings, from which training goes on; None: a new one.
            share: share of the planned training.

        Raises:
            InputError: a phase never occurs in the labels, or there are too few examples.
            Interrupted: the user stopped it.
        """


def kind(settings: Settings) -> Kind:
    """Kind of the segmenter of `settings.model`."""
    kinds: dict[str, Kind] = {"network": ugsm, "classical": classical, "combined": combined}
    return kinds[registry.composition(settings.model).kind]
