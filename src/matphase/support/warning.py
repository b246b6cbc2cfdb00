"""Warnings for the user: something that probably makes results wrong, though the work goes on."""

import warnings


class MatPhaseWarning(UserWarning):
    """Something is probably wrong; the message says what, where, and what to do.

    The command line prints it as one line on standard error.
    """


def warn(message: str) -> None:
    """Warn the user; `message` names arguments as those of errors do."""
    warnings.warn(message, MatPhaseWarning, stacklevel=3)
