"""Bounds of the settings, so that a slip of the pen is a message and not a day of computing.

They lie well beyond what any preset or benchmark uses.
"""

from typing import Annotated

from pydantic import Field

MAX_SAMPLES = 1000
"""Stochastic passes: the error of a mean of T passes falls with the root of T, its time with T."""

Samples = Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
Width = Annotated[int, Field(ge=1, le=256)]
"""A U-Net of width 256 has 500 million weights; they grow with the square of the width."""
LearningRate = Annotated[float, Field(gt=0, le=1)]
"""Adam moves each weight by about the learning rate in a step, and weights are mostly below 1."""
Epochs = Annotated[int, Field(ge=1, le=10**6)]
Steps = Annotated[int, Field(ge=0, le=10**8)]
"""Optimiser steps; 10^8 of the smallest network take days."""
BatchSize = Annotated[int, Field(ge=2, le=10**6)]
Amount = Annotated[int, Field(ge=0, le=10**9)]
"""A number of pixels or images; 0 switches the feature off, since TOML has no null."""
Length = Annotated[int, Field(ge=1, le=10**6)]
"""Of a block or between nodes, in voxels: more than volumes have along an axis."""
Penalty = Annotated[float, Field(gt=0, le=10**6)]
