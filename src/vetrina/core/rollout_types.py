"""A release among shoppers: its steps, what was fixed before it, what was seen, what is decided."""

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
SHADOW = -2
INTERLEAVING = -1
_BUCKETS = 10_000
RolloutAction = Literal["stay", "advance", "promote", "roll back", "return"]


@dataclass(frozen=True)
class GuardrailLimits:
    """Shares of failed and of slow answers that a candidate must not be shown to exceed."""

    faults: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True)
class Rollout:
    """One candidate on its way. ``step`` is SHADOW, SCREEN or an index of ``shares``; times in seconds since 1970.

    In the screen a share ``screen`` of units is shown both versions' products in one list; without a share there is none.
    ``limits`` are those of this step.
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

    @property
    def canary_share(self) -> float:
        """Share of units that the candidate answers now."""
        return self.shares[self.step] if self.step >= 0 else 0.0

    def arm(self, user: str | None, session: str | None) -> str | None:
        """The arm of a user (or of a session without user); None for whoever has neither and stays outside.

        Sticky: a unit keeps its bucket through all steps, so that a growing share only ever adds units. The screen takes the
        other end of the buckets: those who see mixed lists are the last to meet the candidate alone.
        """
        unit = user if user is not None else session
        if unit is None or self.step == SHADOW:
            return None
        bucket = int.from_bytes(blake2b(f"{self.salt}|{unit}".encode(), digest_size=8).digest()) % _BUCKETS
        if self.step == INTERLEAVING:
            return INTERLEAVED if bucket >= _BUCKETS - round(self.screen * _BUCKETS) else None
        return CANARY if bucket < round(self.canary_share * _BUCKETS) else CHAMPION

    def following_step(self) -> int:
        """The step after this one."""
        return 0 if self.step == SHADOW and not self.screen else self.step + 1


@dataclass(frozen=True)
class OutcomeStatistics:
    """Sufficient statistics of one outcome in two arms; they add up over looks and over shares.

    A unit that had the chance ``p`` of the canary adds w = p (1 - p) times v = (a, b, m), where a = A (Y - m) / p,
    b = (1 - A) (Y - m) / (1 - p), and m is the outcome expected of it. ``units`` and ``active`` count, by arm
    (champion, canary), units and those with Y > 0; ``totals`` sums Y; ``w``, ``w2`` sum w and w^2; ``first`` (3,) sums w v,
    ``cross`` (3,) w^2 v, ``second`` (6,) the upper triangle of w^2 v v'.
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
            (self.units[0] + other.units[0], self.units[1] + other.units[1]),
            (self.active[0] + other.active[0], self.active[1] + other.active[1]),
            (self.totals[0] + other.totals[0], self.totals[1] + other.totals[1]),
            self.w + other.w,
            self.w2 + other.w2,
            _add_tuples(self.first, other.first),
            _add_tuples(self.cross, other.cross),
            _add_tuples(self.second, other.second),
        )

    def mean(self, arm: int) -> float:
        """The plain mean outcome of an arm (0 champion, 1 canary); 0 without units."""
        return self.totals[arm] / self.units[arm] if self.units[arm] else 0.0


@dataclass(frozen=True)
class PreReleaseStatistics:
    """What was known when a release started, fixed so that nothing seen later moves a limit.

    ``units`` and, by outcome, ``active`` and ``means`` describe the units of the period before; ``revenue_cap`` is the most
    that one unit may count; ``faults`` and ``slow`` are the shares among the champion's ``answers``.
    """

    units: int = 0
    answers: int = 0
    active: Mapping[str, int] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)
    revenue_cap: float = 0.0
    faults: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True)
class AnswerCounts:
    """Answers by arm (champion, canary): how many, how many of them failed, how many took too long."""

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
    """One step of the ramp: units by arm, answers by arm, and the limits in force."""

    share: float
    units: tuple[int, int]
    tally: AnswerCounts
    limits: GuardrailLimits


@dataclass(frozen=True)
class ShadowEvidence:
    """What the candidate computed without being shown; ``overlap`` sums the shares of answers it had in common."""

    answers: int = 0
    faults: int = 0
    slow: int = 0
    overlap: float = 0.0


@dataclass(frozen=True)
class InterleavingEvidence:
    """What mixed lists showed: units that followed more of the candidate's products, more of the champion's, or as many of both;
    answers given, and those in which the candidate failed."""

    wins: int = 0
    losses: int = 0
    ties: int = 0
    answers: int = 0
    faults: int = 0


@dataclass(frozen=True)
class LogHealth:
    """Whether the log can be believed, from the events that name an answer.

    How many they are, how many name an answer that is not in the log, are older than it, or repeat another under a new id.
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
    """The evidence of a release so far. Units whose time to act ended before ``until`` are in ``outcomes``."""

    until: float
    outcomes: Mapping[str, OutcomeStatistics] = field(default_factory=dict)
    steps: tuple[StepEvidence, ...] = ()
    shadow: ShadowEvidence = ShadowEvidence()
    log: LogHealth = LogHealth()
    screen: InterleavingEvidence = InterleavingEvidence()


@dataclass(frozen=True)
class RolloutDecision:
    """What happens to a release now, and why."""

    action: RolloutAction
    reasons: tuple[Reason, ...]


def _add_pairs(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return (a[0] + b[0], a[1] + b[1])


def _add_tuples(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
