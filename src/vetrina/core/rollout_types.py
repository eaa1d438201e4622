"""Types of a rollout: its steps, guardrails, evidence and decisions.

There are two kinds. A canary replaces the champion in steps: shadow, interleaving, and a growing share of units. A watch follows
a version that was promoted already, while the version before it still answers a holdback of units. A unit is a user, or the
session of an anonymous visitor. Statistics and decision rules are in ``release``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from vetrina.core.settings import OUTCOMES
from vetrina.core.types import Reason

CLICKS, CONVERSION, REVENUE = OUTCOMES
CHAMPION = "champion"
CANARY = "canary"
INTERLEAVED = "interleaved"
HOLDBACK = "holdback"
# Values of ``Rollout.step`` before the first share of the canary.
SHADOW = -2
INTERLEAVING = -1
# Number of hash buckets of units: shares are rounded to 1 / _BUCKETS.
_BUCKETS = 10_000
RolloutAction = Literal["stay", "advance", "promote", "roll back", "return"]
RolloutKind = Literal["canary", "watch"]


@dataclass(frozen=True)
class GuardrailLimits:
    """Guardrails of a candidate: a rollout ends once its share of failed (``faults``) or ``slow`` answers is proven larger."""

    faults: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True)
class Rollout:
    """State of one rollout.

    Attributes:
        candidate: The newer version, which is tested.
        champion: The version that it is compared with: the champion of a canary, the version before in a watch.
        salt: Salt of the assignment of units to arms.
        started: Start of the rollout in seconds since 1970.
        stepped: Start of the current step in seconds since 1970.
        shares: Share of units that the candidate answers in each step.
        step: SHADOW, INTERLEAVING or an index of ``shares``.
        limits: Guardrails of the current step.
        screen: Share of units that see interleaved lists of both versions; 0 skips interleaving.
        kind: "canary" of a candidate, or "watch" of a version that was promoted before.
    """

    id: str
    scenario: str
    candidate: str
    champion: str
    salt: str
    started: float
    stepped: float
    shares: tuple[float, ...]
    step: int = SHADOW
    limits: GuardrailLimits = GuardrailLimits()
    screen: float = 0.0
    kind: RolloutKind = "canary"

    @property
    def is_watch(self) -> bool:
        """Whether the candidate was promoted already and is watched."""
        return self.kind == "watch"

    @property
    def served_version(self) -> str:
        """The version that the champion pointer names while the rollout runs."""
        return self.candidate if self.is_watch else self.champion

    @property
    def alternative_version(self) -> str:
        """The version beside the served one, which answers its own arm only."""
        return self.champion if self.is_watch else self.candidate

    @property
    def candidate_arm(self) -> str:
        """The arm of units that the candidate answers."""
        return CHAMPION if self.is_watch else CANARY

    @property
    def candidate_share(self) -> float:
        """Share of units that the candidate answers in the current step."""
        if self.step < 0:
            return 0.0
        return self.shares[self.step]

    def arm(self, user: str | None, session: str | None) -> str | None:
        """Arm of a user, or of a session without user; None outside of the experiment.

        CHAMPION for the served version, CANARY or HOLDBACK for the alternative one, INTERLEAVED for both. The assignment is
        sticky: a unit keeps its bucket through all steps, so a growing share only adds units. Interleaving takes the last
        buckets, so its units are the last ones that the canary reaches.
        """
        unit = session if user is None else user
        if unit is None or self.step == SHADOW:
            return None
        bucket = self._bucket_of(unit)
        if self.step == INTERLEAVING:
            n_interleaved_buckets = round(self.screen * _BUCKETS)
            is_interleaved = bucket >= _BUCKETS - n_interleaved_buckets
            return INTERLEAVED if is_interleaved else None
        n_candidate_buckets = round(self.candidate_share * _BUCKETS)
        if bucket < n_candidate_buckets:
            return self.candidate_arm
        return HOLDBACK if self.is_watch else CHAMPION

    def _bucket_of(self, unit: str) -> int:
        digest = blake2b(f"{self.salt}|{unit}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % _BUCKETS

    def following_step(self) -> int:
        """The step after the current one; interleaving is skipped if no units take part in it."""
        skips_interleaving = self.step == SHADOW and not self.screen
        return 0 if skips_interleaving else self.step + 1


@dataclass(frozen=True)
class OutcomeStatistics:
    """Sufficient statistics of one outcome in two arms; they add up over checks and over canary shares.

    A unit with the probability p of the candidate contributes v = (a, b, m) with the weight w = p (1 - p), where
    a = A (Y - m) / p and b = (1 - A) (Y - m) / (1 - p). Y is the unit's outcome, A is 1 in the canary and 0 otherwise, and m is
    the outcome that was expected of the unit before the rollout.

    Attributes:
        units: Number of units by arm (champion, canary).
        active: Number of units with Y > 0 by arm.
        totals: Sum of Y by arm.
        w: Sum of w.
        w2: Sum of w^2.
        first: (3,) sum of w v.
        cross: (3,) sum of w^2 v.
        second: (6,) upper triangle of the sum of w^2 v v'.
    """

    units: tuple[int, int] = (0, 0)
    active: tuple[int, int] = (0, 0)
    totals: tuple[float, float] = (0.0, 0.0)
    w: float = 0.0
    w2: float = 0.0
    first: tuple[float, ...] = (0.0,) * 3
    cross: tuple[float, ...] = (0.0,) * 3
    second: tuple[float, ...] = (0.0,) * 6

    def __add__(self, other: "OutcomeStatistics") -> "OutcomeStatistics":
        return OutcomeStatistics(
            _add_pairs(self.units, other.units),
            _add_pairs(self.active, other.active),
            (self.totals[0] + other.totals[0], self.totals[1] + other.totals[1]),
            self.w + other.w,
            self.w2 + other.w2,
            _add_tuples(self.first, other.first),
            _add_tuples(self.cross, other.cross),
            _add_tuples(self.second, other.second),
        )

    def mean(self, arm: int) -> float:
        """Mean outcome of an arm (0 champion, 1 canary), without weights; 0 without units."""
        if not self.units[arm]:
            return 0.0
        return self.totals[arm] / self.units[arm]


@dataclass(frozen=True)
class PreReleaseStatistics:
    """Statistics of the period before a rollout. They are fixed at its start, so that later data cannot move a limit.

    Attributes:
        units: Number of units in the period.
        answers: Number of the champion's answers.
        active: Number of units with an outcome, by outcome.
        means: Mean outcome per unit, by outcome.
        revenue_cap: Largest revenue that a unit may contribute, and its negative the smallest.
        faults: Share of the champion's answers that failed.
        slow: Share of the champion's answers that were slow.
    """

    units: int = 0
    answers: int = 0
    active: Mapping[str, int] = field(default_factory=dict[str, int])
    means: Mapping[str, float] = field(default_factory=dict[str, float])
    revenue_cap: float = 0.0
    faults: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True)
class AnswerCounts:
    """Number of answers, of failed ones and of slow ones, by arm (champion, canary)."""

    answers: tuple[int, int] = (0, 0)
    faults: tuple[int, int] = (0, 0)
    slow: tuple[int, int] = (0, 0)

    def __add__(self, other: "AnswerCounts") -> "AnswerCounts":
        return AnswerCounts(
            _add_pairs(self.answers, other.answers),
            _add_pairs(self.faults, other.faults),
            _add_pairs(self.slow, other.slow),
        )


@dataclass(frozen=True)
class StepEvidence:
    """Evidence of one canary step: units and answers by arm (champion, canary), and the guardrails in force."""

    share: float
    units: tuple[int, int]
    tally: AnswerCounts
    limits: GuardrailLimits


@dataclass(frozen=True)
class ShadowEvidence:
    """Evidence of shadow mode, in which the candidate's answers are not shown.

    Attributes:
        answers: Number of the candidate's answers.
        faults: Number of answers that failed.
        slow: Number of slow answers.
        overlap: Sum over the answers of the share of the champion's items that the candidate also returned.
    """

    answers: int = 0
    faults: int = 0
    slow: int = 0
    overlap: float = 0.0


@dataclass(frozen=True)
class InterleavingEvidence:
    """Evidence of interleaving.

    Attributes:
        wins: Units that acted on (clicked or bought) more of the candidate's items than of the champion's.
        losses: Units that acted on more of the champion's items.
        ties: Units that acted on as many of both.
        answers: Number of interleaved answers.
        faults: Number of answers in which the candidate failed.
    """

    wins: int = 0
    losses: int = 0
    ties: int = 0
    answers: int = 0
    faults: int = 0


@dataclass(frozen=True)
class LogHealth:
    """Quality of the event log, from the events that are attributed to an answer by its request id.

    Attributes:
        named: Number of attributed events.
        orphans: Events whose answer is not in the log.
        backwards: Events that are older than their answer.
        doubled: Events that repeat another event under a new id.
    """

    named: int = 0
    orphans: int = 0
    backwards: int = 0
    doubled: int = 0

    def __add__(self, other: "LogHealth") -> "LogHealth":
        return LogHealth(
            self.named + other.named,
            self.orphans + other.orphans,
            self.backwards + other.backwards,
            self.doubled + other.doubled,
        )


@dataclass(frozen=True)
class RolloutEvidence:
    """Evidence of a rollout so far.

    Attributes:
        until: Time of the evidence in seconds since 1970; ``outcomes`` hold the units whose attribution window ended before it.
        outcomes: Statistics by outcome.
        steps: Evidence of each canary step.
        shadow: Evidence of shadow mode.
        log: Quality of the event log.
        screen: Evidence of interleaving.
    """

    until: float
    outcomes: Mapping[str, OutcomeStatistics] = field(default_factory=dict[str, OutcomeStatistics])
    steps: tuple[StepEvidence, ...] = ()
    shadow: ShadowEvidence = ShadowEvidence()
    log: LogHealth = LogHealth()
    screen: InterleavingEvidence = InterleavingEvidence()


@dataclass(frozen=True)
class RolloutDecision:
    """The next action of a rollout, with its reasons."""

    action: RolloutAction
    reasons: tuple[Reason, ...]


def _add_pairs(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return (a[0] + b[0], a[1] + b[1])


def _add_tuples(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
