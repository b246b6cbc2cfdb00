"""Settings of a training: its data, its length, its order."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from matphase.settings.bounds import Amount, BatchSize, Epochs, LearningRate, Penalty, Steps
from matphase.support.checked import CheckedSettings


class TrainingSettings(CheckedSettings):
    """Length and pace of the training of one network."""

    epochs: Epochs
    """Passes over the training data."""
    batch_size: BatchSize
    """Images or pixels in one optimiser step."""
    learning_rate: LearningRate = 1e-3
    """Highest learning rate of the schedule."""
    min_steps: Steps = 0
    """Fewest optimiser steps, whatever the epochs: four slices then train as long as forty."""


class PixelTrainingSettings(TrainingSettings):
    """Training of a network that learns from single pixels."""

    pixels_per_image: Amount = 0
    """Most pixels of one image to train on; 0: no limit."""


class PixelSampleSettings(CheckedSettings):
    """Training of a classifier of pixels on a sample of them."""

    pixels: Amount = 40_000
    """Most known pixels to train on; 0: no limit."""
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Phases count by their fraction to the power of 1 - balance: 0: as often as they occur; 1: all
    alike. Rare phases are found more often with more balance, and overestimated with too much."""


class DataSettings(CheckedSettings):
    """Preparation of the training slices (paper section 4)."""

    copies: Annotated[int, Field(ge=1, le=32)] = 10
    """Row-removal augmentation: copies of each slice; copy i lacks the top i rows."""
    smooth_labels: bool = True
    """Smooth the training labels by a vote of the nearest pixels."""
    keep: tuple[str, ...] = ("pore",)
    """Phases that smoothing leaves as they are; a name that the labels lack is ignored."""
    neighbors: Literal[4, 8, 12, 20, 24] = 8
    """Number of nearest pixels that vote in the smoothing."""
    scale: Literal["auto", "volume", "slice", "both"] = "auto"
    """Normalise grey values over the whole volume, over each slice, or in both ways, as two
    channels; auto: over each slice if the brightness drifts, else over the volume."""
    scale_dropout: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    """Where both scales are channels: share of the training examples that lack the volume's, and
    the same share that lack the slice's, so that a network can do with either."""
    crop: Amount = 0
    """Side of the random squares that UGSM trains on, at least 32 px; 0: whole slices."""
    flips: bool = False
    """Random flips, and quarter turns of squares, during the training of UGSM."""
    local_images: Amount = 0
    """Most images that HCL-IDK and the local model train on, evenly spaced; 0: no limit."""

    @property
    def channels(self) -> int:
        """Number of images of each slice, by the grey scale."""
        return 2 if self.scale == "both" else 1

    @field_validator("crop")
    @classmethod
    def _is_large_enough(cls, crop: int) -> int:
        if 0 < crop < 32:
            raise ValueError(f"must be 0 (whole slices) or at least 32 px; got {crop}")
        return crop


class AlignSettings(CheckedSettings):
    """Alignment of labels that are misregistered with the image; the paper has none."""

    after: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of UGSM's training after which the labels are aligned; 0: no alignment."""
    affine: bool = False
    """Start with one shift, rotation, stretch and shear per slice, without a penalty: for labels
    that are displaced as a whole."""
    grid: Annotated[int, Field(ge=2, le=10**6)] = 16
    """Largest spacing of the nodes of the displacement field, in pixels."""
    smoothness: Penalty = 0.01
    """Penalty on the squared difference between neighbouring nodes, in pixels."""
    size: Penalty = 0.005
    """Penalty on the squared displacement, in pixels."""


class IDKTrainingSettings(PixelTrainingSettings):
    """Training of HCL-IDK, the "I don't know" classifier (paper section 3.2)."""

    tune_recall: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Choose the threshold that finds this fraction of the wrong pixels of the validation slices;
    0: keep `threshold`."""
    folds: Amount = 0
    """Train on out-of-fold predictions of UGSM with this many folds; 0: on predictions of the
    slices that UGSM was trained on."""
    target: Literal["wrong", "gain"] = "wrong"
    """Send pixels to LCGAR where UGSM is wrong (the paper), or where UGSM is wrong and LCGAR
    right."""

    @field_validator("folds")
    @classmethod
    def _are_several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError(f"must be 0 (off) or at least 2; got {folds}")
        return folds


class USISettings(CheckedSettings):
    """Fine curriculum: the order in which LCGAR trains on the uncertain pixels, and the pace."""

    order: Literal["rising", "falling", "random", "none"] = "rising"
    """Rising uncertainty (HCL-USI), or a control: falling, random, none (all pixels at once)."""
    pacing: Literal["logarithmic", "exponential", "step", "linear", "quadratic", "root"] = "linear"
    """How the fraction of pixels in use grows (Wu, Dyer and Neyshabur 2021)."""
    start: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Fraction of the pixels in use at the first step."""
    full_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Fraction of the training after which all pixels are in use."""


class SearchSettings(CheckedSettings):
    """Self-configuration by labelled slices that are left out; the paper has none."""

    is_on: bool = False
    """Choose grey scale, features, network and their weights before the training."""
    minutes: Annotated[float, Field(ge=0, le=10**5)] = 0.0
    """Most minutes that search and training take together; 0: no limit."""
