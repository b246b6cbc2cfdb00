"""Trials that take no time; in a module of their own, which worker processes can import."""

from dataclasses import dataclass
from pathlib import Path

from matphase.reproduce.engine import Case
from matphase.reproduce.results import Result
from matphase.support.errors import InputError


@dataclass(frozen=True)
class Step:
    """A trial that may need another one."""

    name: str
    needs: "Step | None" = None
    arrays: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        return self.name[0]

    def __str__(self) -> str:
        return self.name


def note(log: Path, step: Step | Case, folder: Path, weights: str = "w") -> Result:
    """Leave a line in the log, and the trial's arrays."""
    with log.open("a", encoding="utf-8") as lines:
        lines.write(f"{step}\n")
    (folder / "array.npz").write_text(str(step))
    return {"found": str(step), "weights": weights}


def fail_at(log: Path, name: str, step: Step, folder: Path) -> Result:
    if step.name == name:
        raise InputError(f"{name} cannot be computed")
    return note(log, step, folder)
