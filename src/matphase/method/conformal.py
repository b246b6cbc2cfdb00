"""Trusted pixels by conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814).

A pixel is trusted if its highest (scaled) probability reaches a threshold. This score exists for
every model and describes the final prediction, while the IDK score describes UGSM's. (Strictly,
scaling and threshold need different slices; but a scaling has only one or two parameters per phase,
and labelled slices are scarce.)

Errors of neighbouring pixels are correlated, so blocks of pixels are treated as exchangeable. With
W_i(t) wrong and A_i(t) trusted pixels in block i at threshold t, risk r, and b pixels in a block,
the threshold is the lowest t for which the n validation blocks have

    sum_i W_i(t) + (1 - r) b <= r sum_i A_i(t),

as if one more block were trusted and wrong everywhere. Take a new block such that all n + 1 blocks
are exchangeable, and let t* be the threshold of all of them together without this reserve. Then
t* <= t, and since W rises as t falls,

    E[W(t)] <= E[W(t*)] <= r E[A(t*)] <= r b.

So the share of pixels that are both trusted and wrong, a monotone loss of at most 1, is at most r
in expectation, also for few blocks. The share of wrong pixels among the trusted ones is not
monotone and has no such bound: it is E[W(t)] / E[A(t)] <= r E[A(t*)] / E[A(t)], where the factor
after r tends to 1 as blocks are added.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.settings import CalibrationSettings
from matphase.support.errors import InputError
from matphase.support.scratch import room_for
from matphase.support.text import times

PIXELS_AT_ONCE = 2**22
"""Pixels of the validation slices that are counted at a time."""


@dataclass(frozen=True)
class RiskGuarantee:
    """Risk guarantee of trusted pixels, with its counts on the validation slices.

    Attributes:
        risk: maximum share of wrong pixels, r.
        threshold: minimum highest probability of a trusted pixel; None if no pixel can be trusted.
        block: number of pixels in a block, b.
        labelled: number of labelled validation pixels.
        trusted: number of these that are trusted.
        wrong: number of the trusted pixels that are wrong.
    """

    risk: float
    threshold: float | None
    block: int
    labelled: int
    trusted: int
    wrong: int

    def trusts(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Mask of the trusted pixels, (n, height, width).

        Args:
            probabilities: (n, phases, height, width) of the final prediction.
        """
        threshold = math.inf if self.threshold is None else self.threshold
        trusted: NDArray[np.bool_] = probabilities.max(axis=1) >= threshold
        return trusted

    def text(self) -> str:
        """Summary in one line."""
        if self.threshold is None:
            return (
                f"no pixel can be trusted at risk {self.risk:g}: too many of the most certain "
                "validation pixels are wrong, or there are too few validation slices"
            )
        return (
            f"at risk {self.risk:g}, {100 * self.trusted / self.labelled:.1f} % of the pixels of "
            f"the validation slices are trusted, {100 * self.wrong / self.trusted:.2f} % of these "
            "wrong"
        )

    def to_json(self) -> dict[str, Any]:
        """Content for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> "RiskGuarantee":
        """Read what `to_json` wrote.

        Raises:
            InputError: the content is invalid.
        """
        try:
            threshold = content["threshold"]
            counts = (int(content[part]) for part in ("block", "labelled", "trusted", "wrong"))
            found = cls(
                float(content["risk"]), None if threshold is None else float(threshold), *counts
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("the risk guarantee of the model is damaged") from error
        shares = (found.risk, 0.0 if found.threshold is None else found.threshold)
        if not (
            all(0 <= share <= 1 for share in shares)
            and found.block > 0
            and 0 <= found.wrong <= found.trusted <= found.labelled
        ):
            raise InputError("the risk guarantee of the model has impossible numbers")
        return found


def fit(
    scores: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]],
    labelled: int,
    block: int,
    settings: CalibrationSettings,
    folder: Path | None = None,
) -> RiskGuarantee:
    """Choose the lowest threshold that keeps the guarantee (see the module docstring).

    Args:
        scores: slice by slice (pixels,) the highest (scaled) probability of each labelled pixel,
            and whether the predicted phase is wrong. No network was trained on these slices.
        labelled: number of labelled pixels of all slices.
        block: number of pixels in a block (`block_pixels`).
        settings: gives the risk.
        folder: folder for temporary files.
    """
    # the bits of positive numbers rise as these do, so one number says how sure and whether wrong
    ranked, done = room_for((labelled,), np.uint32, folder), 0
    for sure, wrong in scores:
        ranked[done : done + len(sure)] = sure.view(np.uint32) << 1 | wrong
        done += len(sure)
    ranked.sort()
    risk, wrongs = settings.risk, 0
    found = RiskGuarantee(risk, None, block, labelled, 0, 0)
    for stop in range(labelled, 0, -PIXELS_AT_ONCE):
        first = max(0, stop - PIXELS_AT_ONCE)
        part = ranked[first:stop][::-1]
        bits = part >> 1
        after = ranked[first - 1] >> 1 if first else None
        # pixels of equal probability are trusted together
        last = np.append(bits[1:] != bits[:-1], bits[-1] != after)
        trusted = labelled - stop + np.arange(1, len(part) + 1)
        wrong_so_far = wrongs + np.cumsum(part & 1, dtype=np.int64)
        kept = np.flatnonzero(last & (wrong_so_far + (1 - risk) * block <= risk * trusted))
        if len(kept):
            lowest = kept[-1]
            threshold = float(bits[lowest].view(np.float32))
            counts = int(trusted[lowest]), int(wrong_so_far[lowest])
            found = RiskGuarantee(risk, threshold, block, labelled, *counts)
        wrongs = int(wrong_so_far[-1])
    return found


def check_enough_blocks(known: int, shape: tuple[int, ...], settings: CalibrationSettings) -> None:
    """Check before training that the validation slices suffice for the risk.

    They suffice if the guarantee can be kept when no pixel is wrong.

    Args:
        known: number of labelled pixels in the validation slices.
        shape: (n, height, width) of these slices.
        settings: risk and block.

    Raises:
        InputError: there are too few blocks for this risk.
    """
    there = known / block_pixels(shape, settings)
    needed = (1 - settings.risk) / settings.risk
    if there < needed:
        size = times(settings.block)
        raise InputError(
            f"calibration.risk {settings.risk:g} needs validation slices of at least "
            f"{math.ceil(needed)} blocks of {size} pixels, got {there:.3g}; give more "
            "validation slices, allow more risk, or set smaller blocks (calibration.block)"
        )


def block_pixels(shape: tuple[int, ...], settings: CalibrationSettings) -> int:
    """Number of pixels in a block, for slices of shape (n, height, width)."""
    edges = zip(settings.block, shape, strict=True)
    return math.prod(min(edge, length) for edge, length in edges)
