"""Trainings that end in the middle."""


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it, nothing is tidied up."""


class Killer:
    """A reporter that ends the training at one step of one stage."""

    def __init__(self, stage: str, step: int) -> None:
        self._stage = stage
        self._step = step
        self._current = ""
        self._count = 0

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._current, self._count = title, done

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._count += steps
        if self._current == self._stage and self._count >= self._step:
            raise Killed

    def finish(self) -> None: ...
