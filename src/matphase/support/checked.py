"""Settings that say in one sentence what is wrong with a value, and the files they come from."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from matphase.support.errors import InputError


class CheckedSettings(BaseModel):
    """Frozen settings whose constructor raises InputError, in one sentence, for a wrong value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InputError(first_problem(error)) from error


def first_problem(error: ValidationError) -> str:
    """The first thing that `error` complains of: where, what is wrong, and what was given."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {place!r}; remove it or correct its name"
    if problem["type"] == "value_error":  # from a check of ours, which names the values itself
        return f"{place}: {problem['ctx']['error']}" if place else str(problem["ctx"]["error"])
    message = problem["msg"]
    return f"{place}: {message[:1].lower()}{message[1:]}, got {problem['input']!r}"


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        InputError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read settings from {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of settings with those of `changes` in place of their own, name by name."""
    result = dict(values)
    for name, change in changes.items():
        if isinstance(change, Mapping) and isinstance(result.get(name), dict):
            result[name] = {**result[name], **change}
        else:
            result[name] = change
    return result
