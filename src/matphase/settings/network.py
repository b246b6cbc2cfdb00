"""Settings that shape a network: its input, its size, its dropout."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from matphase.settings.bounds import Width
from matphase.support.checked import CheckedSettings

DropoutRate = Annotated[float, Field(ge=0, lt=1)]

Slices = Literal[1, 3, 5, 7]
"""Number of neighbouring slices that a network sees at once."""


class UNetSettings(CheckedSettings):
    """Network that labels whole slices (paper section 3.1); baselines use its width, too."""

    slices: Slices = 1
    """Slices in its input; it labels the middle one. The paper: 1."""
    width: Width = 64
    """Channels of the first block; doubled at each of the `depth` levels."""
    depth: Annotated[int, Field(ge=1, le=4)] = 4
    """Number of times that the U-Net halves the resolution."""
    dropout: DropoutRate = 0.5
    """Probability that dropout removes an activation."""
    dropout_kind: Literal["element", "channel"] = "element"
    """Drop single activations (the paper) or whole channels, which changes averages over a volume
    more."""


class PixelClassifierSettings(CheckedSettings):
    """Classifier of pixels by multiscale features."""

    classifier: Literal["forest", "linear"] = "forest"
    """Extremely randomised trees, or logistic regression, which is faster and needs few labels."""
    trees: Annotated[int, Field(ge=1, le=1000)] = 100
    """Trees of the forest."""
    depth: Annotated[int, Field(ge=1, le=14)] = 12
    """Most decisions of a tree between its root and a leaf."""


class ClassifierSettings(CheckedSettings):
    """Network of HCL-IDK, which decides where the label is uncertain (paper section 3.2)."""

    dropout: DropoutRate = 0.2
    """Probability that dropout removes an activation."""


class PatchSettings(CheckedSettings):
    """Network that labels one pixel from the patch around it (paper section 3.3, table 4)."""

    h: Annotated[int, Field(ge=1, le=127)] = 11
    """Side of the patch in pixels; odd."""
    padding: Literal["zeros", "image"] = "zeros"
    """What the convolutions see beyond the edge of the patch: zeros (the paper), or 6 px more of
    the image on each side. With `image` the network can be evaluated on whole slices at once."""
    slices: Slices = 1
    """Slices in its grey patch, the pixel's own in the middle. The paper: 1."""
    image: bool = True
    """Whether the grey patch is an input."""
    labels: bool = True
    """Whether UGSM's one-hot labels of the patch are an input; they are zero where uncertain."""
    logits: bool = True
    """Whether UGSM's logits of the pixel itself are an input."""
    dropout: DropoutRate = 0.2
    """Probability that dropout removes an activation."""

    @field_validator("h")
    @classmethod
    def _has_a_centre(cls, h: int) -> int:
        if h % 2 == 0:
            raise ValueError(f"must be odd, so that a patch has a centre pixel; got {h}")
        return h

    @model_validator(mode="after")
    def _has_an_input(self) -> "PatchSettings":
        if self.padding == "image" and self.h < 5:
            raise ValueError(f"h must be at least 5 where padding is 'image'; got {self.h}")
        if not (self.image or self.labels):
            raise ValueError("image and labels are both false; LCGAR needs one of them as input")
        return self

    @property
    def patch_side(self) -> int:
        """Side in pixels of the patches that the network is given."""
        # two 3 x 3 convolutions take 2 px off each side, two more at half resolution 4 px
        return self.h + 2 * (2 + 4) * (self.padding == "image")

    def patch_channels(self, n_phases: int) -> int:
        """Number of channels of the patch: the grey slices, and one per phase for the labels."""
        return self.slices * self.image + n_phases * self.labels
