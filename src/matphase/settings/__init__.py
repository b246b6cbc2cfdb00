"""Every setting of every stage, typed and checked, with the presets; read from TOML."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from matphase.support.checked import first_problem, merged, read_toml
from matphase.support.errors import InputError

Count = Annotated[int, Field(ge=1)]
Off = Annotated[int, Field(ge=0)]
"""A number that 0 switches off: TOML knows no null."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

Slices = Literal[1, 3, 5, 7]
"""How many neighbouring slices a network sees."""

PresetName = Literal["quick", "small", "best", "paper"]

ModelName = Literal[
    "matphase",
    "ugsm",
    "unet",
    "mcd_unet",
    "unetpp",
    "manet",
    "deeplabv3",
    "fcn",
    "segnet",
    "local_unet",
    "resnet18",
    "resnet34",
    "resnet50",
    "adapted_lcgar",
]
"""MatPhase and the baselines of its table 3; `models/zoo.py` says what each consists of."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Section):
    """What is done to the training slices (paper section 4)."""

    copies: Annotated[int, Field(ge=1, le=32)] = 10
    """Row-removal augmentation: copies per slice, copy i without its top i rows."""
    smooth_labels: bool = True
    """Nearest-neighbour smoothing of the training labels."""
    keep: tuple[str, ...] = ("pore",)
    """Phases that smoothing leaves alone; a name that the labels do not have is ignored."""
    neighbors: Literal[4, 8, 12, 20, 24] = 8
    """How many nearest pixels vote in the smoothing."""
    scale: Literal["auto", "volume", "slice"] = "auto"
    """Grey scale of a whole volume or of each slice; auto: of each slice if brightness drifts."""
    crop: Off = 0
    """Side of the random squares that UGSM trains on, 32 px or more; 0: whole slices."""
    flips: bool = False
    """Random flips, and quarter turns of squares, during UGSM training."""
    local_images: Off = 0
    """HCL-IDK and the local model learn from at most this many images, evenly spaced; 0: all."""

    @model_validator(mode="after")
    def _crop_is_no_stamp(self) -> Self:
        if 0 < self.crop < 32:
            raise ValueError(f"crop must be 0 (off) or at least 32 px; got {self.crop}")
        return self


class AlignSettings(_Section):
    """Label alignment, which is not the paper's: see `stages/align.py`."""

    after: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the global network's training after which labels are aligned; 0: they are not."""
    affine: bool = False
    """First by a shift, turn, stretch and shear of the slice, without a penalty: for labels that
    lie off as a whole."""
    grid: Annotated[int, Field(ge=2)] = 16
    """Greatest distance of the nodes of the displacement field, in pixels."""
    smoothness: Positive = 0.01
    """Penalty of the squared difference of neighbouring nodes, in pixels."""
    size: Positive = 0.005
    """Penalty of the squared displacement, in pixels."""


class _Training(_Section):
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive = 1e-3
    min_steps: Off = 0
    """Train for at least this many optimiser steps, so that four slices get as much as forty."""


class UGSMSettings(_Training):
    """Uncertainty-aware global segmentation model (paper section 3.1)."""

    epochs: Count = 100
    batch_size: Annotated[int, Field(ge=2)] = 20
    slices: Slices = 1
    """How many slices it sees at once, the one that it labels in the middle; the paper: 1."""
    width: Count = 64
    """Channels of the first block; doubled at each of the `depth` levels."""
    depth: Annotated[int, Field(ge=1, le=4)] = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    dropout_kind: Literal["element", "channel"] = "element"
    """Drop single activations (the paper) or whole channels (spread that survives averaging)."""
    samples: Count = 20
    """Stochastic passes T."""
    max_steps: Off = 0
    """Stop after this many optimiser steps, whatever the epochs; 0: do not."""
    uncertainty: Literal["mean_logits", "mean_softmax"] = "mean_logits"
    """u is the entropy of softmax(mean logits), or of the mean softmax."""


