"""Base class of all settings: typed, frozen, and with errors of one sentence."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from matphase.support import records
from matphase.support.errors import InputError
from matphase.support.records import brief


class SettingError(InputError):
    """A setting that does not exist or has a value that is not allowed.

    Attributes:
        place: names that lead to the setting, such as ("ugsm", "width"); empty for a problem of
            several settings together.
        problem: what is wrong with it.
    """

    def __init__(self, place: tuple[str, ...], problem: str) -> None:
        self.place = place
        self.problem = problem
        super().__init__(f"{'.'.join(place)}: {problem}" if place else problem)


class UnknownSettingError(SettingError):
    """A name that no setting has.

    Attributes:
        suggestion: the most similar name that exists, with its place; None if none is similar.
    """

    def __init__(self, place: tuple[str, ...], suggestion: tuple[str, ...] | None) -> None:
        advice = "remove it or correct its name"
        if suggestion is not None:
            advice = f"did you mean {'.'.join(suggestion)!r}?"
        super().__init__(place, f"there is no setting {'.'.join(place)!r}; {advice}")
        self.args = (self.problem,)
        self.suggestion = suggestion


class CheckedSettings(BaseModel):
    """Frozen settings; a wrong name or value raises InputError with one sentence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise _first_problem(error, type(self).model_fields) from error

    @classmethod
    def from_mapping(cls, values: Any, *, where: str | None = None) -> Self:
        """Settings from a nested mapping, such as parsed TOML; missing names keep their default.

        Args:
            values: the mapping.
            where: what it was read from; the error message begins with it.

        Raises:
            InputError: it is no mapping, a name does not exist, or a value is not allowed.
        """
        prefix = "" if where is None else f"{where}: "
        if not isinstance(values, Mapping):
            raise InputError(f"{prefix}settings must be names with values; got {brief(values)}")
        try:
            return cls(**values)
        except SettingError as error:
            raise InputError(f"{prefix}{error}") from error

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Settings from a TOML file; missing names keep their default.

        Raises:
            InputError: the file cannot be read, is not TOML, or has a wrong name or value.
        """
        return cls.from_mapping(read_toml(path), where=str(path))


def _first_problem(error: ValidationError, names: Iterable[str]) -> SettingError:
    """The first of pydantic's problems as an error of ours."""
    problem = error.errors()[0]
    place = tuple(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        similar = get_close_matches(place[-1], names, n=1)
        return UnknownSettingError(place, (similar[0],) if similar else None)
    if problem["type"] == "value_error":  # raised by a check of ours, or by a section of settings
        cause = problem["ctx"]["error"]
        if isinstance(cause, UnknownSettingError):
            suggestion = cause.suggestion and (*place, *cause.suggestion)
            return UnknownSettingError((*place, *cause.place), suggestion)
        if isinstance(cause, SettingError):
            return SettingError((*place, *cause.place), cause.problem)
        return SettingError(place, str(cause))
    return SettingError(place, f"{_demand(problem)}; got {brief(problem['input'])}")


def _demand(problem: ErrorDetails) -> str:
    """What the value must be."""
    if problem["type"] == "model_type":
        return "must be a section with settings"
    message = problem["msg"].replace("Input should ", "must ", 1)
    return message[:1].lower() + message[1:]


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises:
        InputError: the file cannot be read, is not TOML, or has values beyond the limits of
            `support.records`.
    """
    try:
        return records.read_toml(path)
    except OSError as error:
        raise InputError(f"cannot read settings from {path}: {error.strerror}") from error


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with some of them changed, section by section and name by name."""
    result = dict(values)
    for name, change in changes.items():
        if isinstance(change, Mapping) and isinstance(result.get(name), dict):
            result[name] = {**result[name], **change}
        else:
            result[name] = change
    return result
