"""Which pixels may be trusted: conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814).

A pixel is trusted if the highest probability of its answer, scaled where it is, reaches a
threshold. That score exists for every model and is of the final answer, where the IDK score asks
about UGSM's. (Strictly, a scaling should be fitted on other slices than the threshold is chosen
on; it is a number or two a phase, and labelled slices are scarce.)

Pixels near each other are wrong together, so what is exchangeable are blocks of them. With W_i(t)
wrong and A_i(t) trusted pixels in block i at threshold t, risk r, and b pixels in a block, the
threshold is the lowest t for which the n validation blocks have

    sum_i W_i(t) + (1 - r) b <= r sum_i A_i(t),

as if one more block were trusted everywhere and wrong everywhere. Then for a new block, if the
n + 1 are exchangeable and t* is the threshold that all of them together have without the reserve,
t* <= t, and since W rises as t falls,

    E[W(t)] <= E[W(t*)] <= r E[A(t*)] <= r b.

So the share of pixels that are trusted and wrong, a loss that is monotone and at most 1, is at
most r in expectation: exactly, in finite samples. The share of wrong pixels among the trusted is
not monotone and has no such bound; it is E[W(t)] / E[A(t)] <= r E[A(t*)] / E[A(t)], where the
factor behind r tends to 1 as blocks are added.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matphase.settings import CalibrationSettings
from matphase.support.errors import InputError


@dataclass(frozen=True)
class RiskGuarantee:
    """The risk that is guaranteed for trusted pixels, and what it was on the validation slices.

    Attributes:
        risk: greatest share of wrong pixels, r.
        threshold: that the highest probability must reach; None if no pixel can be trusted.
        block: pixels of a block, b.
        labelled: validation pixels whose phase is known.
        trusted: how many of them are trusted.
        wrong: how many of the trusted are wrong.
    """

    risk: float
    threshold: float | None
    block: int
    labelled: int
    trusted: int
    wrong: int

    def trusts(self, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which pixels are trusted, (n, height, width).

        Args:
            probabilities: (n, phases, height, width) of the answer, scaled where it is.
        """
        least = math.inf if self.threshold is None else self.threshold
        trusted: NDArray[np.bool_] = probabilities.max(axis=1) >= least
        return trusted

    def text(self) -> str:
        """What was found, in one line."""
        if self.threshold is None:
            return (
                f"no pixel can be trusted at risk {self.risk:g}: too many of the surest pixels of "
                "the validation slices are wrong, or the slices are too few"
            )
        return (
            f"at risk {self.risk:g}, {100 * self.trusted / self.labelled:.1f} % of the pixels of "
            f"the validation slices are trusted, {100 * self.wrong / self.trusted:.2f} % of these "
            "wrong"
        )

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> "RiskGuarantee":
        """Read what `to_json` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            threshold = content["threshold"]
            counts = (int(content[part]) for part in ("block", "labelled", "trusted", "wrong"))
            return cls(
                float(content["risk"]), None if threshold is None else float(threshold), *counts
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("the risk guarantee of the model is damaged") from error


def fit(
    sure: NDArray[np.float32], wrong: NDArray[np.bool_], block: int, settings: CalibrationSettings
) -> RiskGuarantee:
    """Choose the lowest threshold that keeps the guarantee; see the head of this module.

    Args:
        sure: (pixels,) highest probability of the answer, scaled where it is, at the known pixels
            of slices that no network learned from.
        wrong: (pixels,) whether the answer there is wrong.
        block: pixels of a block (`block_pixels`).
        settings: risk.
    """
    order = np.argsort(-sure)
    sure, wrong = sure[order], wrong[order]
    # pixels that are equally sure are trusted together
    last = np.append(sure[1:] != sure[:-1], True)
    wrongs, trusted = np.cumsum(wrong)[last], np.arange(1, len(sure) + 1)[last]
    risk = settings.risk
    kept = np.flatnonzero(wrongs + (1 - risk) * block <= risk * trusted)
    if not len(kept):
        return RiskGuarantee(risk, None, block, len(sure), 0, 0)
    lowest = kept[-1]
    return RiskGuarantee(
        risk,
        float(sure[last][lowest]),
        block,
        len(sure),
        int(trusted[lowest]),
        int(wrongs[lowest]),
    )


def check_enough(known: int, shape: tuple[int, ...], settings: CalibrationSettings) -> None:
    """See that the guarantee could be kept if no pixel were wrong, before anything is trained.

    Args:
        known: pixels of the validation slices whose phase is known.
        shape: (n, height, width) of these slices.
        settings: risk and block.

    Raises:
        InputError: there are too few blocks for so small a risk.
    """
    there = known / block_pixels(shape, settings)
    needed = (1 - settings.risk) / settings.risk
    if there < needed:
        size = " x ".join(str(edge) for edge in settings.block)
        raise InputError(
            f"calibration.risk {settings.risk:g} needs validation slices of at least "
            f"{math.ceil(needed)} blocks of {size} pixels, got {there:.3g}; give more "
            "of them, allow more risk, or set smaller blocks (calibration.block)"
        )


def block_pixels(shape: tuple[int, ...], settings: CalibrationSettings) -> int:
    """Pixels of a block within slices of this shape (n, height, width)."""
    edges = zip(settings.block, shape, strict=True)
    return math.prod(min(edge, length) for edge, length in edges)