class IDKSettings(_Training):
    """The "I don't know" classifier of the coarse curriculum (paper section 3.2)."""

    epochs: Count = 15
    batch_size: Annotated[int, Field(ge=2)] = 1024
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    threshold: Fraction = 0.5
    """Pixels whose score reaches this are IDK."""
    tune_recall: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Choose the threshold that finds this share of wrong pixels on validation; 0: do not."""
    folds: Off = 0
    """Learn from out-of-fold UGSM predictions of this many folds; 0: from the training ones."""
    pixels_per_image: Off = 0
    """At most this many pixels an image to train on; 0: all that balance allows."""
    target: Literal["wrong", "gain"] = "wrong"
    """LCGAR answers where UGSM is wrong (the paper), or where of the two LCGAR is the right one."""

    @model_validator(mode="after")
    def _folds_are_several(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds must be 0 (off) or at least 2")
        return self


class USISettings(_Section):
    """The fine curriculum: in which order, and how fast, LCGAR meets the hard pixels."""

    order: Literal["rising", "falling", "random", "none"] = "rising"
    """Rising uncertainty (HCL-USI); controls: falling, random, none (all pixels at once)."""
    pacing: Literal["logarithmic", "exponential", "step", "linear", "quadratic", "root"] = "linear"
    """How the share of admitted pixels grows (Wu, Dyer and Neyshabur 2021)."""
    start: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the pixels admitted at the first step."""
    full_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the training steps after which all pixels are admitted."""


class LCGARSettings(_Training):
    """Local classification model with global annotated region (paper section 3.3, table 4)."""

    epochs: Count = 15
    batch_size: Annotated[int, Field(ge=2)] = 1024
    h: Count = 11
    """Side of the patch in pixels; odd."""
    padding: Literal["zeros", "image"] = "zeros"
    """What its convolutions find beyond the rim of the patch: zeros (the paper), or what the image
    shows there, 6 px more on each side. Such a network can be evaluated on whole slices at once."""
    slices: Slices = 1
    """How many slices its grey patch consists of, the pixel's own in the middle; the paper: 1."""
    image: bool = True
    labels: bool = True
    logits: bool = True
    """Which inputs it sees: grey patch, one-hot UGSM labels (zero where IDK), centre logits."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    pixels_per_image: Off = 0
    """At most this many IDK pixels an image to train on; 0: all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.h % 2 == 0:
            raise ValueError(f"h must be odd, so that a patch has a centre pixel; got {self.h}")
        if self.padding == "image" and self.h < 5:
            raise ValueError(f"h must be at least 5 where padding is 'image'; got {self.h}")
        if not (self.image or self.labels):
            raise ValueError("LCGAR needs a patch to look at: image, labels or both")
        return self

    @property
    def patch_side(self) -> int:
        """Side in pixels of the patches that the network is given."""
        # two 3 x 3 convolutions take 2 px off each side, two more at half resolution 4 px
        return self.h + 2 * (2 + 4) * (self.padding == "image")

    def patch_channels(self, n_phases: int) -> int:
        """Channels of the patch: the grey slices, and one a phase for the labels."""
        return self.slices * self.image + n_phases * self.labels


class AggregatorSettings(_Section):
    """How the answers of UGSM and LCGAR become one (paper section 3.4)."""

    fusion: Literal["replace", "soft"] = "replace"
    """LCGAR's answer in place of UGSM's (the paper), or both weighed by the score."""


class CalibrationSettings(_Section):
    """What validation slices teach about the final answer; beyond the paper."""

    scaling: Literal["none", "temperature", "vector", "auto"] = "none"
    """Scale the probabilities by one temperature, or by a weight and a bias a phase (vector); auto:
    by a vector if there are validation slices, and with every phase in them."""
    align: bool = False
    """The scaling learns from validation labels that are aligned as `[align]` says: for labels
    that lie a little beside what they label. Scores stay those of the labels given."""
    risk: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Mark pixels to trust: in expectation at most this share of all pixels is marked and wrong; 0:
    mark none."""
    block: tuple[Count, Count, Count] = (8, 32, 32)
    """Validation pixels (slices, y, x) that may all be wrong together."""

    @property
    def is_on(self) -> bool:
        """Whether anything is asked of validation slices."""
        return self.scaling != "none" or self.risk > 0

    def given(self, *, every_phase: bool) -> "CalibrationSettings":
        """With what scaling `auto` means: a vector if validation slices show every phase."""
        if self.scaling != "auto":
            return self
        return self.model_copy(update={"scaling": "vector" if every_phase else "none"})


class Settings(_Section):
    """All settings of a model. The defaults are the paper's; see `preset` for others."""

    model: ModelName = "matphase"
    """What is trained: MatPhase, or one of the baselines by the same code."""
    data: DataSettings = DataSettings()
    align: AlignSettings = AlignSettings()
    ugsm: UGSMSettings = UGSMSettings()
    idk: IDKSettings = IDKSettings()
    usi: USISettings = USISettings()
    lcgar: LCGARSettings = LCGARSettings()
    aggregator: AggregatorSettings = AggregatorSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the convolutions; auto: bfloat16 where the CPU or GPU has it."""

    @property
    def slices(self) -> int:
        """How many slices an image has to consist of for the networks that see most."""
        return max(self.ugsm.slices, self.lcgar.slices)

    @classmethod
    def preset(cls, name: str) -> "Settings":
        """The settings named `quick`, `small`, `best` or `paper`.

        Raises:
            InputError: there is no preset of that name.
        """
        names = get_args(PresetName)
        if name not in names:
            choices = f"{', '.join(names[:-1])} or {names[-1]}"
            raise InputError(f"there is no preset {name!r}; choose {choices}")
        source = files("matphase.settings").joinpath("presets", f"{name}.toml")
        return cls.from_mapping(tomllib.loads(source.read_text("utf-8")), where=f"preset {name}")

    @classmethod
    def from_mapping(cls, values: dict[str, Any], *, where: str = "settings") -> "Settings":
        """Check a nested mapping, such as parsed TOML; what it leaves out keeps its default.

        Raises:
            InputError: an unknown name or a value out of range; the message names both.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{where}: {first_problem(error)}") from error

    def updated(self, values: dict[str, Any], *, where: str = "settings") -> "Settings":
        """These settings with those of the nested mapping `values` in place of their own."""
        return self.from_mapping(merged(self.model_dump(), values), where=where)

    def with_file(self, path: Path) -> "Settings":
        """These settings with those of a TOML file in place of their own.

        Raises:
            InputError: the file cannot be read, is not TOML, or holds a wrong setting.
        """
        return self.updated(read_toml(path), where=str(path))
