"""Under which conditions the rows of the paper's tables are compared."""

from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from matphase.settings import Settings
from matphase.support.checked import CheckedSettings
from matphase.support.errors import InputError
from matphase.support.records import parse_toml

SplitName = Literal["blocked", "paper"]
PRESETS = ("quick", "small", "paper")

Count = Annotated[int, Field(ge=1)]

OWNED_BY_ROWS: dict[str, dict[str, Any]] = {
    "": {"model": "matphase"},
    "idk": {"folds": 0, "tune_recall": 0.0, "target": "wrong"},
    "aggregator": {"fusion": "replace"},
    "calibration": {"scaling": "none", "risk": 0.0},
    "usi": {"order": "rising", "pacing": "linear"},
    "lcgar": {"h": 11, "image": True, "labels": True, "logits": True},
}
"""Settings that rows vary, or have no validation slices for, with MatPhase's values."""


class Protocol(CheckedSettings):
    """The conditions that all rows share: data, splits and training budget."""

    preset: str
    """The model preset that `settings` started from."""
    recipe: str = "paper"
    """Of the virtual electrode."""
    shape: tuple[Count, Count, Count] | None = None
    """Voxels (z, y, x) of the virtual electrode; none: those of the recipe."""
    test_every: Count = 1
    """Score every so many slices of the test block: neighbours show nearly the same."""
    patches_per_image: Annotated[int, Field(ge=0)] = 0
    """The ResNets name this many random pixels of a test image; 0: all."""
    resnet_thinning: Count = 1
    """The ResNets take as many steps as LCGAR, with fewer pixels by this factor in each, since a
    pixel costs them ten times as much."""
    folds: Annotated[int, Field(ge=2)] = 2
    """Of the out-of-fold predictions."""
    block: tuple[Count, Count, Count] = (8, 56, 64)
    """Test pixels (slices, y, x) that the bootstrap draws together."""
    settings: Settings
    """Of every network; rows change only what their name says."""

    @model_validator(mode="after")
    def _leaves_the_rows_what_they_vary(self) -> Self:
        given = self.settings.model_dump()
        for section, values in OWNED_BY_ROWS.items():
            part = given[section] if section else given
            for name, value in values.items():
                if part[name] != value:
                    where = f"{section}.{name}" if section else name
                    raise ValueError(
                        f"{where} stays {value!r}, since rows of the tables vary it or measure "
                        "without it; leave it out"
                    )
        return self

    @classmethod
    def named(cls, name: str) -> Self:
        """The protocol of a preset: that preset with the budget of the tables.

        Raises:
            InputError: there is no such preset.
        """
        if name not in PRESETS:
            raise InputError(f"there is no preset {name!r}; choose {', '.join(PRESETS)}")
        source = files("matphase.reproduce").joinpath("presets", f"{name}.toml")
        values = parse_toml(source.read_bytes(), f"preset {name}")
        settings = Settings.preset(name).updated(values.pop("settings", {}))
        return cls(preset=name, settings=settings, **values)

    def is_recorded_by(self, record: Any) -> bool:
        """Whether `model_dump` of a protocol, as JSON keeps it, is of this one.

        A setting that is newer than the record had its default there: it changes no result.
        """
        try:
            return self.from_mapping(record) == self
        except InputError:
            return False

    def updated(self, **changes: Any) -> Self:
        """The same protocol with other values.

        Raises:
            InputError: a value out of range.
        """
        return self.from_mapping({**self.model_dump(), **changes})
