"""Errors with a message for the user.

A message says in one sentence what is wrong, where, and what to do. Messages name arguments as in
Python, such as `overwrite=True` or `voxel_size=`; the command line replaces them by its options and
exits with status 1. Any other exception is a bug.
"""


class MatPhaseError(Exception):
    """Base class of all errors that MatPhase raises on purpose."""


class InputError(MatPhaseError, ValueError):
    """An image, label, setting or argument cannot be used."""


class FormatError(InputError):
    """A file is missing, damaged, or in a format that cannot be read."""


class ModelError(MatPhaseError):
    """A model folder is incomplete, changed, or not a model."""


class OutputError(MatPhaseError):
    """An output path cannot be written, or must not be overwritten."""


class DivergedError(MatPhaseError):
    """A training or a result is not finite, so it is not kept."""


class Interrupted(MatPhaseError):
    """The user stopped the work; the message says what was kept."""


class EndedElsewhere(MatPhaseError):
    """Another process of the same training failed and reports the error."""


def one_line(text: str) -> str:
    """A text from a record as at most 80 printable characters, for messages."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
