"""Several segmenters that answer as one: their probabilities, weighted and averaged.

Classifiers that err in different places are right more often together (Kittler et al., IEEE
Transactions on Pattern Analysis and Machine Intelligence 20, 226, 1998). The sum of probabilities
is the rule that suffers least from one of them being wrong and sure of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, softmax
from torch import nn

from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.method import classical, ugsm
from matphase.method.passes import Passes
from matphase.method.results import GlobalPrediction
from matphase.method.segmenter import Segmenter
from matphase.networks.reach import Reach
from matphase.settings import Settings


def train(
    pool: Pool,
    settings: Settings,
    run: Run,
    *,
    name: str = "ugsm",
    start: Segmenter | None = None,
    share: float = 1.0,
) -> "CombinedSegmenter":
    """Train networks that differ in their random seed, and the classical features beside them.

    Arguments are those of `segmenters.Kind.train`.
    """
    own_scale = settings.combination.own_scale and settings.data.channels > 1
    members: list[Segmenter] = []
    for number in range(_networks(settings)):
        member = ugsm.train(
            pool,
            settings,
            run,
            name=_numbered(name, number),
            start=start.members[number] if isinstance(start, CombinedSegmenter) else start,
            share=share,
            own_scale=own_scale and number % 2 == 1,
        )
        members.append(replace(member, name=_numbered("ugsm", number)))
    if settings.combination.weight < 1:
        members.append(classical.train(pool, settings, run, name=name))
    return _joined(members, settings)


def untrained(n_phases: int, settings: Settings) -> "CombinedSegmenter":
    """Build the members, whose weights are then loaded from files."""
    numbers = range(_networks(settings))
    members: list[Segmenter] = [
        ugsm.untrained(n_phases, settings, _numbered("ugsm", one)) for one in numbers
    ]
    if settings.combination.weight < 1:
        members.append(classical.untrained(n_phases, settings))
    return _joined(members, settings)


def _networks(settings: Settings) -> int:
    """Number of networks, which a weight of 0 does without."""
    return settings.combination.networks if settings.combination.weight else 0


def _numbered(name: str, number: int) -> str:
    """Name of a network, which has a number after the first."""
    return name if number == 0 else f"{name}_{number + 1}"


def _joined(members: Sequence[Segmenter], settings: Settings) -> "CombinedSegmenter":
    """The networks share their weight; the classical features have the rest."""
    weight = settings.combination.weight
    n = _networks(settings)
    weights = [weight / n] * n + [1 - weight] * (weight < 1)
    return CombinedSegmenter(tuple(members), tuple(weights))


@dataclass(frozen=True, eq=False)
class CombinedSegmenter:
    """Segmenter made of several.

    Attributes:
        members: segmenters, with different names of their networks.
        weights: (members,) weights of their probabilities; they sum to 1.
    """

    members: tuple[Segmenter, ...]
    weights: tuple[float, ...]

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks of all members, by the names of their files."""
        return {name: one for member in self.members for name, one in member.networks.items()}

    @property
    def reach(self) -> Reach | None:
        """The farthest of the members' reaches; None: the whole slice."""
        reaches = [member.reach for member in self.members]
        known = [reach for reach in reaches if reach is not None]
        return None if len(known) < len(reaches) else reduce(_widest, known)

    @property
    def draws_samples(self) -> bool:
        """Whether the passes of a member are stochastic."""
        return any(member.draws_samples for member in self.members)

    def pass_bytes(self, height: int, width: int) -> int:
        """Maximum memory of one pass of a member over one slice, in bytes."""
        return max(member.pass_bytes(height, width) for member in self.members)

    def predict(
        self,
        images: NDArray[np.float32],
        passes: Passes = Passes(),
        *,
        origin: tuple[int, int] = (0, 0),
    ) -> GlobalPrediction:
        """Predict images by each member; arguments are those of `NetworkSegmenter.predict`.

        F is the logarithm of the mean probabilities. The mutual information counts what the
        members disagree on, besides what their own samples do. Sample t is the mean over the
        members of their samples t; a member without samples gives its prediction.

        Raises:
            InputError: the memory is too little for one pass over one slice.
        """
        mean: NDArray[np.float32] | None = None
        inner = np.zeros((), np.float32)
        sampled: NDArray[np.float32] | None = None
        for member, weight in zip(self.members, self.weights, strict=True):
            said = member.predict(images, passes, origin=origin)
            own = weight * said.probabilities
            mean = own if mean is None else mean + own
            if passes.mutual_information:
                inner = inner + weight * _expected_entropy(said)
            if passes.keep_samples:
                of_member = _samples(said)
                share = np.float32(weight) * of_member
                sampled = share if sampled is None else sampled + share
        assert mean is not None
        logits = _log(mean)
        entropy = entr(mean).sum(axis=1)
        information = np.maximum(entropy - inner, 0) if passes.mutual_information else None
        samples = None if sampled is None else (_log(sampled) - logits).astype(np.float16)
        labels = mean.argmax(axis=1).astype(np.uint8)
        return GlobalPrediction(labels, logits, entropy, information, samples)


def _widest(first: Reach, second: Reach) -> Reach:
    """Reach that is enough for both: multiples are powers of 2."""
    return Reach(max(first.radius, second.radius), max(first.multiple, second.multiple))


def _expected_entropy(said: GlobalPrediction) -> NDArray[np.float32]:
    """Entropy within the samples of a member, (n, height, width)."""
    own: NDArray[np.float32] = entr(said.probabilities).sum(axis=1)
    if said.mutual_information is not None:
        own = own - said.mutual_information
    return own


def _samples(said: GlobalPrediction) -> NDArray[np.float32]:
    """Probabilities of each sample of a member, or of its prediction.

    Shape (samples or 1, n, phases, height, width).
    """
    if said.samples is None:
        return said.probabilities[np.newaxis]
    found: NDArray[np.float32] = softmax(said.logits + said.samples, axis=2)
    return found


def _log(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    # probabilities may be rounded to 0, whose logarithm would be infinite
    found: NDArray[np.float32] = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return found
