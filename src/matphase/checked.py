"""Settings that say in one sentence what is wrong with a value."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from matphase.errors import InputError


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
