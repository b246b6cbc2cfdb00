"""Settings of a prediction: how the outputs of the networks become phases and uncertainty."""

from typing import Annotated, Literal, Self

from pydantic import Field

from matphase.settings.bounds import Length, Samples
from matphase.support.checked import CheckedSettings


class SamplingSettings(CheckedSettings):
    """Monte Carlo dropout: passes of the network, and the uncertainty from their spread."""

    samples: Samples = 20
    """Stochastic passes T."""
    uncertainty: Literal["mean_logits", "mean_softmax"] = "mean_logits"
    """Uncertainty is the entropy of softmax(mean logits), or of the mean softmax."""
    tta: bool = False
    """Average over the eight flips and quarter turns of the image. Without dropout the network
    passes eight times; with it, each sample sees the next turn."""


class ThresholdSettings(CheckedSettings):
    """Decision which pixels are uncertain."""

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Pixels with at least this score are uncertain, and LCGAR labels them."""


class AggregatorSettings(CheckedSettings):
    """Combination of the predictions of UGSM and LCGAR (paper section 3.4)."""

    fusion: Literal["replace", "soft"] = "replace"
    """Replace UGSM's probabilities by LCGAR's (the paper), or average both, weighted by the
    score."""


class CombinationSettings(CheckedSettings):
    """Several segmenters whose probabilities are averaged; the paper has none."""

    networks: Annotated[int, Field(ge=1, le=8)] = 1
    """Networks that differ in their random seed."""
    own_scale: bool = False
    """Where both grey scales are channels: every other network sees the slice's own alone."""
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the networks together; the classical features have the rest. With 1 there are
    none of these, with 0 there is no network."""


class CalibrationSettings(CheckedSettings):
    """Calibration of the final probabilities on validation slices; the paper has none."""

    scaling: Literal["none", "temperature", "vector", "auto"] = "none"
    """Scale the probabilities by one temperature, or by a weight and a bias per phase (vector).
    auto: vector if there are validation slices and every phase occurs in them, else none."""
    align: bool = False
    """Fit the scaling to validation labels that are aligned as `[align]` says, for labels slightly
    misregistered with the image. Scores still use the labels as given."""
    risk: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Mark trusted pixels such that the expected fraction of all pixels that are marked and wrong
    is at most this; 0: mark none."""
    block: tuple[Length, Length, Length] = (8, 32, 32)
    """Size (slices, y, x) of the blocks within which errors are assumed to depend on each other."""

    @property
    def is_on(self) -> bool:
        """Whether any calibration is asked for."""
        return self.scaling != "none" or self.risk > 0

    def given(self, *, every_phase: bool) -> Self:
        """The same settings with `auto` resolved.

        Args:
            every_phase: there are validation slices, and every phase occurs in them.
        """
        if self.scaling != "auto":
            return self
        return self.model_copy(update={"scaling": "vector" if every_phase else "none"})
