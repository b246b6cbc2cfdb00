"""The trials behind the rows of the tables.

A unit is one model, or one variant of LCGAR, on one seed of one split. Rows share units: one UGSM
serves all tables.
"""

from dataclasses import dataclass
from typing import Any, get_args

from matphase.networks import registry
from matphase.reproduce.protocol import SplitName
from matphase.settings import Settings, USISettings

UNTHINNED = "resnet18_unthinned"
"""A ResNet-18 that learns from as many pixels as LCGAR."""
FULL = "matphase"
"""The variant of LCGAR that is MatPhase."""


@dataclass(frozen=True)
class Times:
    """Stands for a setting times a factor."""

    factor: int


VARIANTS: dict[str, dict[str, Any]] = {
    FULL: {},
    "no_curriculum": {"usi": {"order": "none"}},
    "random_order": {"usi": {"order": "random"}},
    "anti_curriculum": {"usi": {"order": "falling"}},
    **{
        f"pacing_{name}": {"usi": {"pacing": name}}
        for name in get_args(USISettings.model_fields["pacing"].annotation)
        if name != "linear"
    },
    "image": {"lcgar": {"labels": False, "logits": False}},
    "image_labels": {"lcgar": {"logits": False}},
    "image_logits": {"lcgar": {"labels": False}},
    "h17": {"lcgar": {"h": 17}},
    "h25": {"lcgar": {"h": 25}},
    "all_pixels": {"lcgar": {"pixels_per_image": 0}},
    "all_images": {"data": {"local_images": 0}},
    "twice_the_steps": {"lcgar": {"epochs": Times(2)}},
}
"""Variants of LCGAR by what they change."""


@dataclass(frozen=True)
class Unit:
    """A trial of `engine.run`: a model on one seed of one split."""

    split: SplitName
    seed: int
    name: str

    @property
    def place(self) -> str:
        """Its folder, relative to that of all results."""
        return f"units/{self.split}/seed{self.seed}/{self.name}"

    @property
    def kind(self) -> str:
        """A name for units that take about equally long."""
        return f"{self.split}/{self.name}"

    @property
    def arrays(self) -> tuple[str, ...]:
        """Files of its folder that other units, or figures, read besides the result."""
        if self.name == "ugsm":
            return ("labels.npz", "ugsm.safetensors", "idk.safetensors", "learned.npz", "test.npz")
        if self.name == f"lcgar_{FULL}":
            return ("labels.npz", "lcgar.safetensors")
        return ("labels.npz",)

    @property
    def needs(self) -> "Unit | None":
        """The unit that has to be done before."""
        if self.name == "adapted_lcgar":
            return Unit(self.split, self.seed, f"lcgar_{FULL}")
        local = self.name in registry.MODELS and registry.MODELS[self.name].local is not None
        others = ("mcd_unet", "out_of_fold", UNTHINNED)
        if local or self.name.startswith("lcgar_") or self.name in others:
            return Unit(self.split, self.seed, "ugsm")
        return None

    def __str__(self) -> str:
        return f"{self.split}, seed {self.seed}, {self.name}"


def varied(settings: Settings, changes: dict[str, Any]) -> Settings:
    """The settings with `changes` in place of their own."""
    values = settings.model_dump()
    return settings.updated(
        {
            section: {
                name: values[section][name] * value.factor if isinstance(value, Times) else value
                for name, value in part.items()
            }
            for section, part in changes.items()
        }
    )
