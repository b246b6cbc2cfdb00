"""The errors that a user is meant to read.

Every message says what is wrong, where, and what to do, in one sentence; the command line prints
it as it stands and exits with status 1. Anything else that escapes is a bug.
"""


class MatPhaseError(Exception):
    """Base of all errors that MatPhase raises on purpose."""


class InputError(MatPhaseError, ValueError):
    """An image, label, setting or argument that cannot be used as it is."""


class FormatError(InputError):
    """A file that is missing, damaged, or of a kind that is not read here."""


class ModelError(MatPhaseError):
    """A model folder that is incomplete, altered, or made by something else."""


class OutputError(MatPhaseError):
    """An output path that cannot be, or must not be, written."""


class Interrupted(MatPhaseError):
    """Work stopped by the user; what was finished is kept and named in the message."""


class EndedElsewhere(MatPhaseError):
    """Another process of those that work together failed, and reports it."""
