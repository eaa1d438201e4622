"""A release among shoppers: its steps, what was fixed before it, what was seen, what is decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from vetrina.core.settings import OUTCOMES
from vetrina.core.types import Reason

CLICKS, CONVERSION, REVENUE = OUTCOMES
CHAMPION, CANARY, INTERLEAVED = "champion", "canary", "interleaved"
SHADOW, SCREEN = -2, -1
_BUCKETS = 10_000
Action = Literal["stay", "advance", "promote", "roll back", "return"]


@dataclass(frozen=True)
class Limits:
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
    limits: Limits = Limits()
    screen: float = 0.0

    @property
    def share(self) -> float:
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
        if self.step == SCREEN:
            return INTERLEAVED if bucket >= _BUCKETS - round(self.screen * _BUCKETS) else None
        return CANARY if bucket < round(self.share * _BUCKETS) else CHAMPION

    def advanced(self) -> int:
        """The step after this one."""
        return 0 if self.step == SHADOW and not self.screen else self.step + 1


@dataclass(frozen=True)
class Sums:
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

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            (self.units[0] + other.units[0], self.units[1] + other.units[1]),
            (self.active[0] + other.active[0], self.active[1] + other.active[1]),
            (self.totals[0] + other.totals[0], self.totals[1] + other.totals[1]),
            self.w + other.w,
            self.w2 + other.w2,
            _plus(self.first, other.first),
            _plus(self.cross, other.cross),
            _plus(self.second, other.second),
        )

    def mean(self, arm: int) -> float:
        """The plain mean outcome of an arm (0 champion, 1 canary); 0 without units."""
        return self.totals[arm] / self.units[arm] if self.units[arm] else 0.0


@dataclass(frozen=True)
class Before:
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
class Tally:
    """Answers by arm (champion, canary): how many, how many of them failed, how many took too long."""

    answers: tuple[int, int] = (0, 0)
    faults: tuple[int, int] = (0, 0)
    slow: tuple[int, int] = (0, 0)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(_both(self.answers, other.answers), _both(self.faults, other.faults), _both(self.slow, other.slow))


@dataclass(frozen=True)
class StepSeen:
    """One step of the ramp: units by arm, answers by arm, and the limits in force."""

    share: float
    units: tuple[int, int]
    tally: Tally
    limits: Limits


@dataclass(frozen=True)
class Shadow:
    """What the candidate computed without being shown; ``overlap`` sums the shares of answers it had in common."""

    answers: int = 0
    faults: int = 0
    slow: int = 0
    overlap: float = 0.0


@dataclass(frozen=True)
class Screen:
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
class Seen:
    """The evidence of a release so far. Units whose time to act ended before ``until`` are in ``outcomes``."""

    until: float
    outcomes: Mapping[str, Sums] = field(default_factory=dict)
    steps: tuple[StepSeen, ...] = ()
    shadow: Shadow = Shadow()
    log: LogHealth = LogHealth()
    screen: Screen = Screen()


@dataclass(frozen=True)
class Decision:
    """What happens to a release now, and why."""

    action: Action
    reasons: tuple[Reason, ...]


def _both(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return (a[0] + b[0], a[1] + b[1])


def _plus(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))
